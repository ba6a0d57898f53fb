"""Raw FIB-SEM stacks of hierarchical nanoporous gold as a microscope delivers them, and the truth.

Unequal slices, drift of each voltage's own, noise, curtains, changing brightness, and a ruler on
top. All seeds are frozen.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from benchmarks._shine_cases import ENERGIES, hierarchical
from bimmjax import sim

SPACING = 2.5  # nm, Article II
MATERIALS = ("epoxy", "gold")
_BELOW = 48  # layers under the last slice, from which electrons come back at 4 kV
_MARGIN = 12  # pixels around the field, into which drift moves it
_LEFT = 0.1  # pixels that registered slices are still off
_BESIDE = 64  # columns beside it, with a fiducial mark: a cross of two trenches


class RawStack(NamedTuple):
    """Images by name of the voltage (kV), (slices, y, x) float32, black 0 and white 1."""

    images: dict[str, np.ndarray]
    body: np.ndarray
    """(z, y, x) uint8 in cubes of `SPACING`, gold 1; with the margins."""
    places: np.ndarray
    """(slices,) layers of the body that the slices show."""
    shifts: dict[str, np.ndarray]
    """(slices, 2) pixels along y and x that each slice was moved by."""
    ruler: sim.Ruler | None
    fiducial: tuple[int, int, int, int] | None
    """(y0, y1, x0, x1), pixels of the mark that nothing but drift moves."""


def learned(number: int, layers: int = 240, side: int = 160) -> RawStack:
    """A registered stack to learn from; solid fractions from .10 to .19."""
    return _made(7100 + number, 0.10 + 0.03 * (number % 4), (layers, side, side), drift=False)


def raw(seed: int, layers: int, side: int, fraction: float = 0.123) -> RawStack:
    """A fresh stack with everything that a microscope does, and a ruler's strip on top of it."""
    size = side + 2 * _MARGIN
    return _made(seed, fraction, (layers, size, size), drift=True)


def field(made: RawStack) -> np.ndarray:
    """The truth where the slices lie: from the first to the last, in the frame of slice 0."""
    return made.body[: made.places[-1] + 1]


def _made(seed: int, fraction: float, shape: tuple[int, int, int], *, drift: bool) -> RawStack:
    layers, height, width = shape
    body = hierarchical(seed, (layers + _BELOW, height, width), fraction, SPACING)
    key = jax.random.key(seed)
    depth = (layers - 1) * SPACING
    positions = sim.draw_positions(jax.random.fold_in(key, 0), depth, step=SPACING)
    places = np.rint(positions / SPACING).astype(int)
    ruler = sim.make_ruler(width, depth) if drift else None
    images, shifts = {}, {}
    for number, energy in enumerate(ENERGIES):
        yields = np.asarray(
            sim.backscatter_images(body, MATERIALS, energy, spacing=SPACING)[places]
        )
        black, white = (float(q) for q in np.quantile(yields, (0.001, 0.999)))
        if ruler is not None:
            marked = sim.draw_ruler(yields, ruler, positions, mark=white, ground=black)
            yields = _with_cross(np.asarray(marked), white, black, ruler.rows)
        own = jax.random.fold_in(key, 10 + number)
        # What registration leaves.
        left = 0.0 if drift else _LEFT
        told = sim.Instrument(black=black, white=white, drift_walk=0.0, drift_jitter=left)
        if drift:
            _, moved = sim.drift(own, yields[:, :1, :1], walk=0.5, jitter=0.3)
            # The first slice of the reference is where the truth is.
            moved = np.array(moved)
            if number == len(ENERGIES) // 2:
                moved -= moved[0]
            yields = np.asarray(sim.shift_slices(yields, moved))
            shifts[f"{energy:g}"] = moved
        seen = sim.instrument(own, yields, told, surface=jax.random.fold_in(key, 1))
        images[f"{energy:g}"] = np.asarray(seen.image)
    mark = None if ruler is None else _mark(ruler.rows, width)
    return RawStack(images, body[:layers], places, shifts, ruler, mark)


def _mark(top: int, left: int) -> tuple[int, int, int, int]:
    return top, top + _BESIDE, left, left + _BESIDE


def _with_cross(images: np.ndarray, white: float, black: float, top: int) -> np.ndarray:
    """The same with columns beside it that show a cross, at each slice at the same place."""
    beside = np.full((*images.shape[:2], _BESIDE), 0.5 * (white + black), np.float32)
    at = np.arange(_BESIDE) - 0.5 * (_BESIDE - 1)
    line = np.exp(-0.5 * (at / 2.0) ** 2)
    cross = np.maximum(
        line[:, None] * (np.abs(at) < 24), line[None, :] * (np.abs(at)[:, None] < 24)
    )
    beside[:, top : top + _BESIDE] -= (0.4 * (white - black) * cross).astype(np.float32)
    return np.concatenate([images, beside], 2)
