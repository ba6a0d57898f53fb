"""Simulated FIB-SEM stacks: those that networks learn from, by the model of shine-through, and
fresh ones to test them on, by Monte Carlo. All seeds are frozen.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from benchmarks._report import say
from benchmarks._shine_cases import ENERGIES, hierarchical, pores, wave
from bimmjax import sim

SPACING = 5.0  # nm
_MATERIALS = ("epoxy", "gold")
_PROBE = 2  # electrons a pixel
_BELOW = 40  # slices under the last one, from which electrons come back at 4 kV

Shape = tuple[int, int, int]


class Stack(NamedTuple):
    """Images by energy, (z, y, x) float32, black 0 and white 1, and their truth: gold is 1."""

    images: dict[float, np.ndarray]
    truth: np.ndarray


def learned(kind: str, shape: Shape, number: int, recorded: bool = True) -> Stack:
    """A stack to learn from, with the whole instrument, or as perfect as the model makes it.

    Both have the same range of grey values, so that only noise, soft edges and the rest differ.
    """
    body = _body(kind, shape, 7000 + 10 * number)
    seen = _recorded if recorded else _stretched
    images = {}
    for energy in ENERGIES:
        images[energy] = seen(analytic(body, shape[0], energy), number, energy)
    return Stack(images, body[: shape[0]])


def counted(name: str, shape: Shape, energies: tuple[float, ...], kept: Path, each: int) -> Stack:
    """A fresh stack by Monte Carlo, `each` electrons a pixel; kept in a folder.

    Counting gives it its noise, the instrument its soft edges and the rest.
    """
    yields, body = counted_yields(name, shape, energies, kept, each)
    images = {energy: _recorded(one, 900, energy) for energy, one in yields.items()}
    return Stack(images, body[: shape[0]])


def counted_yields(
    name: str, shape: Shape, energies: tuple[float, ...], kept: Path, each: int
) -> tuple[dict[float, np.ndarray], np.ndarray]:
    """The same before any instrument, and the body with what lies below the last slice."""
    body = _FRESH[name](_deep(shape))
    return {e: _followed(body, shape[0], e, kept, each) for e in energies}, body


def seconds_of_counting(name: str, shape: Shape, energy: float, each: int) -> float:
    """That Monte Carlo takes for one slice, compiled before."""
    body = _FRESH[name](_deep(shape))[: _BELOW + 1]
    key, took = jax.random.key(9104), 0.0
    for electrons in (_PROBE, each):
        before = time.perf_counter()
        sim.monte_carlo(key, body, _MATERIALS, energy, spacing=SPACING, electrons=electrons)
        took = time.perf_counter() - before
    return took


def analytic(body: np.ndarray, slices: int, energy: float) -> np.ndarray:
    """Yields of the first slices by the model of shine-through."""
    return np.asarray(sim.backscatter_images(body, _MATERIALS, energy, spacing=SPACING))[:slices]


def _body(kind: str, shape: Shape, seed: int) -> np.ndarray:
    return _KINDS[kind](_deep(shape), seed)


def _deep(shape: Shape) -> Shape:
    return shape[0] + _BELOW, shape[1], shape[2]


def _hierarchy(shape: Shape, seed: int) -> np.ndarray:
    # Fractions around that of the specimen which is looked for: 0.10, 0.13, 0.16, ...
    return hierarchical(seed, shape, 0.10 + 0.03 * (seed // 10 % 4), SPACING)


def _ligaments(shape: Shape, seed: int) -> np.ndarray:
    return wave(seed, shape, 0.28 + 0.06 * (seed // 10 % 3), 40.0 / SPACING)


def _self_similar(shape: Shape, seed: int) -> np.ndarray:
    given = wave(seed + 1, shape, 0.55, 80.0 / SPACING)
    fraction = 0.28 + 0.06 * (seed // 10 % 3)
    return sim.self_similar(jax.random.key(seed), given, fraction, scales=(1.0, 0.5)).labels


def _pores(shape: Shape, seed: int) -> np.ndarray:
    return pores(seed, shape, 0.28 + 0.06 * (seed // 10 % 3), 40.0 / SPACING)


def _npg(shape: Shape) -> np.ndarray:
    """Ligaments of about 40 nm, cut from a Gaussian field of all wavelengths.

    None of the generators of training sets, but the levelled wave (one wavelength) is its kin.
    """
    body = sim.gaussian_structure(jax.random.key(9101), shape, (0.66, 0.34), 2.4)
    return np.asarray(sim.structure_labels(body))


_KINDS: dict[str, Callable[[Shape, int], np.ndarray]] = {
    "hierarchical wave": _hierarchy,
    "levelled wave": _ligaments,
    "self-similar": _self_similar,
    "random pores": _pores,
}
_FRESH: dict[str, Callable[[Shape], np.ndarray]] = {
    "npg": _npg,
    "hnpg": lambda shape: hierarchical(9102, shape, 0.123, SPACING),
}


def _levels(yields: np.ndarray) -> tuple[float, float]:
    """Yields that become black and white."""
    black, white = (float(q) for q in np.quantile(yields, (0.001, 0.999)))
    return black, white


def _recorded(yields: np.ndarray, number: int, energy: float) -> np.ndarray:
    """As an instrument delivers them, but for drift, which would move slices against the truth.

    Each voltage has its own noise: fusion would see through noise that images share. Curtains
    belong to the milled surface, and are the same at all of them.
    """
    black, white = _levels(yields)
    told = sim.Instrument(black=black, white=white, drift_walk=0.0, drift_jitter=0.0)
    key = jax.random.key(number)
    own, surface = jax.random.fold_in(key, round(1000 * energy)), jax.random.fold_in(key, 1)
    return np.asarray(sim.instrument(own, yields, told, surface=surface).image)


def _stretched(yields: np.ndarray, number: int, energy: float) -> np.ndarray:
    """With the grey values of recorded ones, and nothing else that an instrument does."""
    black, white = _levels(yields)
    return np.clip((yields - black) / (white - black), 0.0, 1.0).astype(np.float32)


def _followed(body: np.ndarray, slices: int, energy: float, kept: Path, each: int) -> np.ndarray:
    """Yields of all slices, from `kept` where an earlier run has left them.

    What is kept counts only if a few electrons, followed anew, do just what those did that were
    kept with it.
    """
    told = repr((body.shape, slices, energy, each, SPACING, _MATERIALS)).encode()
    path = kept / f"{hashlib.sha256(told + body.tobytes()).hexdigest()[:24]}.npz"

    def sent(at: int, electrons: int) -> np.ndarray:
        # Every slice has the same depth below it, so that code is compiled once; each has electrons
        # of its own, at each voltage.
        part = body[at : at + body.shape[0] - slices + 1]
        key = jax.random.fold_in(jax.random.key(9103 + at), round(1000 * energy))
        found = sim.monte_carlo(key, part, _MATERIALS, energy, spacing=SPACING, electrons=electrons)
        return found.images[0]

    probe = sent(0, _PROBE)
    if path.exists():
        with np.load(path, allow_pickle=False) as there:
            if np.array_equal(there["probe"], probe):
                return there["images"]
    say(f"Monte Carlo of {slices} slices at {energy:g} kV")
    images = np.stack([sent(at, each) for at in range(slices)])
    kept.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".part.npz")
    np.savez(half, images=images, probe=probe)
    half.replace(path)
    return images
