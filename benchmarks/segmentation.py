"""Labels of three phases by every method, at three noise levels; energies beside graph cuts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import distance_transform_edt

import bimmjax
from benchmarks._report import Table, say
from benchmarks._segmentation_picture import draw
from bimmjax import segmentation, sim
from bimmjax.descriptors import crossing_areas
from bimmjax.segmentation import neighbour_weights, potts_energy, potts_labels
from bimmjax.volumes import Volume

NOISE = (0.05, 0.1, 0.15)
_BLUR, _FEATURES, _FRACTIONS = 1.5, 8.0, (0.3, 0.4, 0.3)
_NEAR = 2.0  # voxels from an interface of black and white
_EVERYTHING = (slice(None),) * 3


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Intensities 0, 0.5 and 1, all three kinds of interface."""
    edge, seeds = (96, 1) if quick else (192, 3)
    records = [
        record for noise in NOISE for seed in range(seeds) for record in _scored(seed, edge, noise)
    ]
    methods = list(dict.fromkeys(r["method"] for r in records))

    def mean(method: str, noise: float, key: str) -> float:
        return float(
            np.mean([r[key] for r in records if (r["method"], r["noise"]) == (method, noise)])
        )

    tables = [
        Table(
            f"{name}, mean of {seeds} volumes of {edge}³",
            ["method", *(f"σ_n = {noise}" for noise in NOISE)],
            [[m, *(round(mean(m, n, key), 4) for n in NOISE)] for m in methods],
        )
        for key, name in (
            ("iou", "Mean IoU"),
            ("edge_accuracy", "Right labels within 2 voxels of black-white interfaces"),
        )
    ]
    weights = [round(mean("BIMM-2D + MRF", n, "weight"), 2) for n in NOISE]
    notes = [f"weights of the field, from the data: {weights} nats per voxel face"]
    tables.append(_sheets(64 if quick else 96))
    energies = _energies(64 if quick else 96)
    if energies is None:
        notes.append("PyMaxflow is not here: no graph cuts")
    else:
        tables.append(energies)
    made = _volume(0, edge, NOISE[1])
    notes.append(f"picture: {draw(made, _fits(made), out)}")
    return {"tables": tables, "notes": notes, "records": records}


def _volume(seed: int, edge: int, noise: float) -> sim.Artificial:
    return sim.artificial_volume(
        jax.random.key(seed),
        (edge, edge, edge),
        fractions=_FRACTIONS,
        blur_std=_BLUR,
        noise_std=noise,
        feature_length=_FEATURES,
        with_area=False,
    )


def _fits(made: sim.Artificial) -> dict[str, bimmjax.Fit]:
    return {
        model: bimmjax.fit(made.image, 3, model=model, intervals=False, correct=False)
        for model in ("gmm", "bimm1d", "bimm2d")
    }


def _scored(seed: int, edge: int, noise: float) -> list[dict[str, Any]]:
    say(f"segmentation: noise {noise}, volume {seed}")
    made = _volume(seed, edge, noise)
    truth = np.asarray(made.labels)
    near = _near_black_and_white(truth)
    fits = _fits(made)
    weight = segmentation.mrf_weight(made.image, fits["bimm2d"])
    labels: dict[str, Volume] = {
        "Otsu": segmentation.otsu(made.image, 3),
        "k-means": segmentation.kmeans(made.image, 3),
        "GMM": segmentation.segment(made.image, fits["gmm"]),
        "GMM + MRF": segmentation.segment(made.image, fits["gmm"], mrf=True),
        "BIMM-1D": segmentation.segment(made.image, fits["bimm1d"]),
        "BIMM-2D": segmentation.segment(made.image, fits["bimm2d"]),
        "BIMM-2D, weighted": segmentation.segment(made.image, fits["bimm2d"], weighted=True),
        "BIMM-2D + MRF": segmentation.segment(made.image, fits["bimm2d"], mrf=weight),
    }
    records = []
    for method, found in labels.items():
        values = found.read(*_EVERYTHING)
        scores = bimmjax.evaluate(values, truth, classes=3)
        records.append(
            {
                "method": method,
                "noise": noise,
                "seed": seed,
                "iou": scores.macro("iou"),
                "accuracy": scores.accuracy,
                "edge_accuracy": float(np.mean((values == truth)[near])),
                "weight": weight,
            }
        )
    return records


def _near_black_and_white(truth: np.ndarray) -> np.ndarray:
    """Voxels of phases 0 and 2 that are near each other, and not near phase 1."""
    far = [np.asarray(distance_transform_edt(truth != phase)) for phase in range(3)]
    return (far[0] <= _NEAR) & (far[2] <= _NEAR) & (far[1] > 2.0 * _NEAR)


def _energies(edge: int) -> Table | None:
    """Of two phases: mean-field annealing, one voxel at a time, and the least there is."""
    if importlib.util.find_spec("maxflow") is None:
        return None
    rows: list[list[Any]] = []
    for noise in (0.1, 0.2, 0.4, 0.7):
        made = sim.artificial_volume(
            jax.random.key(7), (edge, edge, edge), blur_std=_BLUR, noise_std=noise,
            feature_length=6.0, with_area=False,
        )  # fmt: skip
        fit = bimmjax.fit(made.image, 2, intervals=False, correct=False)
        chosen = segmentation.mrf_weight(made.image, fit)
        costs = segmentation.label_costs(made.image, fit)
        for weight in (1.0, chosen, 2.0 * chosen):
            say(f"segmentation: energies, noise {noise}, weight {weight:.2f}")
            weights = neighbour_weights()
            least = potts_energy(costs, _cut(costs, weight), weight, weights)
            ones = jnp.ones(costs.shape[1:], costs.dtype)
            labels = potts_labels(costs, weight, jnp.asarray(weights, costs.dtype), ones)
            ours = potts_energy(costs, labels, weight, weights)
            alone = potts_energy(costs, costs.argmin(0), weight, weights)
            over = [f"{100.0 * (e / least - 1.0):.2f} %" for e in (ours, alone)]
            rows.append([noise, f"{weight:.2f}" + (" (chosen)" if weight == chosen else ""), *over])
    columns = ["σ_n", "weight", "mean-field annealing", "maximum likelihood"]
    return Table(f"Energy above the graph cut's, two phases, {edge}³", columns, rows)


def _sheets(edge: int) -> Table:
    """Flat sheets in a matrix of the same material as in front and behind: what a field loses."""
    rows: list[list[Any]] = []
    for thickness in (1, 2, 3, 4):
        truth = np.zeros((edge, edge, edge), np.uint8)
        for start in range(5, edge - 5, 16):
            truth[:, :, start : start + thickness] = 1
        image = sim.blur(truth.astype(np.float32), 1.0)
        image = np.asarray(sim.add_noise(jax.random.key(1), image, 0.1))
        # Blocks beside the sheets tell the model, which sheets as thin as that would bias.
        known = sim.artificial_volume(
            jax.random.key(2), (96, 96, 96), blur_std=1.0, noise_std=0.1, with_area=False
        )
        fit = bimmjax.fit(known.image, 2, intervals=False, correct=False)
        weight = segmentation.mrf_weight(image, fit)
        found = [
            bimmjax.evaluate(segmentation.segment(image, fit, mrf=mrf), truth).iou[1]
            for mrf in (False, weight)
        ]
        rows.append([thickness, f"{weight:.2f}", *(round(float(iou), 3) for iou in found)])
    columns = ["thickness, voxels", "weight", "likelihood", "+ MRF"]
    return Table("IoU of thin sheets, σ_b 1, σ_n 0.1", columns, rows)


def _cut(costs: np.ndarray, weight: float) -> np.ndarray:
    import maxflow

    graph = maxflow.Graph[float]()
    nodes = graph.add_grid_nodes(costs.shape[1:])
    for step, area in crossing_areas().items():
        structure = np.zeros((3, 3, 3))
        structure[tuple(1 + k for k in step)] = 1.0
        graph.add_grid_edges(nodes, weight * area, structure=structure, symmetric=True)
    graph.add_grid_tedges(nodes, costs[1], costs[0])
    graph.maxflow()
    return graph.get_grid_segments(nodes).astype(int)
