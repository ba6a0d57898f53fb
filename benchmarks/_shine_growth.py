"""How shine-through grows with voltage, measured by k-means as in Article III of the thesis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

import bimmjax
from benchmarks._report import Table, say
from benchmarks._shine_cases import ENERGIES, hierarchical
from bimmjax import sim
from bimmjax.segmentation import kmeans

if TYPE_CHECKING:
    from benchmarks.shine_through import Pair

_SOLID = 0.123
_SPACING = 5.0  # nm; others besides without an instrument
# Article III, Tables 3 and 5: MP and MGP in %, solid fraction.
_ARTICLE = {1.0: (4.455, 8.776, 0.147), 2.0: (9.490, 15.573, 0.180), 4.0: (18.626, 20.904, 0.258)}
_EVERYTHING = (slice(None),) * 3

NOTES = (
    "k-means, k = 3, the brightest class taken for gold; MP: voxels that are wrong, MGP: gold "
    "that is lost, added: pores taken for gold, each over all voxels but MGP, which is over gold",
    "black and white of the instrument: P0.1 and P99.9 of the yields; no drift, which would move "
    "slices against the truth",
    "the Article's structure, its voxels and its detector are not told in full: its images are "
    "MCXray's with that program's noise, of a through-lens detector that sees a part of what comes "
    "back; ours are yields of all that does, of other random waves",
)


def tables(pairs: list[Pair], quick: bool) -> list[Table]:
    """Stacks by the model; single slices by the model and by Monte Carlo."""
    return [_stacks(quick), _slices(pairs)]


def _stacks(quick: bool) -> Table:
    shape = (60, 96, 96) if quick else (128, 256, 256)
    rows = []
    for spacing in (_SPACING,) if quick else (_SPACING, 2.5, 10.0):
        truth = hierarchical(9007, shape, _SOLID, spacing)
        for energy in ENERGIES:
            say(f"shine_through: k-means at {energy:g} kV, {spacing:g} nm")
            perfect = np.asarray(
                sim.backscatter_images(truth, ["epoxy", "gold"], energy, spacing=spacing)
            )
            seen = {"perfect": perfect}
            if spacing == _SPACING:
                seen |= _recorded(perfect)
            for name, images in seen.items():
                found = kmeans(images, 3).read(*_EVERYTHING) == 2
                start = [f"{spacing:g}", name, f"{energy:g}"]
                rows.append([*start, *_scored(found, truth), *_article(energy)])
    rows.sort(key=lambda row: (float(row[0]) != _SPACING, float(row[0])))
    size = " x ".join(map(str, shape))
    columns = ["nm", "images", "kV", *_HEADS, *(f"Article III: {head}" for head in _HEADS[:4])]
    return Table(f"k-means on {size} voxels of HNPG in epoxy", columns, rows)


def _recorded(perfect: np.ndarray) -> dict[str, np.ndarray]:
    """By an instrument that only counts electrons, and by one with all its faults but drift."""
    black, white = (float(q) for q in np.quantile(perfect, (0.001, 0.999)))
    ends = {"black": black, "white": white}
    counting = sim.Instrument(
        **ends, edge_blur=0.0, drift_walk=0.0, drift_jitter=0.0, gain_std=0.0, offset_std=0.0,
        curtain_strength=0.0,
    )  # fmt: skip
    faulty = sim.Instrument(**ends, drift_walk=0.0, drift_jitter=0.0)
    key = jax.random.key(9008)
    return {
        "with noise": np.asarray(sim.instrument(key, perfect, counting).image),
        "whole instrument": np.asarray(sim.instrument(key, perfect, faulty).image),
    }


_HEADS = ("MP %", "MGP %", "added %", "fraction", "true")


def _scored(found: np.ndarray, truth: np.ndarray) -> list[str]:
    scores = bimmjax.evaluate(found.astype(np.uint8), truth, classes=2)
    added = 100.0 * scores.confusion[0, 1] / scores.confusion.sum()
    percent = (scores.misplaced, scores.misplaced_of(1), added)
    return [*(f"{value:.1f}" for value in percent), f"{found.mean():.3f}", f"{truth.mean():.3f}"]


def _article(energy: float) -> list[str]:
    mp, mgp, fraction = _ARTICLE[energy]
    added = mp - mgp * _SOLID
    return [f"{mp:.1f}", f"{mgp:.1f}", f"{added:.1f}", f"{fraction:.3f}"]


def _slices(pairs: list[Pair]) -> Table:
    """What k-means makes of the same slice by Monte Carlo and by the model."""
    rows = []
    for pair in pairs:
        volume, pores, energy, _ = pair.case
        if pores != "epoxy":
            continue
        truth = volume.labels[:1]
        cells = [volume.name, f"{energy:g}"]
        for image in (pair.counted.image, pair.analytic):
            found = kmeans(image[None], 3).read(*_EVERYTHING) == 2
            cells += _scored(found, truth)[:4]
        rows.append([*cells, f"{truth.mean():.3f}"])
    heads = [f"{head}, {by}" for by in ("counted", "model") for head in _HEADS[:4]]
    columns = ["volume", "kV", *heads, "true"]
    return Table("k-means on the first slices, epoxy: Monte Carlo and model", columns, rows)
