"""Levelled waves of any size, made tile by tile as they are read; hierarchies of them."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, real_number
from bimmjax.sim import _checks
from bimmjax.sim._host_random import host_key
from bimmjax.sim._structures.labelled import Labelled, LabelledVolume, wanted_voxels
from bimmjax.sim._structures.streamed_cut import Cut, cut
from bimmjax.sim._structures.structure import Structure
from bimmjax.sim._structures.truth import interface_areas
from bimmjax.sim._structures.waves import Waves, draw_waves, wave_field, wave_surface_density
from bimmjax.volumes import Volume, open_volume

Shape = tuple[int, int, int]
Progress = Callable[[int, int], Any]

# Sums depend on the shape of the product in their last digits: what a voxel's label is must not.
_TILE: Shape = (64, 128, 128)
# Areas are measured in boxes of so many cells along an edge, and at most on so many cells.
_BOX = 64
_MEASURED = 2**24


def ligament_wavelength(ligament: float, solid_fraction: float) -> float:
    """Wavelength at which a levelled wave has ligaments of that mean diameter, in the same unit.

    The diameter is 4 φ / S_V, that of a cylinder with the same volume per surface: 0.60
    wavelengths at a solid fraction φ of 0.3. (The ridge of the distance transform is thinner,
    0.44 wavelengths there.)

    Parameters
    ----------
    ligament
        Any unit of length.
    solid_fraction
        Between 0 and 1.

    Examples
    --------
    >>> from bimmjax.sim import ligament_wavelength
    >>> round(ligament_wavelength(110.0, 0.3), 1)
    184.5
    """
    _checks.number("ligament", ligament, open_low=True)
    return ligament * wave_surface_density(solid_fraction, 2.0) * 2.0 / (4.0 * solid_fraction)


def levelled_wave_volume(
    key: Array,
    shape: Shape,
    solid_fraction: float,
    wavelength: float,
    *,
    count: int = 200,
    periodic: bool = False,
    spacing: object = None,
    unit: str | None = None,
    area: bool = True,
    progress: Progress | None = None,
) -> LabelledVolume:
    """`levelled_wave` of any size, in bounded memory: labels are made as they are read.

    The level is found before this returns, by a pass over the volume.

    Source: FIB thesis, Article I §2.1.1.1 (levelled wave method).

    Parameters
    ----------
    key
        As for `levelled_wave`. The same key gives the same waves, and the same labels but for
        voxels within 1e-5 of the level.
    shape
        As for `levelled_wave`.
    solid_fraction
        As for `levelled_wave`; the solid gets its share to the voxel.
    wavelength
        As for `levelled_wave`.
    count
        As for `levelled_wave`.
    periodic
        As for `levelled_wave`.
    spacing
        Voxel size, kept in the volume.
    unit
        Of `spacing`.
    area
        False leaves out the area (NaN), which takes longer than all else.
    progress
        Called as `progress(voxels done, voxels in all)`.

    Returns
    -------
    LabelledVolume
        Of pores (0) and solid (1). Its area is measured by marching cubes on the field, in
        volumes above 2²⁴ voxels on boxes spread over them, whose scatter gives its error.

    Raises
    ------
    InputError
        As `levelled_wave`; a voxel size that is none.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import levelled_wave_volume
    >>> made = levelled_wave_volume(jax.random.key(0), (40, 40, 40), 0.25, 12.0)
    >>> made.volume.shape, made.fractions.tolist()
    ((40, 40, 40), [0.75, 0.25])
    """
    key = host_key(key)
    shape = _checks.volume_shape("shape", shape)
    solid = wanted_voxels("solid_fraction", solid_fraction, math.prod(shape))
    _wavelength("wavelength", wavelength, shape)
    waves = draw_waves(key, wavelength, count, period=shape if periodic else None)
    found = cut(_scores((waves,), (), shape), solid, progress)
    return _volume((waves,), (found,), shape, solid, periodic, spacing, unit, "wave", area)


def hierarchical_wave_volume(
    key: Array,
    shape: Shape,
    solid_fraction: float,
    wavelengths: Sequence[float],
    *,
    upper_fraction: float | None = None,
    count: int = 200,
    periodic: bool = False,
    spacing: object = None,
    unit: str | None = None,
    area: bool = True,
    progress: Progress | None = None,
) -> LabelledVolume:
    """`hierarchical_wave` of any size, in bounded memory: labels are made as they are read.

    Parameters and errors as for `hierarchical_wave`, returns and the rest as for
    `levelled_wave_volume`.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import hierarchical_wave_volume
    >>> made = hierarchical_wave_volume(jax.random.key(0), (48, 48, 48), 0.25, (40.0, 8.0))
    >>> made.fractions.tolist()
    [0.75, 0.25]
    """
    key = host_key(key)
    shape = _checks.volume_shape("shape", shape)
    voxels = math.prod(shape)
    solid = wanted_voxels("solid_fraction", solid_fraction, voxels)
    both = _checks.numbers("wavelengths", wavelengths, "two, the longer one first")
    if both.size != 2 or both[0] <= both[1]:
        raise InputError(f"wavelengths: got {wavelengths!r}, wants two, the longer one first")
    for one in both:
        _wavelength("wavelengths", float(one), shape)
    upper = math.sqrt(solid_fraction) if upper_fraction is None else upper_fraction
    if wanted_voxels("upper_fraction", upper, voxels) <= solid:
        raise InputError(
            f"upper_fraction: got {upper:g}, wants more than the solid fraction, {solid_fraction:g}"
        )
    period = shape if periodic else None
    waves = tuple(
        draw_waves(part, float(one), count, period=period)
        for part, one in zip(jax.random.split(key), both, strict=True)
    )

    def half(number: int) -> Progress:
        def tell(done: int, total: int) -> None:
            if progress is not None:
                progress(number * total + done, 2 * total)

        return tell

    first = cut(_scores(waves[:1], (), shape), round(upper * voxels), half(0))
    second = cut(_scores(waves, (first.level,), shape), solid, half(1))
    cuts = (first, second)
    return _volume(waves, cuts, shape, solid, periodic, spacing, unit, "hierarchical", area)


def hierarchical_wave(
    key: Array,
    shape: Shape,
    solid_fraction: float,
    wavelengths: Sequence[float],
    *,
    upper_fraction: float | None = None,
    count: int = 200,
    periodic: bool = False,
) -> Labelled:
    """Ligaments that are porous themselves: what is solid in two levelled waves (HNPG).

    Source: FIB thesis, §2.1.1 and Article I §2.1.1.1; Li et al. (2020).

    Parameters
    ----------
    key
        Random key.
    shape
        (z, y, x) voxels.
    solid_fraction
        Share of the voxels that are solid in both, to the voxel.
    wavelengths
        Of the upper and of the lower level of the hierarchy, voxels, from two to the
        shortest edge; `ligament_wavelength` tells them from ligaments. Hierarchical nanoporous
        gold has ligaments of 110 nm and 15 nm.
    upper_fraction
        Share of the upper level's own solid. Default: the root of
        `solid_fraction`, so that both levels are alike.
    count
        Number of waves of each level.
    periodic
        Whether the volume repeats.

    Returns
    -------
    Labelled
        Pores (0) and solid (1); the area is that of the surface of the intersection.

    Raises
    ------
    InputError
        Fractions outside (0, 1), an upper one not above that of the solid, wavelengths below
        two voxels, above the box or in the wrong order.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import hierarchical_wave
    >>> found = hierarchical_wave(jax.random.key(0), (48, 48, 48), 0.25, (40.0, 8.0))
    >>> found.fractions.tolist()
    [0.75, 0.25]
    """
    volume, *truth = hierarchical_wave_volume(
        key, shape, solid_fraction, wavelengths,
        upper_fraction=upper_fraction, count=count, periodic=periodic,
    )  # fmt: skip
    everything = slice(None)
    return Labelled(volume.read(everything, everything, everything), *truth)


def _wavelength(name: str, wavelength: float, shape: Shape) -> None:
    real_number(name, wavelength, 2.0, 1e9)
    if wavelength > min(shape):
        raise InputError(
            f"{name}: got {wavelength:g}, wants at most the shortest edge, {min(shape)}"
        )


def _scores(
    waves: tuple[Waves, ...], levels: tuple[np.float32, ...], shape: Shape
) -> Callable[[int], Volume]:
    """The last field where all fields before it are at or above their levels; elsewhere -inf."""

    def sampled(stride: int) -> Volume:
        z, y, x = (-(-n // stride) for n in shape)
        tile = _tile((z, y, x))
        # Every so many voxels: waves of so many times as many cycles, less whole ones.
        coarse = tuple(
            w._replace(cycles=w.cycles * stride - jnp.rint(w.cycles * stride)) for w in waves
        )

        def read(*box: slice) -> np.ndarray:
            start, size = zip(*((part.start, part.stop - part.start) for part in box), strict=True)
            whole = np.asarray(_score(coarse, levels, start, tile))
            return whole[: size[0], : size[1], : size[2]]

        return Volume((z, y, x), np.dtype(np.float32), read, chunks=tile)

    return sampled


def _tile(shape: Shape) -> Shape:
    z, y, x = (min(edge, n) for edge, n in zip(_TILE, shape, strict=True))
    return z, y, x


@functools.partial(jax.jit, static_argnames="shape")
def _score(
    waves: tuple[Waves, ...], levels: tuple[Array, ...], start: Shape, shape: Shape
) -> Array:
    fields = [wave_field(w, shape, start) for w in waves]
    score = fields[-1]
    for field, level in zip(fields[:-1], levels, strict=True):
        score = jnp.where(field >= level, score, -jnp.inf)
    return score


def _volume(
    waves: tuple[Waves, ...],
    cuts: tuple[Cut, ...],
    shape: Shape,
    solid: int,
    periodic: bool,
    spacing: object,
    unit: str | None,
    name: str,
    area: bool,
) -> LabelledVolume:
    scores = _scores(waves, tuple(c.level for c in cuts[:-1]), shape)(1)
    last, tile = cuts[-1], scores.chunks
    spared: np.ndarray = np.stack(np.unravel_index(last.spared, shape), 1)

    def read(*box: slice) -> np.ndarray:
        out = np.empty([part.stop - part.start for part in box], np.uint8)
        along = [
            range(part.start // t * t, part.stop, t) for part, t in zip(box, tile, strict=True)
        ]
        for start in itertools.product(*along):
            stops = [min(s + t, n) for s, t, n in zip(start, tile, shape, strict=True)]
            score: Any = scores.reader(*map(slice, start, stops))
            data: np.ndarray = score >= last.level
            low, high = np.array(start), np.array(stops)
            here = spared[((spared >= low) & (spared < high)).all(1)] - low
            data[tuple(here.T)] = False
            inner, outer = [], []
            for part, s, e in zip(box, start, stops, strict=True):
                first, stop = max(part.start, s), min(part.stop, e)
                inner.append(slice(first - s, stop - s))
                outer.append(slice(first - part.start, stop - part.start))
            out[tuple(outer)] = data[tuple(inner)]
        return out

    plain = Volume(shape, np.dtype(np.uint8), read, name=name, chunks=tile, format="simulation")
    share = solid / math.prod(shape)
    areas = errors = np.array([np.nan])
    if area:
        areas, errors = _area(waves, [c.level for c in cuts], shape, periodic)
    return LabelledVolume(
        open_volume(plain, spacing=spacing, unit=unit),
        np.array([1.0 - share, share]),
        areas,
        errors,
    )


def _area(
    waves: tuple[Waves, ...], levels: list[np.float32], shape: Shape, periodic: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Area per volume (1,) of what is at or above all levels, and its standard error (1,)."""
    cells = [n if periodic else n - 1 for n in shape]
    if min(cells) < 1:
        return np.array([np.nan]), np.array([np.nan])
    sampled = math.prod(cells) > _MEASURED
    # Where not all is measured, many small boxes tell more than few large ones.
    box = min(_BOX // 2 if sampled else _BOX, *cells)
    starts = list(itertools.product(*(range(0, n, box) for n in cells)))
    if sampled:
        whole = [s for s in starts if all(a + box <= n for a, n in zip(s, cells, strict=True))]
        count = min(_MEASURED // box**3, len(whole))
        starts = [whole[k] for k in np.random.default_rng(0).choice(len(whole), count, False)]
    # All boxes of one shape, which is compiled once.
    shape = (box + 1, box + 1, box + 1)
    areas, weights = [], []
    for start in starts:
        size = [min(box, n - s) for n, s in zip(cells, start, strict=True)]
        part = tuple(slice(0, n + 1) for n in size)
        at = (start[0], start[1], start[2])
        fields = np.stack([np.asarray(wave_field(w, shape, at))[part] for w in waves])
        found = interface_areas(Structure(jnp.asarray(fields), jnp.asarray(levels)), periodic=False)
        # Pairs with the last phase, which is at or above all levels, come last.
        areas.append(found[-len(levels) :].sum())
        weights.append(math.prod(size))
    mean = np.average(areas, weights=weights)
    error = np.std(areas, ddof=1) / math.sqrt(len(areas)) if sampled else 0.0
    return np.array([mean]), np.array([error])
