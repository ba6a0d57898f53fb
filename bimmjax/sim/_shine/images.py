"""Stacks of backscattered-electron images of voxel structures, by the model of shine-through."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jax import Array
from jax.core import Tracer

from bimmjax._core.checks import InputError, real_number
from bimmjax.sim import _checks
from bimmjax.sim._electrons.bulk import electron_range
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._electrons.scattering import HIGHEST, LEAST
from bimmjax.sim._shine.calibration import shine_through_model
from bimmjax.sim._shine.model import (
    STAGES,
    ShineThrough,
    layer,
    material_table,
    plan,
    shine_through,
)
from bimmjax.volumes import Volume, open_volume
from bimmjax.volumes._units import check_spacing, convert_length

_AT_ONCE = 16  # slices whose blurs are worked out together
_SPARSE = 0.1  # of solid, where labels are traced and pores empty
_LOOKED_AT = 9  # slices that tell how empty a volume is
_MIRRORED = 8  # mirror images below the last slice, at most

_Read = Callable[[slice], Any]


def escape_depth(materials: Sequence[str | Material], energy: float) -> float:
    """Depth from which hardly any electron comes back, nm: half the range in the lightest.

    Vacuum does not count: with empty pores the depth is this over the share of solid. A volume
    should be at least as deep below the last slice of interest.

    Examples
    --------
    >>> from bimmjax.sim import escape_depth
    >>> round(escape_depth(["epoxy", "gold"], 2.0))
    83
    """
    used = [known_material("materials", m) for m in materials]
    ranges = [electron_range(m, energy) for m in used if m.elements]
    return 0.5 * max(ranges, default=0.0)


def backscatter_images(
    labels: np.ndarray,
    materials: Sequence[str | Material],
    energy: float,
    *,
    spacing: float | Sequence[float],
    tilt: float = 0.0,
    model: ShineThrough | None = None,
) -> Array:
    """The image of every slice of a volume as a FIB-SEM would take them, without noise.

    Slice z is imaged with those before it milled away, and with what shines through from below
    it. One scan from the last slice to the first gives all; below its last slice, and beyond its
    sides, the volume goes on as its mirror images.

    Source: compositing of slices as in FIB thesis §2.2.2 is replaced by a model of our own; see
    docs/guides/simulation.md.

    Parameters
    ----------
    labels
        (z, y, x) whole numbers 0 ... M - 1; z is depth. May be traced: it works inside `jit`
        and `vmap`, where values are not checked and a tenth counts as solid with empty pores.
    materials
        Of each label, names ("gold", "epoxy", "vacuum", ...) or `Material`; empty pores
        are "vacuum".
    energy
        Of the beam, keV, 0.5 to 30.
    spacing
        nm, one number or (z, y, x).
    tilt
        Degrees, 0 to 52, of the beam towards +y.
    model
        Default `shine_through_model(materials, energy)`, calibrated by `monte_carlo`.

    Returns
    -------
    (z, y, x) float32, electrons seen per electron sent.

    Raises
    ------
    InputError
        Labels without a material, an unknown material, nothing but vacuum, an energy or tilt out
        of range, numbers of `model` that are not above 0.

    Warns
    -----
    UserWarning
        A volume shallower than `escape_depth`: all its images depend on what is made up below.

    Examples
    --------
    >>> import numpy as np
    >>> from bimmjax.sim import backscatter_images
    >>> labels = np.zeros((40, 16, 16), np.uint8)
    >>> labels[:, :, 8:] = 1
    >>> images = backscatter_images(labels, ["epoxy", "gold"], 2.0, spacing=5.0)
    >>> bool(images[0, 8, 12] > 2 * images[0, 8, 2])
    True
    """
    found = _checks.material_labels("labels", labels, len(materials))

    def read(z: slice) -> Array:
        return found[z]

    share = _share(read, found.shape[0], materials)
    stack = _Stack(materials, energy, spacing, tilt, model, share, found.shape[0])
    stack.warn(found.shape[0])

    bottom = stack.bottom(read, found.shape)
    return jnp.concatenate(stack.images(read, slice(0, found.shape[0]), bottom)[0])


def backscatter_volume(
    source: object,
    materials: Sequence[str | Material],
    energy: float,
    *,
    spacing: float | Sequence[float] | None = None,
    tilt: float = 0.0,
    model: ShineThrough | None = None,
) -> Volume:
    """As `backscatter_images`, of a volume of any size, made as it is read.

    The first read makes one pass over the whole volume, whose states are kept for every so many
    slices; then any box costs the slices from there on, whole planes. States and the images read
    last take 23 √z bytes for each of the (y, x) pixels: 0.8 GB at 1024³, 4.3 GB at 2048³.

    What is not told here, and errors, are as in `backscatter_images`.

    Parameters
    ----------
    source
        Anything `open_volume` takes; whole numbers 0 ... M - 1.
    spacing
        nm; default that of the source, which must have a unit then. A source without one
        gets this.

    Returns
    -------
    Volume
        float32.
    """
    volume = open_volume(source)
    if spacing is None:
        if volume.unit in ("voxel", "unit"):
            raise InputError(f"spacing: got none with {volume.name}, wants nm, or a unit there")
        spacing = [convert_length(s, volume.unit, "nm") for s in volume.spacing]

    def labels(z: slice) -> np.ndarray:
        return _checks.material_labels(
            "labels", volume.read(z, slice(None), slice(None)), len(materials)
        )

    share = _share(labels, volume.shape[0], materials)
    stack = _Stack(materials, energy, spacing, tilt, model, share, volume.shape[0])
    stack.warn(volume.shape[0])
    slabs = _Slabs(stack, labels, volume.shape)

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        parts = []
        for at in range(z.start // slabs.depth, -(-z.stop // slabs.depth)):
            first = at * slabs.depth
            inside = slice(max(z.start - first, 0), min(z.stop - first, slabs.depth))
            parts.append(slabs.images(at)[inside, y, x])
        return np.concatenate(parts)

    told = volume.spacing, volume.unit
    if volume.unit == "voxel":
        told = stack.spacing, "nm"
    return Volume(
        volume.shape, np.dtype(np.float32), read, *told,
        f"{volume.name} at {energy:g} kV", (slabs.depth, *volume.shape[1:]), "simulated",
    )  # fmt: skip


def _share(read: _Read, slices: int, materials: Sequence[str | Material]) -> float:
    """Of voxels that scatter in some slices; not so little that nothing could be told from it."""
    scatters = np.array([bool(known_material("materials", m).elements) for m in materials])
    if scatters.all():
        return 1.0
    at = np.unique(np.linspace(0, slices - 1, _LOOKED_AT).astype(int)).tolist()
    some = [read(slice(z, z + 1)) for z in at]
    if isinstance(some[0], Tracer):
        return _SPARSE
    return max(float(np.mean([scatters[labels].mean() for labels in some])), 0.01)


class _Stack:
    """The model ready for one kind of slice."""

    def __init__(
        self,
        materials: Sequence[str | Material],
        energy: float,
        spacing: float | Sequence[float],
        tilt: float,
        model: ShineThrough | None,
        share: float,
        slices: int,
    ) -> None:
        self.used = [known_material("materials", m) for m in materials]
        if not any(m.elements for m in self.used):
            raise InputError("materials: got nothing but vacuum, wants something that scatters")
        self.energy = real_number("energy", energy, LEAST, HIGHEST)
        self.tilt = real_number("tilt", tilt, 0.0, 52.0)
        self.spacing = check_spacing(spacing)
        if model is None:
            model = shine_through_model(self.used, self.energy)
        for name, value in zip(ShineThrough._fields, model, strict=True):
            real_number(f"model.{name}", value, 1e-9, 1e9)
        # Through empty pores one sees that deep into the solid alone.
        self.deep = escape_depth(self.used, self.energy) / share
        # A tilted beam leaves the volume at +y and goes on in its mirror image.
        lowest = min(2.0 * self.deep, (1 + _MIRRORED) * slices * self.spacing[0])
        beyond = lowest * math.tan(math.radians(self.tilt)) / self.spacing[1]
        # Powers of two, so that volumes a little more or less empty compile nothing anew.
        self.rim = 2 ** math.ceil(math.log2(max(beyond, 1.0))) if beyond > 0.0 else 0
        table = material_table(self.used, self.energy, self.tilt)
        # Numbers also where labels are traced: they shape the loops.
        with jax.ensure_compile_time_eval():
            self.layer = layer(
                ShineThrough(*(jnp.float32(value) for value in model)), jnp.asarray(table),
                jnp.float32(self.spacing[0]), jnp.float32(math.radians(self.tilt)),
            )  # fmt: skip
            self.plan = plan(self.layer, self.spacing[1:])

    def warn(self, slices: int) -> None:
        if slices * self.spacing[0] < self.deep:
            warnings.warn(
                f"labels: got {slices} slices, {slices * self.spacing[0]:.3g} nm deep, where "
                f"electrons of {self.energy:g} keV come back from {self.deep:.3g} nm; what lies "
                "deeper is made up as the mirror image",
                stacklevel=3,
            )

    def bottom(self, read: _Read, shape: tuple[int, ...]) -> Array:
        """The state below the last slice, from the mirror images of what is above it."""
        deep = _AT_ONCE * math.ceil(4.0 * self.deep / self.spacing[0] / _AT_ONCE)
        size = shape[0]
        state = jnp.zeros((STAGES, shape[1] + self.rim, shape[2]), jnp.float32)
        # The lowest image first, each from its lowest slices up; every other one stands upright.
        for image in reversed(range(min(-(-deep // size), _MIRRORED))):
            here = min(deep - image * size, size)
            for stop in range(here, 0, -_AT_ONCE):
                part = slice(max(stop - _AT_ONCE, 0), stop)
                if image % 2 == 0:
                    part = slice(size - part.stop, size - part.start)
                some = read(part)
                state = self._through(some[::-1] if image % 2 == 0 else some, state)[1]
        return state

    def images(
        self, read: _Read, z: slice, below: Array, *, keep: bool = True
    ) -> tuple[list[Array], Array]:
        """Of the slices z, some at a time from the last on, and the state above them."""
        parts: list[Array] = []
        for stop in range(z.stop, z.start, -_AT_ONCE):
            images, below = self._through(read(slice(max(stop - _AT_ONCE, z.start), stop)), below)
            if keep:
                parts.insert(0, images)
        return parts, below

    def _through(self, labels: Any, below: Array) -> tuple[Array, Array]:
        rows = labels.shape[1]
        some = jnp.pad(jnp.asarray(labels), ((0, 0), (0, self.rim), (0, 0)), mode="symmetric")
        spacing = jnp.asarray(self.spacing[1:], jnp.float32)
        images, above = shine_through(some, below, self.layer, spacing, self.plan)
        return images[:, :rows], above


class _Slabs:
    """Images of slabs of a volume, from states that one pass over it has left."""

    def __init__(self, stack: _Stack, read: _Read, shape: tuple[int, int, int]) -> None:
        self.stack, self.read, self.shape = stack, read, shape
        # As much memory for the states of all slabs as for the images of one.
        even = math.sqrt(STAGES * shape[0])
        self.depth = _AT_ONCE * max(math.ceil(even / _AT_ONCE), 2)
        self.lock = Lock()
        self.below: list[np.ndarray] = []
        self.last: tuple[int, np.ndarray] = (-1, np.empty(0))

    def images(self, at: int) -> np.ndarray:
        with self.lock:
            if not self.below:
                self.below = self._states()
            if self.last[0] != at:
                below = jnp.asarray(self.below[at])
                parts = self.stack.images(self.read, self._slab(at), below)[0]
                self.last = at, np.concatenate([np.asarray(part) for part in parts])
            return self.last[1]

    def _slab(self, at: int) -> slice:
        return slice(at * self.depth, min((at + 1) * self.depth, self.shape[0]))

    def _states(self) -> list[np.ndarray]:
        """Below each slab."""
        state = self.stack.bottom(self.read, self.shape)
        found = []
        for at in reversed(range(-(-self.shape[0] // self.depth))):
            found.insert(0, np.asarray(state))
            if at:
                state = self.stack.images(self.read, self._slab(at), state, keep=False)[1]
        return found
