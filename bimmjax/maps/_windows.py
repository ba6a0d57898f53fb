"""Where the windows of a map lie: blocks at every stride, made of the cells that they share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from bimmjax._core.checks import InputError, whole_number
from bimmjax.volumes import Volume

Shape = tuple[int, int, int]

_SMALLEST_BLOCK = 8
_SMALLEST_CELL = 4
# Windows of one unit of work: a 64th of all, but enough to keep the devices busy, and few enough
# to lose to a kill.
_UNITS = 64
_FEWEST, _MOST = 128, 4096


@dataclass(frozen=True)
class Unit:
    """A box of windows that are fitted, written and resumed together.

    start, shape : (z, y, x) in windows.
    """

    start: Shape
    shape: Shape

    @property
    def windows(self) -> int:
        """How many windows."""
        return math.prod(self.shape)

    @property
    def box(self) -> tuple[slice, slice, slice]:
        """Its place in a map."""
        z, y, x = (slice(s, s + n) for s, n in zip(self.start, self.shape, strict=True))
        return z, y, x


@dataclass(frozen=True)
class Windows:
    """Windows of `block` voxels at every `stride`, all along (z, y, x), within a volume.

    The first window begins at the volume's first voxel, or at `origin`. Voxels beyond the last
    window that fits belong to none.
    """

    volume_shape: Shape
    block: Shape
    stride: Shape
    origin: Shape = (0, 0, 0)

    @cached_property
    def shape(self) -> Shape:
        """Windows along (z, y, x)."""
        z, y, x = (
            (n - a - b) // s + 1
            for n, a, b, s in zip(
                self.volume_shape, self.origin, self.block, self.stride, strict=True
            )
        )
        return (z, y, x)

    @property
    def count(self) -> int:
        """Windows in all."""
        return math.prod(self.shape)

    @cached_property
    def cell(self) -> Shape:
        """Edges of the largest cells that every window is made of."""
        z, y, x = (math.gcd(b, s) for b, s in zip(self.block, self.stride, strict=True))
        return (z, y, x)

    @cached_property
    def chunk(self) -> Shape:
        """Windows of one unit (fewer at the far edges), which is one chunk of every map.

        Whole rows, then whole layers, then several layers.
        """
        wanted = min(max(self.count // _UNITS, _FEWEST), _MOST)
        rows = max(1, min(self.shape[1], wanted // self.shape[2]))
        layers = max(1, min(self.shape[0], wanted // (rows * self.shape[2])))
        # Even shares instead of a thin last one.
        rows = -(-self.shape[1] // -(-self.shape[1] // rows))
        layers = -(-self.shape[0] // -(-self.shape[0] // layers))
        return (layers, rows, self.shape[2])

    def units(self) -> Iterator[Unit]:
        """All units: strip after strip of rows, and layer after layer within each.

        So the cells that one unit shares with the next, one layer on, are at hand.
        """
        step_z, step_y, width = self.chunk
        for y, z in itertools.product(
            range(0, self.shape[1], step_y), range(0, self.shape[0], step_z)
        ):
            shape = (min(step_z, self.shape[0] - z), min(step_y, self.shape[1] - y), width)
            yield Unit((z, y, 0), shape)

    def voxel_start(self, window: Sequence[int]) -> Shape:
        """First voxel (z, y, x) of a window."""
        z, y, x = (a + int(w) * s for a, w, s in zip(self.origin, window, self.stride, strict=True))
        return (z, y, x)


def windows_of(volume: Volume, block: int | Sequence[int], stride: object = None) -> Windows:
    """Windows for a volume from what a user gives: one number or three, stride = block if None.

    Raises
    ------
    InputError
        A block larger than the volume or too small to fit, a stride of 0, or a stride that has
        no useful divisor in common with the block.
    """
    edges = _three("block", block, _SMALLEST_BLOCK)
    steps = edges if stride is None else _three("stride", stride, 1)
    if math.prod(edges) >= 2**31:
        raise InputError(f"block: got {_short(edges)}, wants fewer than 2147483648 voxels")
    if any(b > n for b, n in zip(edges, volume.shape, strict=True)):
        raise InputError(
            f"block: got {_short(edges)}, wants at most the volume's shape {volume.shape}"
        )
    for b, s in zip(edges, steps, strict=True):
        if math.gcd(b, s) < _SMALLEST_CELL:
            raise InputError(
                f"stride: got {_short(steps)} with blocks of {_short(edges)}, wants a common "
                f"divisor of at least {_SMALLEST_CELL} (half the block, say)"
            )
    return Windows(volume.shape, edges, steps)


def _three(name: str, value: object, smallest: int) -> Shape:
    if isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 3:
        z, y, x = (whole_number(name, n, smallest, 2**31) for n in value)
        return (z, y, x)
    if isinstance(value, Sequence):
        raise InputError(f"{name}: got {value!r}, wants one whole number or three (z, y, x)")
    edge = whole_number(name, value, smallest, 2**31)
    return (edge, edge, edge)


def _short(edges: Shape) -> str:
    return str(edges[0]) if len(set(edges)) == 1 else str(edges)
