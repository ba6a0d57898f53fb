"""A fitted model and labels as two independent measurements of the same volume."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.descriptors import crofton_areas
from bimmjax.descriptors._describe import count_labels
from bimmjax.descriptors._labels import open_mask, open_phases
from bimmjax.fitting._verdict import is_poor
from bimmjax.models import phase_pairs
from bimmjax.segmentation._given_fit import given_fit
from bimmjax.segmentation._rule import NO_LABEL


class Compared(NamedTuple):
    """One quantity, from the model and from labels.

    Attributes
    ----------
    quantity : str
        "volume_fractions" or "interface_areas".
    which : str
        "0", or "0-1".
    model : float or None
        What was fitted; None where the fit does not know.
    interval : tuple[float, float] or None
        [low, high] at 95 %; None where the fit does not know.
    measured : float
        On the labels.
    refusal : str or None
        Why the fit has no number, where it says so.
    judged : bool
        Whether the fit describes its volume, so that labels can be held against it.
    """

    quantity: str
    which: str
    model: float | None
    interval: tuple[float, float] | None
    measured: float
    refusal: str | None = None
    judged: bool = True

    @property
    def difference(self) -> float | None:
        """Measured less fitted."""
        return None if self.model is None else self.measured - self.model

    @property
    def agrees(self) -> bool | None:
        """Whether what was measured lies within the model's interval; None if nothing tells."""
        if self.interval is None or not self.judged:
            return None
        return self.interval[0] <= self.measured <= self.interval[1]


class CrossCheck(NamedTuple):
    """What a fit and labels say of the same volume.

    Attributes
    ----------
    rows : tuple[Compared, ...]
        Fractions by phase, then areas by pair.
    length_unit : str
    warnings : tuple[str, ...]
        The fit's own: what it says of how far to believe it.
    left_out : float
        Share of all voxels that do not count.
    """

    rows: tuple[Compared, ...]
    length_unit: str
    warnings: tuple[str, ...] = ()
    left_out: float = 0.0

    @property
    def agrees(self) -> bool | None:
        """Whether all that has an interval agrees; None if nothing has, or the fit is poor."""
        told = [row.agrees for row in self.rows if row.agrees is not None]
        return all(told) if told else None

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and None, by quantity and phase or pair."""
        told: dict[str, Any] = {"agrees": self.agrees, "units": {"length": self.length_unit}}
        told["warnings"] = list(self.warnings)
        told["left_out"] = self.left_out
        for row in self.rows:
            told.setdefault(row.quantity, {})[row.which] = {
                "model": row.model,
                "interval": None if row.interval is None else list(row.interval),
                "measured": row.measured,
                "difference": row.difference,
                "agrees": row.agrees,
                "refusal": row.refusal,
            }
        return told


def cross_check(
    labels: Any, fit: Any, *, mask: Any = None, ignore: int | None = None, **options: Any
) -> CrossCheck:
    """Fractions and areas of a fit beside those of labels, and whether they agree.

    The fit counts no labels and the labels know no model, so where both agree within the error
    bars there is reason to believe both. Areas of labels are Crofton counts.

    Source: BIMM paper, §4.4.

    Parameters
    ----------
    labels : path, array or Volume
        (z, y, x) of whole numbers 0 ... N - 1 in order of intensity, from any method. Streamed. A
        mask of 0 and 255 is phases 0 and 1.
    fit : Fit, dict or path of fit.json
        Of the same volume, with as many phases or more.
    mask : volume, optional
        Of the same shape; only voxels where it is not 0 count.
    ignore : int, optional
        A label that says that there is none; by default 255, but in a mask of 0 and 255.
    **options
        `spacing`, `unit`, `dataset`: as in `open_volume`; by default lengths are the fit's.

    Returns
    -------
    CrossCheck

    Raises
    ------
    InputError
        More labels than phases; voxels, or a volume, of another size than the fit's.

    Notes
    -----
    Of a fit that did not come to rest, or does not describe its volume (`goodness_of_fit` above
    0.1), the intervals are worth nothing: `agrees` is None then.

    Intervals are the fit's `confidence` (95 %, of this volume's own values), so labels are held
    against what the fit is sure of. Labels have errors of their own: blur moves them across
    interfaces and noise makes them rough.

    Examples
    --------
    >>> import jax, bimmjax
    >>> made = bimmjax.sim.artificial_volume(jax.random.key(0), (64, 64, 64), with_area=False)
    >>> fit = bimmjax.fit(made.image, 2)
    >>> found = bimmjax.cross_check(bimmjax.segment(made.image, fit, mrf=True), fit)
    >>> [row.which for row in found.rows]
    ['0', '1', '0-1']
    """
    told = given_fit(fit)
    phases = len(told["params"]["intensities"])
    volume = open_phases(labels, ignore=ignore, **options)
    unit = told.get("units", {}).get("length", "voxel")
    spacing = tuple(told.get("spacing", (1.0, 1.0, 1.0)))
    if volume.unit == unit and not np.allclose(volume.spacing, spacing, rtol=1e-3):
        raise InputError(
            f"labels: got voxels of {volume.spacing} {unit}, wants those of the fit, {spacing}"
        )
    shape = tuple(told.get("shape") or volume.shape)
    if volume.shape != shape:
        raise InputError(
            f"labels: got shape {volume.shape}, wants that of the volume that was fitted, {shape}; "
            "for labels of a part fit that part"
        )
    covered = open_mask(mask, volume, int(NO_LABEL) if ignore is None else ignore)
    voxels = count_labels(volume, covered, None)
    if voxels.size > phases:
        raise InputError(
            f"labels: got {voxels.size} phases (labels up to {voxels.size - 1}), wants at most the "
            f"{phases} of the fit"
        )
    shares = np.zeros(phases)
    shares[: voxels.size] = voxels / voxels.sum()
    left_out = 1.0 - int(voxels.sum()) / math.prod(volume.shape)
    areas = crofton_areas(volume, phases, mask=covered, spacing=spacing, unit=unit)
    pairs = [f"{i}-{j}" for i, j in phase_pairs(phases)]
    rows = _rows(told, "volume_fractions", [str(k) for k in range(phases)], shares)
    rows += _rows(told, "interface_areas", pairs, areas)
    return CrossCheck(tuple(rows), unit, tuple(told.get("warnings") or ()), left_out)


def _rows(told: Any, quantity: str, names: list[str], measured: np.ndarray) -> list[Compared]:
    fitted = _by_name(told.get("properties", {}).get(quantity), names)
    bars = _by_name((told.get("confidence") or {}).get(quantity), names)
    refusals = (told.get("refusals") or {}).get(quantity, {})
    judged = bool(told.get("converged", True)) and not is_poor(told.get("goodness_of_fit", 0.0))
    rows = []
    for name, value in zip(names, measured, strict=True):
        model, bar = fitted.get(name), bars.get(name)
        interval = None
        if model is not None and bar is not None and None not in bar:
            interval = (float(bar[0]), float(bar[1]))
        why = refusals.get(name)
        rows.append(Compared(quantity, name, model, interval, float(value), why, judged))
    return rows


def _by_name(values: Any, names: list[str]) -> dict[str, Any]:
    """Lists are in the order of the names."""
    if values is None:
        return {}
    return values if isinstance(values, dict) else dict(zip(names, values, strict=True))
