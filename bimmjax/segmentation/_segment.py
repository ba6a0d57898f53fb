"""Labels and probabilities of a volume from a fitted model, worked out box by box as it is read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, whole_number
from bimmjax.fitting import Fit
from bimmjax.fitting._result import params_of
from bimmjax.models._nodes import Gradient
from bimmjax.segmentation._rule import Rule, rule_of
from bimmjax.volumes import Volume, gradient_magnitude, open_volume, sample_blocks

NO_LABEL = 255
_SPARE = 3.0  # noise stds


def segment(volume: Any, fit: Any, *, weighted: bool = False, **options: Any) -> Volume:
    """Labels 0 ... N - 1 (by intensity) of a volume, as a volume that is worked out when read.

    Each voxel is given to the interior or interface that makes its intensity and gradient
    likeliest; those of an interface to the phase on their side of the middle of its two
    intensities.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x), grey values.
    fit : Fit, dict or path of fit.json
        Of this volume, by any model.
    weighted : bool
        Times the fitted weights: maximum a posteriori instead of maximum likelihood.
    **options
        `spacing`, `unit`, `dataset`, `dtype`: as in `open_volume`.

    Returns
    -------
    Volume
        uint8; 255 where the volume is NaN. `bimmjax.convert(labels, "labels.zarr")` writes it,
        `labels.read(...)` gives an array. At the faces the missing neighbour is the voxel itself.

    Raises
    ------
    InputError
        What is no fit, or one of another volume: its grey values lie elsewhere.

    Examples
    --------
    >>> import jax, bimmjax
    >>> made = bimmjax.sim.artificial_volume(jax.random.key(0), (48, 48, 48), with_area=False)
    >>> fit = bimmjax.fit(made.image, 2, intervals=False, correct=False)
    >>> labels = bimmjax.segment(made.image, fit)
    >>> bool(bimmjax.evaluate(labels, made.labels).accuracy > 0.95)
    True

    Source: BIMM paper, §4.3.
    """
    opened, rule = _prepared(volume, fit, weighted, options)

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return np.asarray(_labels(_with_halo(opened, (z, y, x)), rule))

    return replace(opened, reader=read, dtype=np.dtype(np.uint8), name=f"{opened.name} labels")


def phase_probability(
    volume: Any, fit: Any, phase: int, *, weighted: bool = True, **options: Any
) -> Volume:
    """Probability of a phase in each voxel, float32 in a volume that is worked out when read.

    Parameters and errors as for `segment`; phase : its number.
    """
    opened, rule = _prepared(volume, fit, weighted, options)
    whole_number("phase", phase, 0, len(rule.posterior) - 1)
    table = rule.posterior[phase]

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        return np.asarray(_probability(_with_halo(opened, (z, y, x)), rule, table))

    name = f"{opened.name} phase {phase}"
    return replace(opened, reader=read, dtype=np.dtype(np.float32), name=name)


def _prepared(
    volume: Any, fit: Any, weighted: bool, options: Mapping[str, Any]
) -> tuple[Volume, Rule]:
    told = _read_fit(fit)
    params = params_of(told["params"])
    opened = open_volume(volume, **options)
    _check_range(opened, params.intensities, float(np.max(params.noise_std)))
    gradient = cast(Gradient, told.get("gradient", "central_difference"))
    return opened, rule_of(params, told.get("model", "bimm2d"), gradient, weighted=weighted)


def _read_fit(fit: Any) -> Mapping[str, Any]:
    if isinstance(fit, Fit):
        return fit.to_dict()
    if isinstance(fit, str | os.PathLike):
        try:
            fit = json.loads(Path(fit).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"fit: got {fit}, wants a fit.json ({error})") from None
    if not isinstance(fit, Mapping) or not isinstance(fit.get("params"), Mapping):
        raise InputError(f"fit: got {type(fit).__name__}, wants a Fit or the path of fit.json")
    held = fit["params"]
    if held.get("intensities") is None or held.get("noise_std") is None:
        raise InputError("fit: got no intensities or noise_std in its params, wants both")
    return fit


def _check_range(volume: Volume, intensities: Any, noise: float) -> None:
    """A fit of another volume has its phases elsewhere."""
    sample = np.concatenate([b.ravel() for b in sample_blocks(volume)]).astype(float)
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return
    low, high = np.quantile(sample, [0.001, 0.999])
    first, last = float(intensities[0]), float(intensities[-1])
    if first - _SPARE * noise > high or last + _SPARE * noise < low:
        raise InputError(
            f"fit: got phases at {first:.6g} to {last:.6g}, wants those of this volume, whose grey "
            f"values run from {low:.6g} to {high:.6g}"
        )


def _with_halo(volume: Volume, box: tuple[slice, slice, slice]) -> np.ndarray:
    """A box with a layer around it; at the volume's faces voxels are repeated."""
    inner, pads = [], []
    for part, n in zip(box, volume.shape, strict=True):
        start, stop, _ = part.indices(n)
        inner.append(slice(max(start - 1, 0), min(stop + 1, n)))
        pads.append((int(start == 0), int(stop == n)))
    return np.pad(volume.read(*inner), pads, mode="edge")


@jax.jit
def _labels(data: Array, rule: Rule) -> Array:
    found = rule.labels.ravel()[_bins(data, rule)]
    return jnp.where(jnp.isfinite(data[1:-1, 1:-1, 1:-1]), found, jnp.uint8(NO_LABEL))


@jax.jit
def _probability(data: Array, rule: Rule, table: Array) -> Array:
    found = table.ravel()[_bins(data, rule)]
    return jnp.where(jnp.isfinite(data[1:-1, 1:-1, 1:-1]), found, jnp.nan)


def _bins(data: Array, rule: Rule) -> Array:
    rows, columns = rule.labels.shape
    values = data.astype(jnp.float32)
    u = (values[1:-1, 1:-1, 1:-1] - rule.low) / rule.step
    # Beside a gap there is no gradient to go by.
    v = jnp.nan_to_num(gradient_magnitude(values)) * (columns / rule.steepest)
    at = jnp.clip(jnp.nan_to_num(u), 0, rows - 1).astype(jnp.int32) * columns
    return at + jnp.clip(v, 0, columns - 1).astype(jnp.int32)
