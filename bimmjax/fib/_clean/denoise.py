"""Noise of slices, by well-known filters of SciPy and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.fib._clean.slicewise import slicewise
from bimmjax.segmentation import non_local_means
from bimmjax.volumes import Volume, open_volume

METHODS = ("nlm", "gaussian", "median", "tv")
_USUAL = {"gaussian": 1.0, "median": 3, "tv": 0.1}


def denoise(
    volume: Any, method: str = "nlm", *, strength: float | None = None, **options: Any
) -> Volume:
    """Grey values with less noise, slice by slice, as a volume that is worked out when read.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    method : str
        "nlm": `segmentation.non_local_means`, the usual choice, which keeps edges; "gaussian":
        blurs; "median": for single pixels that are off; "tv": total variation, flat phases.
    strength : float, optional
        "nlm": tolerance in noise stds (0.8); "gaussian": std, pixels (1); "median": edge of the
        window, an odd number of pixels (3); "tv": weight, in a slice's std (0.1).
    **options
        "nlm" takes those of `non_local_means`; `spacing`, `unit`, `dataset`, `dtype`: as in
        `open_volume`.

    Returns
    -------
    Volume
        float32. What is read does not depend on the box. Slices read last are kept in 128 MiB of
        memory, but for "nlm": if tiles of more slices than these hold are to be read, write it with
        `volumes.write_resumably(whole_slices=True)` first.

    Raises
    ------
    InputError
        Another method, a strength out of range; when read, values that are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.fib import denoise
    >>> noise = np.random.default_rng(0).normal(0.0, 1.0, (2, 40, 40))
    >>> bool(np.asarray(denoise(noise, "gaussian")).std() < 0.4)
    True
    """
    choice("method", method, METHODS)
    if method == "nlm":
        if strength is not None:
            options["strength"] = strength
        return non_local_means(volume, **options)
    given = _USUAL[method] if strength is None else strength
    opened = open_volume(volume, **options)
    if method == "gaussian":
        std = real_number("strength", given, 0.0, 100.0)
        from scipy.ndimage import gaussian_filter

        return slicewise(opened, lambda plane: gaussian_filter(plane, std), "blurred")
    if method == "median":
        size = whole_number("strength", given, 1, 99)
        if size % 2 == 0:
            raise InputError(f"strength: got {size} for a median, wants an odd number")
        from scipy.ndimage import median_filter

        return slicewise(opened, lambda plane: median_filter(plane, size), "median")
    weight = real_number("strength", given, 0.0, 1e30)

    def flatten(plane: np.ndarray) -> np.ndarray:
        from skimage.restoration import denoise_tv_chambolle  # slow to import

        spread = float(plane.std())
        if weight == 0.0 or spread == 0.0:
            return plane
        # In units of the slice's own std, so that a weight suits any grey values.
        return spread * denoise_tv_chambolle(plane / spread, weight)

    return slicewise(opened, flatten, "flattened")
