"""One call from a volume, or a series of volumes, to parameter maps."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.fitting import Fit
from bimmjax.fitting._fit import MAX_PHASES, check_blur
from bimmjax.fitting._local import FREE, BlockFits, local_model
from bimmjax.fitting._result import params_of
from bimmjax.fitting._verdict import POOR_FIT
from bimmjax.maps._calibration import UNCALIBRATED, Calibration, calibrate
from bimmjax.maps._columns import all_columns
from bimmjax.maps._correction import NO_CORRECTION, Correction, correction_of, with_what_is_left
from bimmjax.maps._counting import UnitCounts, window_counts
from bimmjax.maps._fitting import Fitter
from bimmjax.maps._flags import UNUSABLE, Flag
from bimmjax.maps._global import fit_sample, global_grid
from bimmjax.maps._identity import digest, told_by
from bimmjax.maps._maps import Maps, open_maps
from bimmjax.maps._processes import Team, current_team, share
from bimmjax.maps._source import Source, open_source
from bimmjax.maps._start import read_start
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Unit, Windows, windows_of
from bimmjax.models import phase_pairs
from bimmjax.volumes import Grid

_LEAST_SHARE = 0.5
_LEAST_VOXELS = 200
_ABSENT = 1e-3
_LEAST_TOLD = 0.5
# Stds of a prior: none of a thousand blocks of one kind should lie as far off.
_FAR = 5.0

Progress = Callable[[int, int], object]


def map_fits(
    volume: Any,
    phases: int = 2,
    *,
    block: int | Sequence[int] = 64,
    stride: int | Sequence[int] | None = None,
    out: str | os.PathLike[str] | None = None,
    free: Literal["weights", "weights,blur,noise", "all"] = "all",
    noise: Literal["shared", "per_phase"] = "shared",
    gradient: Literal["central_difference", "plain"] = "central_difference",
    interface: Literal["curved", "flat"] = "curved",
    correct: bool = True,
    blur_std: float | None = None,
    mask: Any = None,
    start: Fit | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    errors: bool = True,
    times: Sequence[float] | None = None,
    spacing: Any = None,
    unit: str | None = None,
    dataset: str | None = None,
    dtype: str | None = None,
    fill_missing: bool = False,
    seed: int = 0,
    retry: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Maps:
    """Fit BIMM-2D to every block of a volume: maps of porosity, area, blur, noise and the rest.

    First one fit of the whole (of 2²⁴ voxels spread over it, where there are more), then a fit of
    each block, with a prior around the first. The volume streams through once, memory stays
    bounded, and the blocks are spread over all devices of the host. With `out`, what is done
    is kept: the same call again goes on after an interruption, and several processes
    (`jax.distributed`) share the work.

    Source: local fits as in BIMM paper, §5.3; priors and calibrated errors are ours.

    Parameters
    ----------
    volume
        Path, array, Volume, or a list of them
        (z, y, x), cubic voxels. A list is a time series of volumes of one shape: each
        starts from the fits of the one before.
    phases : int
        2 to 8.
    block : int or three
        Edges of the blocks, voxels.
    stride : int or three, optional
        Steps between the blocks, voxels. They overlap if it is smaller than the block, which it is
        by default.
    out : path, optional
        Folder (a zarr group) to write; in memory if None.
    free : str
        What may differ from block to block: "weights" (fractions and areas), "weights,blur,noise"
        or "all" (default). The rest is that of the global fit.
    noise : str
        As for `fit`.
    gradient : str
        As for `fit`.
    interface : str
        As for `fit`.
    correct : bool
        Take the model's bias off fractions, areas and resolution of the blocks, as it was found
        on stand-ins for the whole (see `fit`): by the same share in all blocks, and in all
        volumes of a series as in its first. An area that is refused for the whole stays the
        model's own.
    blur_std : float, optional
        Standard deviation of the scan's blur in voxels, where it is known: it is held in all
        blocks. So is that of a fit given as `start` which held it.
    mask : volume or list of volumes, optional
        Of the shape of the volume; only voxels where it, and their six neighbours where it, are
        not 0 count.
    start : Fit, dict or path of fit.json, optional
        A BIMM-2D fit to take as the global one.
    errors : bool
        Calibrate the standard errors on a stand-in volume of known truth (some seconds).
    times : sequence of float, optional
        One per volume of a series; 0, 1, 2, ... if not given.
    spacing
        As in `open_volume`.
    unit
        As in `open_volume`.
    dataset
        As in `open_volume`.
    dtype
        As in `open_volume`.
    fill_missing : bool
        Chunks that do not exist hold the fill value, as writers mean that leave out empty ones.
        By default they count as lost, and the blocks that they touch are flagged.
    seed : int
        Of the stand-in.
    retry : bool
        Going on with maps, fit those blocks anew of which voxels could not be read.
    overwrite : bool
        Replace the maps in `out` instead of going on with them.
    progress : callable, optional
        Called with (fits done, fits in all).

    Returns
    -------
    Maps

    Raises
    ------
    InputError
        Bad arguments, an unsuitable volume, or maps in `out` that were made with other options.

    Examples
    --------
    >>> import jax, bimmjax
    >>> from bimmjax import sim
    >>> made = sim.artificial_volume(
    ...     jax.random.key(0), (48, 48, 48), blur_std=1.0, feature_length=6.0, with_area=False
    ... )
    >>> maps = bimmjax.map_fits(made.image, block=24, errors=False)
    >>> maps["volume_fraction_0"].shape, maps.windows.count
    ((2, 2, 2), 8)
    """
    whole_number("phases", phases, 2, MAX_PHASES)
    whole_number("seed", seed, 0, 2**31 - 1)
    choice("free", free, tuple(FREE))
    choice("noise", noise, ("shared", "per_phase"))
    choice("gradient", gradient, ("central_difference", "plain"))
    choice("interface", interface, ("curved", "flat"))
    sources, moments = _open_all(
        volume,
        mask,
        times,
        spacing=spacing,
        unit=unit,
        dataset=dataset,
        dtype=dtype,
        fill_missing=fill_missing,
    )
    first = sources[0].volume
    given = None if start is None else read_start(start, phases)
    if given is not None:
        curved = given["params"].get("interface_tilt") is not None
        interface = "curved" if curved else "flat"
        noise = "per_phase" if np.ndim(params_of(given["params"]).noise_std) else "shared"
        gradient = given.get("gradient", gradient)
        choice("gradient", gradient, ("central_difference", "plain"))
    if blur_std is not None:
        check_blur("blur_std", blur_std)
        if given is not None:
            raise InputError(f"blur_std: got {blur_std} with start, wants one of the two")
    windows = windows_of(first, block, stride)
    identity = {
        "volume": [told_by(source.raw) for source in sources],
        "mask": [told_by(source.mask) for source in sources],
        "phases": phases,
        "block": list(windows.block),
        "stride": list(windows.stride),
        "free": free,
        "noise": noise,
        "gradient": gradient,
        "interface": interface,
        "correct": correct,
        "errors": errors,
        "times": moments,
        "blur_std": blur_std,
        "start": None
        if given is None
        else digest([given["params"], correction_of(given) if correct else NO_CORRECTION]),
        "spacing": list(first.spacing),
        "unit": first.unit,
        "fill_missing": fill_missing,
        "seed": seed,
    }
    job = _Job(
        sources,
        windows,
        phases,
        free,
        noise,
        gradient,
        interface,
        correct,
        blur_std,
        errors,
        seed,
        given,
        retry,
    )
    with current_team() as team:
        store = _store(out, windows, identity, job, moments, overwrite, team)
        _run(job, store, team, progress)
        return Maps(store) if out is None else open_maps(out)


@dataclass(frozen=True, eq=False)
class _Job:
    sources: list[Source]
    windows: Windows
    phases: int
    free: str
    noise: str
    gradient: str
    interface: str
    correct: bool
    blur_std: float | None
    errors: bool
    seed: int
    given: Mapping[str, Any] | None
    retry: bool

    @property
    def series(self) -> bool:
        return len(self.sources) > 1

    @property
    def blur_known(self) -> bool:
        return self.blur_std is not None or bool((self.given or {}).get("known_blur"))

    @property
    def blur_free(self) -> bool:
        return "log_blur_std" in FREE[self.free] and not self.blur_known


@dataclass(frozen=True, eq=False)
class _Setup:
    """What the fits of one volume need; the same in all processes."""

    grid: Grid
    fitter: Fitter
    calibration: Calibration
    left: Mapping[str, float]


def _open_all(
    volume: Any, mask: Any, times: Sequence[float] | None, **options: Any
) -> tuple[list[Source], list[float] | None]:
    series = isinstance(volume, list | tuple)
    volumes = list(volume) if series else [volume]
    if not volumes:
        raise InputError("volume: got an empty list, wants at least one volume")
    masks = list(mask) if isinstance(mask, list | tuple) else [mask] * len(volumes)
    if len(masks) != len(volumes):
        raise InputError(f"mask: got {len(masks)} masks, wants one or {len(volumes)}")
    sources = [open_source(v, m, **options) for v, m in zip(volumes, masks, strict=True)]
    for source in sources:
        if np.ptp(source.volume.spacing) > 1e-3 * min(source.volume.spacing):
            raise InputError(f"spacing: got {source.volume.spacing}, wants cubic voxels for maps")
        same = sources[0].volume
        if source.volume.shape != same.shape or source.volume.spacing != same.spacing:
            raise InputError(
                f"volume: got {source.volume.name} of shape {source.volume.shape} and spacing "
                f"{source.volume.spacing}, wants those of {same.name}: {same.shape}, {same.spacing}"
            )
    if len(volumes) == 1:
        if times is not None and len(times) != 1:
            raise InputError(f"times: got {len(times)} times for 1 volume, wants as many")
        return sources, None
    try:
        moments = [float(t) for t in (range(len(volumes)) if times is None else times)]
    except (TypeError, ValueError):
        raise InputError(f"times: got {times!r}, wants a number for each volume") from None
    if len(moments) != len(volumes):
        raise InputError(f"times: got {len(moments)} times, wants one for each of {len(volumes)}")
    if not (np.all(np.isfinite(moments)) and np.all(np.diff(moments) > 0)):
        raise InputError(f"times: got {moments}, wants them ascending")
    return sources, moments


def _store(
    out: str | os.PathLike[str] | None,
    windows: Windows,
    identity: dict[str, Any],
    job: _Job,
    times: list[float] | None,
    overwrite: bool,
    team: Team,
) -> MapStore:
    """The store to write to: opened if it is there, else made by the leader."""
    if out is None and team.size > 1:
        raise InputError("out: got none, wants a folder that all processes share")
    if team.leader and (out is None or overwrite or not MapStore.exists(out)):
        # First of all, so that an unsuitable volume leaves nothing behind and replaces nothing.
        first = _prepare(job, None, 0)
        store = MapStore.create(
            out,
            windows,
            columns=all_columns(job.phases, job.noise, job.interface),
            times=times,
            spacing=job.sources[0].volume.spacing,
            unit=job.sources[0].volume.unit,
            identity=identity,
            attributes=_kept(job, [first]),
            overwrite=overwrite,
        )
        if out is None:
            return store
    assert out is not None
    team.meet("folder of maps")
    team.until(
        lambda: MapStore.exists(out),
        f"out: got {out}, which process {team.index} of {team.size} does not see; wants a folder "
        "that all processes share",
    )
    store = MapStore.open(out)
    store.check_identity(identity)
    return store


def _run(job: _Job, store: MapStore, team: Team, progress: Progress | None) -> None:
    windows = store.windows
    everything = list(windows.units())
    total = windows.count * len(job.sources)
    fitted = 0  # by this process; the leader counts those found done as its own
    for time_index, source in enumerate(job.sources):
        # The leader alone says what is left: the others may see files late, or more of them.
        plan = None
        if team.leader:
            if job.retry:
                _forget_unreadable(store, time_index, everything)
            waiting = [not store.done(time_index, unit) for unit in everything]
            fitted += sum(u.windows for u, w in zip(everything, waiting, strict=True) if not w)
            setup = _setup(job, store, time_index) if any(waiting) else None
            plan = waiting, setup
        waiting, setup = team.meet("global fit", plan)[0]
        if progress is not None:
            progress(team.report(fitted), total)
        if setup is None:
            continue
        fit = _read_setup(job, setup)
        mine = share([u for u, w in zip(everything, waiting, strict=True) if w], team)
        for found in window_counts(source, fit.grid, windows, mine, join=fit.fitter.local.join):
            team.check()
            starts = None
            if time_index:
                starts = _starts(store, time_index - 1, found.unit, fit.fitter)
            fits = fit.fitter(found.counts, starts)
            store.write(time_index, found.unit, _columns(found, fits, fit, job.blur_free))
            fitted += found.unit.windows
            if progress is not None:
                progress(team.report(fitted), total)
        team.meet(f"end of volume {time_index + 1}")
        if team.leader:
            team.until(
                lambda time_index=time_index: not store.pending(time_index),
                f"out: got {store.name}, where blocks that other processes wrote do not appear; "
                "wants a folder that all processes share",
            )


def _forget_unreadable(store: MapStore, time_index: int, units: list[Unit]) -> None:
    """Units with blocks of which voxels could not be read are to be fitted once more."""
    for unit in units:
        flags = store.read("flags", time_index, unit)
        if ((flags & np.uint16(Flag.UNREADABLE)) != 0).any():
            store.forget(time_index, unit)


def _setup(job: _Job, store: MapStore, time_index: int) -> dict[str, Any]:
    """The global fit and the calibration, or those that an interrupted run left."""
    name = f"setup_{time_index}"
    if name not in store.attributes:
        earlier = [store.attributes[f"setup_{t}"] for t in range(time_index)]
        told = _prepare(job, earlier[-1] if earlier else None, time_index)
        store.update_attributes(_kept(job, [*earlier, told]))
    return store.attributes[name]


def _kept(job: _Job, setups: list[dict[str, Any]]) -> dict[str, Any]:
    """What the store keeps of the preparations so far."""
    fits = [setup["global_fit"] for setup in setups]
    named = {f"setup_{t}": setup for t, setup in enumerate(setups)}
    return {
        **named,
        "global_fit": fits if job.series else fits[0],
        "correction": setups[0]["correction"],
    }


def _read_setup(job: _Job, told: Mapping[str, Any]) -> _Setup:
    grid, correction = _grid(told["grid"]), Correction(**told["correction"])
    fitter = _fitter(job, told["global_fit"], grid, correction)
    left = correction.left if job.errors else {}
    return _Setup(grid, fitter, _calibration(told["calibration"]), left)


def _prepare(job: _Job, before: Mapping[str, Any] | None, time_index: int) -> dict[str, Any]:
    """Bins, global fit (from that of the volume before) and calibration, as JSON has them."""
    source = job.sources[time_index]
    grid = global_grid(source)
    if job.given is not None:
        fit = dict(job.given)
    else:
        fit = fit_sample(
            source,
            grid,
            job.phases,
            gradient=job.gradient,
            noise=job.noise,
            interface=job.interface,
            correct=job.correct,
            blur_std=job.blur_std,
            seed=job.seed,
            start=None if before is None else params_of(before["global_fit"]["params"]),
        ).to_dict()
    params = params_of(fit["params"])
    if not all(np.all(np.isfinite(x)) for x in params if x is not None):
        raise InputError(
            f"volume: got {source.volume.name}, whose fit as a whole fails; wants more voxels, or "
            "another number of phases"
        )
    # One for all volumes of a series: steps between them must not come from the correction.
    correction = correction_of(fit) if job.correct else NO_CORRECTION
    if before is not None:
        correction = Correction(**before["correction"])
    elif job.correct and (own := _own_areas(job, correction)):
        fit["warnings"] = [*fit.get("warnings", []), own]
    calibration = UNCALIBRATED
    if job.errors:
        calibration = calibrate(
            _fitter(job, fit, grid, NO_CORRECTION),
            params,
            grid,
            edge=round(float(np.cbrt(np.prod(job.windows.block)))),
            spacing=source.volume.spacing[0],
            seed=job.seed,
            unbiased=correction.factors,
        )
    return {
        "global_fit": fit,
        "correction": correction._asdict(),
        "grid": {
            "u_edges": grid.u_edges.tolist(),
            "v_edges": grid.v_edges.tolist(),
            "step": float(grid.step),
            "lattice": grid.lattice.tolist(),
            "clipped": [float(x) for x in grid.clipped],
        },
        "calibration": calibration._asdict(),
    }


def _own_areas(job: _Job, correction: Correction) -> str | None:
    """Which areas of the maps are not corrected, in words."""
    pairs = [f"{i}-{j}" for i, j in phase_pairs(job.phases)]
    own = [pair for pair in pairs if f"interface_area_{pair}" not in correction.factors]
    if not own:
        return None
    return (
        f"Maps of the area {', '.join(own)} hold the model's own values, whose bias is not known."
    )


def _fitter(job: _Job, fit: Mapping[str, Any], grid: Grid, correction: Correction) -> Fitter:
    params = params_of(fit["params"])
    local = local_model(
        params, grid, gradient=job.gradient, free=job.free, known_blur=job.blur_known
    )
    spacing = job.sources[0].volume.spacing[0]
    return Fitter(local, params, spacing, factors=correction.factors)


def _grid(told: Mapping[str, Any]) -> Grid:
    return Grid(
        np.array(told["u_edges"], float),
        np.array(told["v_edges"], float),
        told["step"],
        np.array(told["lattice"], float),
        (told["clipped"][0], told["clipped"][1]),
    )


def _calibration(told: Mapping[str, Any]) -> Calibration:
    terms = {name: (float(a), float(b), float(c)) for name, (a, b, c) in told["terms"].items()}
    return Calibration(**{**told, "terms": terms})


def _starts(store: MapStore, time_index: int, unit: Unit, fitter: Fitter) -> np.ndarray:
    """Where the fits of the volume before ended; as usual where they ended badly."""
    read = {name: store.read(name, time_index, unit).ravel() for name in fitter.names}
    bad = (store.read("flags", time_index, unit).ravel() & np.uint16(UNUSABLE)) != 0
    return np.where(bad[:, None], np.asarray(fitter.local.plan.start), fitter.starts(read))


def _columns(
    counts: UnitCounts, fits: BlockFits, setup: _Setup, blur_free: bool
) -> dict[str, np.ndarray]:
    """All columns of a unit, in its shape."""
    values, errors = setup.fitter.columns(fits)
    errors = setup.calibration.errors(values, errors, setup.fitter.widths)
    errors = with_what_is_left(values, errors, setup.left)
    voxels = counts.counts.sum((1, 2), dtype=np.int64)
    empty = (voxels < _LEAST_SHARE * counts.possible) | (voxels < _LEAST_VOXELS)
    finite = np.all([np.isfinite(x) for x in (*values.values(), *errors.values())], axis=0)
    misplaced = np.asarray(fits.misplaced, float)
    absent = [
        share < np.maximum(_ABSENT, 2.0 * errors[name])
        for name, share in values.items()
        if name.startswith("volume_fraction_")
    ]
    raised = {
        Flag.NOT_CONVERGED: ~fits.converged,
        Flag.PHASE_ABSENT: np.any(absent, axis=0),
        Flag.POOR_FIT: misplaced > POOR_FIT + setup.calibration.misplaced,
        Flag.BLUR_UNTOLD: blur_free & (fits.told < _LEAST_TOLD),
        Flag.FAILED: ~finite,
        Flag.UNLIKE_WHOLE: fits.pull > _FAR,
    }
    flags = sum(np.where(raised[flag] & ~empty, int(flag), 0) for flag in raised)
    flags = flags + np.where(empty, int(Flag.NO_DATA), 0)
    flags = flags + np.where((voxels < counts.possible) & ~empty, int(Flag.PARTIAL), 0)
    flags = flags + np.where(counts.unreadable, int(Flag.UNREADABLE), 0)
    useless = empty | ~finite
    columns = {}
    for name in values:
        columns[name] = np.where(useless, np.nan, values[name])
        held = setup.fitter.widths[name] == 0.0
        columns[f"{name}_stderr"] = np.where(useless | held, np.nan, errors[name])
    columns["goodness_of_fit"] = np.where(useless, np.nan, misplaced)
    columns["voxels"] = voxels
    columns["steps"] = np.where(empty, 0, fits.steps)
    columns["flags"] = flags
    shape = counts.unit.shape
    return {name: np.asarray(column).reshape(shape) for name, column in columns.items()}
