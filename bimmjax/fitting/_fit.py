"""One call from a volume to a fit with error bars and a verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax import models
from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax._core.clock import timed
from bimmjax.fitting import _minibatch
from bimmjax.fitting._believe import with_errors
from bimmjax.fitting._histogram_fit import (
    HistogramFit,
    blur_of_the_data,
    fit_histogram,
    optimum_at,
    physical,
)
from bimmjax.fitting._result import CONVERGED, FAILED, NOT_CONVERGED, Fit
from bimmjax.fitting._two_scales import refused
from bimmjax.fitting._two_scales import two_scales as measure_two_scales
from bimmjax.fitting._uncertainty import influence, observed_scatter
from bimmjax.fitting._verdict import POOR_FIT, interior_noise, misplaced_share, warnings_for
from bimmjax.models import Params
from bimmjax.properties import properties as physical_properties
from bimmjax.volumes import JointHistogram, Volume, joint_histogram, open_volume

Model = Literal["gmm", "pvmm", "bimm1d", "bimm2d"]

MAX_PHASES = 8
_AUTO_PHASES = 5
_FEWEST_LEVELS = 4
_ISOTROPY = 1e-3
_LIKE = 0.03

# Compiled, because op by op its first call would compile each operation alone.
_properties = jax.jit(physical_properties)


def fit(
    volume: Any,
    phases: int | Literal["auto"] = 2,
    *,
    model: Model = "bimm2d",
    method: Literal["histogram", "minibatch"] = "histogram",
    gradient: Literal["central_difference", "plain"] = "central_difference",
    noise: Literal["shared", "per_phase"] = "shared",
    interface: Literal["curved", "flat"] = "curved",
    correct: bool = True,
    intervals: bool = True,
    two_scales: bool = False,
    blur_std: float | None = None,
    ignore_nan: bool = False,
    spacing: Any = None,
    unit: str | None = None,
    dataset: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    start: Params | None = None,
    schedule: _minibatch.Schedule | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fit:
    """Fit a mixture model to a whole volume and say what it means for the sample.

    Source: BIMM paper, §3; the likelihood of all data is our own.

    Parameters
    ----------
    volume : path, array or Volume
        (z, y, x); anything `open_volume` takes. Streamed: it need not fit in memory.
    phases : int or "auto"
        Number of phases, 1 to 8; "auto" chooses 1 to 5 by the Bayesian information criterion,
        with the number of voxels cut to what their correlation leaves.
    model : str
        "bimm2d" (default), "bimm1d", "pvmm" or "gmm".
    method : str
        "histogram" (default): maximum likelihood on all voxels. "minibatch": the paper's
        procedure on random voxels, to compare with it.
    gradient : str
        "central_difference" (default, unbiased) or "plain" (the paper's).
    noise : str
        One noise for all phases ("shared"), or one for each ("per_phase").
    interface : str
        "curved" (default): voxels need not be spread evenly across an interface, which takes the
        bias out of intensities and most of it out of areas. "flat": the paper's, with a free
        width of the interface region. The other models and the minibatch method are flat.
    correct : bool
        Take off the bias of fractions, areas and resolution that structures thin or curved
        against the blur cause, as found on stand-ins for this volume; announce what may be left
        of it, and refuse an area that cannot be trusted (bimm2d with two to four phases,
        histogram method). False: the properties are the model's own.
    intervals : bool
        Whether to compute 95 % intervals (histogram method only).
    two_scales : bool
        Measure interface area, blur and curvature of two phases once more, by moments of the
        volume and of the volume blurred again: one more pass. Closer to the truth than the
        model alone; of the voxels that are 3.5 blurs or more from the faces.
    blur_std : float, optional
        Standard deviation of the scan's blur in voxels, where it is known (of a Gaussian point
        spread function the full width at half maximum over 2.355): it is held instead of fitted
        (bimm2d with two phases or more, histogram method). Without `correct` the intervals then
        leave out the model's bias, which shows in the blur.
    ignore_nan : bool
        Leave out voxels that are NaN or infinite, and their neighbours.
    spacing
        As in `open_volume`. BIMM-2D needs cubic voxels.
    unit
        As in `open_volume`.
    dataset
        As in `open_volume`.
    dtype
        As in `open_volume`.
    seed : int
        Of the random draws (intervals, minibatch).
    start : Params, optional
        Start here, in grey values, instead of searching.
    schedule : Schedule, optional
        Iterations, batch and draws of the minibatch method.
    progress : callable, optional
        Called with (voxels read, voxels in all).

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        Bad arguments or an unsuitable volume, in one line.

    Examples
    --------
    >>> import jax, bimmjax
    >>> from bimmjax import sim
    >>> made = sim.artificial_volume(
    ...     jax.random.key(0), (48, 48, 48), blur_std=1.0, feature_length=6.0, with_area=False
    ... )
    >>> found = bimmjax.fit(made.image, phases=2, intervals=False)
    >>> bool(abs(found.properties.volume_fractions[0] - made.fractions[0]) < 0.02)
    True
    """
    choice("model", model, ("gmm", "pvmm", "bimm1d", "bimm2d"))
    choice("method", method, ("histogram", "minibatch"))
    choice("gradient", gradient, ("central_difference", "plain"))
    choice("noise", noise, ("shared", "per_phase"))
    choice("interface", interface, ("curved", "flat"))
    whole_number("seed", seed, 0, 2**31 - 1)
    if isinstance(phases, str) and phases != "auto":
        raise InputError(
            f'phases: got {phases!r}, wants a whole number from 1 to {MAX_PHASES}, or "auto"'
        )
    if phases != "auto":
        whole_number("phases", phases, 1, MAX_PHASES)
    if blur_std is not None:
        check_blur("blur_std", blur_std)
        if model != "bimm2d" or phases in (1, "auto") or method != "histogram":
            raise InputError(
                f"blur_std: got {blur_std} with {model}, phases={phases} and the {method} method; "
                "wants bimm2d, a number of phases from 2 on and the histogram method"
            )
    opened = open_volume(volume, spacing=spacing, unit=unit, dataset=dataset, dtype=dtype)
    check_cubic(opened, model)
    if two_scales and (model != "bimm2d" or phases != 2 or noise != "shared"):
        raise InputError(
            f"two_scales: got {model} with {phases} phases and {noise} noise, wants bimm2d with 2 "
            "phases and shared noise"
        )
    with timed() as counting:
        histogram = joint_histogram(opened, ignore_nan=ignore_nan, progress=progress)
    bic = None
    with timed() as fitting:
        check_levels(histogram, 1 if phases == "auto" else int(phases))
        if start is not None:
            _check_start(start, phases, model)
        fitted = partial(
            fit_histogram,
            histogram,
            model=model,
            gradient=gradient,
            noise=noise,
            interface="flat" if method == "minibatch" else interface,
            blur_std=blur_std,
        )
        if phases == "auto":
            best, bic = _choose_phases(histogram, fitted)
        else:
            best = fitted(int(phases), start=start)
        if method == "minibatch":
            best = _by_minibatch(best, opened, histogram, seed, schedule)
    found = described(
        best,
        histogram,
        opened,
        method=method,
        noise=noise,
        seed=seed,
        seconds={
            "read": histogram.reading,
            "histogram": counting.total - counting.compiling - histogram.reading,
            "compile": counting.compiling + fitting.compiling,
            "fit": fitting.total - fitting.compiling,
        },
        bic=bic,
        known_blur=blur_std is not None,
    )
    if blur_std is not None and (own := blur_of_the_data(best)) is not None:
        found = replace(found, warnings=(*found.warnings, *_unlike(found, blur_std, own)))
    # A descent on random voxels scatters by itself: neither errors nor bias would know of it.
    if method == "histogram" and found.code != FAILED and (correct or intervals):
        found = with_errors(found, best, opened, correct=correct, intervals=intervals)
    return _with_two_scales(found, opened) if two_scales else found


def _unlike(fit: Fit, given: float, own: float) -> list[str]:
    """What to say of a known blur that the data do not confirm."""
    shares, areas = (np.asarray(x, float) for x in fit.properties[:2])
    touching = max(float(areas.sum()) * fit.spacing[0] * given, 1e-9)
    size = 2.0 * (1.0 - float(np.sum(shares**2))) / touching
    # Curvature passes for blur, the more so the smaller features are.
    if abs(np.log(own / given)) < _LIKE + 1.0 / max(size, 1e-3) ** 2:
        return []
    return [
        f"The blur is given as {given:.3g} voxels; by themselves the data would put it at about "
        f"{own:.3g}."
    ]


def _with_two_scales(fit: Fit, volume: Volume) -> Fit:
    if fit.code == FAILED or fit.goodness_of_fit > POOR_FIT:
        return replace(fit, two_scales=refused("the fit does not describe the volume"))
    measured = measure_two_scales(volume, fit.params, fit.histogram.grid.step)
    return replace(fit, two_scales=measured)


def described(
    best: HistogramFit,
    histogram: JointHistogram,
    volume: Volume,
    *,
    noise: str,
    seconds: dict[str, float],
    method: str = "histogram",
    seed: int = 0,
    bic: dict[int, float] | None = None,
    known_blur: bool = False,
) -> Fit:
    """An optimum in grey values and lengths, with what it means and how far to trust it."""
    params = best.scale.out_of(physical(best.outcome.theta))
    probability = np.asarray(best.probability, float)
    properties = jax.tree.map(
        lambda x: np.asarray(x, float), _properties(params, volume.spacing[0])
    )
    code = _code(best, params)
    frequencies = np.asarray(best.data.frequencies, float)
    misfit = misplaced_share(frequencies, probability, histogram.voxels)
    return Fit(
        model=best.setting.model,
        phases=int(np.size(params.intensities)),
        method=method,
        gradient=best.setting.gradient,
        noise=noise,
        interface="curved" if params.interface_tilt is not None else "flat",
        seed=seed,
        params=params,
        properties=properties,
        confidence=None,
        sampling=None,
        spacing=volume.spacing,
        length_unit=volume.unit,
        intensity_unit="grey value",
        nll=_mean_nll(histogram, frequencies, probability),
        goodness_of_fit=misfit,
        warnings=warnings_for(
            params,
            np.asarray(properties.volume_fractions),
            histogram,
            misfit=misfit,
            converged=code == CONVERGED,
            noise_by_phase=None if noise == "per_phase" else _noise_by_phase(params, histogram),
        ),
        code=code,
        voxels=histogram.voxels,
        seconds=seconds,
        histogram=histogram,
        node_count=best.setting.nodes,
        bic=bic,
        known_blur=known_blur,
        shape=volume.shape,
    )


def check_blur(name: str, value: Any) -> None:
    """Refuse what is no blur."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0.0 < float(value) < np.inf:
        raise InputError(f"{name}: got {value!r}, wants a number of voxels above 0")


def check_cubic(volume: Volume, model: str) -> None:
    low, high = min(volume.spacing), max(volume.spacing)
    if model == "bimm2d" and high > low * (1.0 + _ISOTROPY):
        raise InputError(
            f"spacing: got {volume.spacing}, wants cubic voxels for bimm2d, whose gradient law "
            "needs them (--model bimm1d works on any)"
        )


def check_levels(histogram: JointHistogram, phases: int) -> None:
    held = int((histogram.counts.sum(1) > 0).sum())
    if phases <= held < _FEWEST_LEVELS:
        raise InputError(
            f"volume: got {held} distinct grey values (a segmented volume?), wants the grey values "
            "of a scan"
        )
    if phases > held:
        raise InputError(
            f"phases: got {phases}, wants at most {held}, the distinct grey values of the volume"
        )


def _check_start(start: Params, phases: int | str, model: str) -> None:
    held = np.size(start.intensities)
    if held != phases:
        raise InputError(f"start: got {held} phases, wants as many as phases={phases!r}")
    family = getattr(models, model)
    needed = {
        "interface_weights": family.HAS_INTERFACES and held > 1,
        "interface_halfwidth": model in ("bimm1d", "bimm2d") and held > 1,
        "blur_std": family.USES_GRADIENT and held > 1,
        "correlation": family.USES_GRADIENT,
    }
    for name, value in start._asdict().items():
        if value is None or np.size(value) == 0:
            if needed.get(name):
                raise InputError(f"start: got no {name}, wants all that {model} has")
        elif not np.all(np.isfinite(value)):
            raise InputError(f"start: got {name} that is not finite, wants numbers")
    if np.any(np.diff(start.intensities) <= 0):
        raise InputError("start: got intensities out of order, wants them ascending")


def _check_schedule(schedule: _minibatch.Schedule) -> _minibatch.Schedule:
    whole_number("schedule.iterations", schedule.iterations, 1, 10**7)
    whole_number("schedule.batch", schedule.batch, 1, 10**7)
    whole_number("schedule.draws", schedule.draws, 0, 10**6)
    whole_number("schedule.averaged", schedule.averaged, 1, schedule.iterations)
    return schedule


def _code(best: HistogramFit, params: Params) -> int:
    values = np.concatenate([np.ravel(x) for x in params if x is not None])
    if not np.all(np.isfinite(values)):
        return FAILED
    return CONVERGED if bool(best.outcome.converged) else NOT_CONVERGED


def _by_minibatch(
    best: HistogramFit,
    volume: Volume,
    histogram: JointHistogram,
    seed: int,
    schedule: _minibatch.Schedule | None,
) -> HistogramFit:
    """The paper's descent; its start is rough on purpose: the best start, not the optimum."""
    u, v = _minibatch.sample_voxels(volume, histogram.grid)
    found = _minibatch.descend(
        jax.random.key(seed),
        best.first_guess,
        jnp.asarray(u),
        jnp.asarray(v),
        best.setting,
        _check_schedule(schedule or _minibatch.Schedule()),
    )
    return optimum_at(best, found.params)


def _noise_by_phase(params: Params, histogram: JointHistogram) -> np.ndarray | None:
    counts = histogram.counts
    below = np.cumsum(counts.sum(0)) / counts.sum()
    flat = int(np.searchsorted(below, 0.25)) + 1
    return interior_noise(params, counts, histogram.grid.u_edges, flat)


def _mean_nll(histogram: JointHistogram, frequencies: np.ndarray, probability: np.ndarray) -> float:
    """Mean negative log density in grey values, with the densities averaged over bins.

    Within a bin of gradients the density goes as v² times something smooth, so the mean of
    log v² is taken for that law, and the smooth part as constant.
    """
    grid = histogram.grid
    seen = frequencies > 0
    log_width = np.log(np.diff(grid.u_edges))
    if frequencies.ndim == 1:
        logs = np.log(probability[seen]) - log_width[seen]
        return float(-np.sum(frequencies[seen] * logs))
    low, high = grid.v_edges[:-1], grid.v_edges[1:]
    cubes = high**3 - low**3
    mean_log = (high**3 * np.log(high) - low**3 * np.log(np.maximum(low, 1e-300))) / cubes - 1 / 3
    density = np.log(np.where(seen, probability, 1.0)) - log_width[:, None]
    density = density - np.log(cubes / 3.0) + 2.0 * mean_log
    return float(-np.sum(np.where(seen, frequencies * density, 0.0)))


def _choose_phases(
    histogram: JointHistogram, fitted: Callable[[int], HistogramFit]
) -> tuple[HistogramFit, dict[int, float]]:
    """The fit with the number of phases that BIC prefers, and the criterion by number.

    Voxels count as what their correlation leaves of them.

    How much that is comes from the richest model, whose scores scatter between cells as many
    times more than independent voxels would as neighbours say the same thing.
    """
    most = min(_AUTO_PHASES, int((histogram.counts.sum(1) > 0).sum()))
    fits = {n: fitted(n) for n in range(1, most + 1)}
    cells = histogram.cell_counts
    richest = fits[most]
    if richest.data.frequencies.ndim == 1:
        cells = cells.sum(-1)
    effective = histogram.voxels / observed_scatter(influence(richest, 1.0).table, cells)
    criterion = {}
    for n, found in fits.items():
        size = sum(int(np.size(x)) for x in found.outcome.theta if x is not None)
        criterion[n] = 2.0 * effective * float(found.outcome.loss) + size * float(np.log(effective))
    return fits[min(criterion, key=lambda n: criterion[n])], criterion
