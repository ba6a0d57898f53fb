"""Training pairs: what a FIB-SEM would show of simulated structures, and their truth."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.sim import _checks
from bimmjax.sim._instrument.image import Instrument, per_slice
from bimmjax.sim._instrument.slicing import draw_thickness, slice_positions
from bimmjax.sim._instrument.volume import instrument_volume
from bimmjax.sim._shine.images import backscatter_volume
from bimmjax.sim._structures.pores import random_pores
from bimmjax.sim._structures.wave_volumes import hierarchical_wave_volume, levelled_wave_volume
from bimmjax.sim._training.settings import (
    Sizes,
    TrainingSettings,
    checked_settings,
    lengths,
    levels,
    materials,
    sizes,
)
from bimmjax.volumes import Volume, open_volume

_WHOLE = 2**28  # voxels of a structure that is kept in memory
_EVERYTHING = (slice(None), slice(None), slice(None))


class TrainingPair(NamedTuple):
    """Images of a structure at K voltages, with what is true of them, (z, y, x) each.

    Attributes
    ----------
    images : array
        (K, z, y, x) float32: 0 to 1, or electrons seen per electron sent without an instrument.
    truth : array
        (z, y, x) uint8, 0 pore, 1 solid, in the very slices that are imaged.
    positions : array
        (z,) float64, nm, depths of the slices.
    shifts : array
        (K, z, 2) float32, pixels along y and x by which drift moved the images off their truth.
    gains : array
        (K, z) float32, by which grey levels were multiplied.
    offsets : array
        (K, z) float32, added to them then.
    solid_fraction : float
        Of the structure as a whole, of which the images show a part.
    layers : array
        (l, y, x) uint8, the truth between the first and the last slice too: layers one voxel
        apart, those at the slices' positions among them.
    """

    images: np.ndarray
    truth: np.ndarray
    positions: np.ndarray
    shifts: np.ndarray
    gains: np.ndarray
    offsets: np.ndarray
    solid_fraction: float
    layers: np.ndarray


class TrainingVolumes(NamedTuple):
    """As `TrainingPair`, of any size: images and truth are made as they are read.

    Attributes
    ----------
    images : tuple[Volume, ...]
        One for each voltage.
    truth : Volume
    positions : array
    shifts : array
    gains : array
    offsets : array
    solid_fraction : float
    layers : Volume
    """

    images: tuple[Volume, ...]
    truth: Volume
    positions: np.ndarray
    shifts: np.ndarray
    gains: np.ndarray
    offsets: np.ndarray
    solid_fraction: float
    layers: Volume


def training_pair(key: jax.Array, settings: TrainingSettings | None = None) -> TrainingPair:
    """A structure, its images as an instrument delivers them, and the truth about each slice.

    A structure larger than the images is drawn: below them as deep as electrons come back from,
    and beside them as far as drift may reach, so that nothing made up is seen. Slices of uneven
    thickness are cut at whole voxels: the image is that of the very slice whose labels are told.

    Source: FIB thesis, §2.2; Article I §2.2, Article II §2.1.2; the model of images is ours.

    Parameters
    ----------
    key
        Random key; of a set, `jax.random.fold_in(key, n)` for volume n. The same key gives the
        same pair, bit by bit on the same machine.
    settings
        See `TrainingSettings`, its defaults if None.

    Returns
    -------
    TrainingPair

    Raises
    ------
    InputError
        A setting out of its range, an unknown material, wavelengths that the volume cannot hold.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import TrainingSettings, training_pair
    >>> settings = TrainingSettings((8, 32, 32), energies=(2.0,), kind="wave")
    >>> pair = training_pair(jax.random.key(0), settings)
    >>> pair.images.shape, pair.truth.shape, pair.positions[:3].tolist()
    ((1, 8, 32, 32), (8, 32, 32), [0.0, 5.0, 10.0])
    """
    volumes = training_volumes(key, settings)
    images = np.stack([image.read(*_EVERYTHING) for image in volumes.images])
    truth, layers = (v.read(*_EVERYTHING) for v in (volumes.truth, volumes.layers))
    return TrainingPair(images, truth, *volumes[2:-1], layers)


def training_volumes(key: jax.Array, settings: TrainingSettings | None = None) -> TrainingVolumes:
    """As `training_pair`, of any size: `convert` writes its volumes in bounded memory.

    Up to 2²⁸ voxels the structure itself is kept in memory; a larger one is made anew wherever it
    is read. Drawing the structure takes a pass over it, and so does the first box of each image.

    Examples
    --------
    >>> import jax
    >>> from bimmjax.sim import TrainingSettings, training_volumes
    >>> settings = TrainingSettings((8, 32, 32), energies=(2.0,), kind="wave")
    >>> made = training_volumes(jax.random.key(0), settings)
    >>> made.truth.shape, made.truth.spacing, made.truth.unit
    ((8, 32, 32), (5.0, 5.0, 5.0), 'nm')
    """
    key = _checks.random_key("key", key)
    told = checked_settings(TrainingSettings() if settings is None else settings)
    size = sizes(told)
    of_fraction, of_body, of_cuts, of_surface, of_images = jax.random.split(key, 5)
    low, high = told.solid_fraction
    fraction = low + (high - low) * float(jax.random.uniform(of_fraction, dtype=np.float32))
    structure = _structure(of_body, told, size, fraction)
    places = _places(of_cuts, told, size)
    truth = _picked(structure, places, size.margin)
    layers = _picked(structure, np.arange(int(places[-1]) + 1), size.margin)
    images, told_of_slices = [], []
    for number, energy in enumerate(told.energies):
        model = None if told.models is None else told.models[number]
        image = backscatter_volume(structure, materials(told), energy, tilt=told.tilt, model=model)
        # The key of an image must not depend on the other voltages.
        own = jax.random.fold_in(of_images, round(1000.0 * energy))
        image, numbers = _recorded(own, of_surface, _picked(image, places, 0), told, energy)
        images.append(_picked(image, np.arange(places.size), size.margin))
        told_of_slices.append(numbers)
    shifts, gains, offsets = (np.stack(kind) for kind in zip(*told_of_slices, strict=True))
    return TrainingVolumes(
        tuple(images), truth, places * told.spacing, shifts, gains, offsets, fraction, layers
    )


def _structure(key: jax.Array, settings: TrainingSettings, size: Sizes, fraction: float) -> Volume:
    found = lengths(settings, fraction)
    if settings.kind == "pores":
        volume = open_volume(random_pores(key, size.box, fraction, *found).labels)
    elif settings.kind == "wave":
        (length,) = found
        volume = levelled_wave_volume(
            key, size.box, fraction, length, count=settings.waves, area=False
        ).volume
    else:
        volume = hierarchical_wave_volume(
            key, size.box, fraction, found, count=settings.waves, area=False
        ).volume
    if volume.voxels <= _WHOLE:
        volume = open_volume(volume.read(*_EVERYTHING))
    return open_volume(replace(volume, name=settings.kind), spacing=settings.spacing, unit="nm")


def _places(key: jax.Array, settings: TrainingSettings, size: Sizes) -> np.ndarray:
    """Numbers of the slices that are imaged."""
    count = settings.shape[0]
    if settings.thickness is None or count == 1:
        return np.arange(count)
    mean, std = settings.thickness
    for attempt in range(100):
        own = jax.random.fold_in(key, attempt)
        drawn = draw_thickness(own, count - 1, mean, std, step=settings.spacing)
        places = np.rint(slice_positions(drawn) / settings.spacing).astype(np.int64)
        if places[-1] <= size.deepest:
            return places
    raise InputError(
        f"thickness: got {settings.thickness} nm with {count} slices, whose draws are deeper than "
        "the structure; wants fewer slices or a smaller standard deviation"
    )


def _recorded(
    key: jax.Array, surface: jax.Array, image: Volume, settings: TrainingSettings, energy: float
) -> tuple[Volume, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The image after the instrument, and the shift, gain and offset of each slice."""
    count = image.shape[0]
    if settings.instrument is None:
        still, ones = np.zeros((count, 2), np.float32), np.ones(count, np.float32)
        return image, (still, ones, np.zeros_like(ones))
    black, white = levels(settings, energy)
    own: Instrument = settings.instrument._replace(black=black, white=white)
    return instrument_volume(key, image, own, surface=surface), per_slice(key, count, own)


def _picked(volume: Volume, places: np.ndarray, margin: int) -> Volume:
    """Some slices of a volume, without a margin on each side along y and x."""

    def read(z: slice, y: slice, x: slice) -> np.ndarray:
        wanted = places[z]
        first = int(wanted[0])
        rows, columns = (slice(s.start + margin, s.stop + margin) for s in (y, x))
        return volume.read(slice(first, int(wanted[-1]) + 1), rows, columns)[wanted - first]

    high, wide = (n - 2 * margin for n in volume.shape[1:])
    apart = float(np.diff(places).mean()) if places.size > 1 else 1.0
    deep, *across = volume.spacing
    return replace(
        volume, shape=(places.size, high, wide), reader=read,
        spacing=(deep * apart, across[0], across[1]),
        chunks=(min(volume.chunks[0], places.size), high, wide),
    )  # fmt: skip
