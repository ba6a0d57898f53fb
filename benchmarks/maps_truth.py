"""Maps against the truth of every block: a volume whose porosity grows from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri

from benchmarks._report import Table, say
from bimmjax import map_fits, sim
from bimmjax.maps import Flag

_BLUR, _NOISE, _LENGTH = 1.5, 0.1, 8.0
_POROSITY = (0.05, 0.5)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """White and correlated noise; blob-like phases, and spheres, which the calibration is not."""
    edge = 128 if quick else 320
    tables, records = [], {}
    for name, structure, correlated in (
        ("blobs, white noise", _blobs, 0.0),
        ("blobs, correlated noise", _blobs, 0.8),
        ("overlapping spheres, white noise", _spheres, 0.0),
    ):
        say(f"maps_truth: {name}")
        field = structure(jax.random.key(11), edge)
        rows, record = _compare(field, correlated, block=32)
        columns = [
            "quantity",
            "blocks",
            "bias",
            "scatter",
            "reported",
            "scatter / reported",
            "rms error / reported",
            "within 95 %",
        ]
        tables.append(
            Table(f"{name}: estimate - truth of {record['blocks']} blocks", columns, rows)
        )
        records[name] = record
        if name.startswith("blobs, white"):
            _picture(record, out / "maps_truth.png")
    notes = [
        f"{edge}³ voxels, blocks of 32³; porosity {_POROSITY[0]} to {_POROSITY[1]} along z; blur "
        f"{_BLUR}, noise {_NOISE} of the contrast; usable blocks only",
        "truth of a block: the sharp structure within it; areas by marching cubes on the field",
        "scatter: std of estimate - truth; rms error: bias included; reported: root mean square of "
        "`_stderr`, which stands for both",
    ]
    return {"tables": tables, "notes": notes, "runs": records}


def _level(edge: int) -> np.ndarray:
    porosity = np.linspace(*_POROSITY, edge)
    return ndtri(porosity)[:, None, None]


def _blobs(key: jax.Array, edge: int) -> np.ndarray:
    """A field that is below 0 in the pores."""
    field = np.asarray(sim.gaussian_field(key, (edge, edge, edge), _LENGTH))
    return (field - field.mean()) / field.std() - _level(edge)


def _spheres(key: jax.Array, edge: int) -> np.ndarray:
    """Distance to the nearest of many spheres' surfaces, below 0 within: overlapping pores."""
    rng = np.random.default_rng(int(jax.random.randint(key, (), 0, 2**31 - 1)))
    radius = 9.0
    field = np.full((edge, edge, edge), 2.0 * radius, np.float32)
    volume = 4.0 / 3.0 * np.pi * radius**3
    # A Boolean model of intensity n leaves the share exp(-n volume) uncovered.
    wanted = -np.log(1.0 - np.linspace(*_POROSITY, edge)) / volume * edge**2
    centres_z = np.repeat(np.arange(edge), rng.poisson(wanted))
    reach = int(2 * radius)
    for z in centres_z + rng.random(centres_z.size):
        centre = np.array([z, *(rng.random(2) * edge)])
        low = np.maximum(np.floor(centre - reach).astype(int), 0)
        high = np.minimum(np.ceil(centre + reach).astype(int) + 1, edge)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        axes = [np.arange(a, b) - c for a, b, c in zip(low, high, centre, strict=True)]
        squared = sum(
            (x**2).reshape([-1 if k == axis else 1 for k in range(3)])
            for axis, x in enumerate(axes)
        )
        np.minimum(field[box], np.sqrt(squared) - radius, out=field[box])
    return field


def _compare(field: np.ndarray, correlated: float, block: int) -> tuple[list[Any], dict[str, Any]]:
    sharp = (field > 0).astype(np.float32)
    image = sim.blur(jnp.asarray(sharp), _BLUR)
    image = sim.add_noise(jax.random.key(5), image, _NOISE, noise_length=correlated)
    # The blur wraps round: the outermost blocks see the other end.
    maps = map_fits(np.asarray(image), 2, block=block)
    inner = np.zeros(maps.windows.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    good = maps.usable & inner
    truth = {
        "volume_fraction_0": _blocks(1.0 - sharp, block).mean((1, 3, 5)),
        "interface_area_0-1": _areas(field, block),
        "blur_std": _BLUR,
        "noise_std": _NOISE,
        "intensity_0": 0.0,
        "intensity_1": 1.0,
        "correlation": float(sim.noise_correlation(correlated)[1]),
    }
    rows: list[Any] = []
    record: dict[str, Any] = {"blocks": int(good.sum())}
    for name, right in truth.items():
        # Where a flag says that a number is the prior's, it is no estimate.
        told_of = Flag.PHASE_ABSENT if name.startswith("intensity") else Flag.BLUR_UNTOLD
        own = good & ~maps.flagged(told_of) if name.startswith(("intensity", "blur")) else good
        off = (maps[name] - right)[own]
        error = maps[f"{name}_stderr"][own]
        scatter, told = float(off.std()), float(np.sqrt(np.mean(error**2)))
        rms = float(np.sqrt(np.mean(off**2)))
        inside = float(np.mean(np.abs(off) < 1.96 * error))
        row = [name, int(own.sum()), float(off.mean()), scatter, told]
        rows.append([*row, scatter / told, rms / told, inside])
    record["porosity"] = {
        "truth": truth["volume_fraction_0"].mean((1, 2)).tolist(),
        "map": maps["volume_fraction_0"].mean((1, 2)).tolist(),
    }
    record["flags"] = maps.summary()["flags"]
    record["true_fractions"] = truth["volume_fraction_0"][good].tolist()
    record["fractions"] = maps["volume_fraction_0"][good].tolist()
    return rows, record


def _blocks(values: np.ndarray, block: int) -> np.ndarray:
    n = values.shape[0] // block
    return values.reshape(n, block, n, block, n, block)


def _areas(field: np.ndarray, block: int) -> np.ndarray:
    """Area per volume of each block, by marching cubes on the field at its voxels' corners."""
    from skimage.measure import marching_cubes, mesh_surface_area

    padded = np.pad(field, 1, mode="edge")
    corners = padded
    for axis in range(3):
        first = [slice(None)] * 3
        second = [slice(None)] * 3
        first[axis], second[axis] = slice(1, None), slice(None, -1)
        corners = 0.5 * (corners[tuple(first)] + corners[tuple(second)])
    n = field.shape[0] // block
    areas = np.zeros((n, n, n))
    for index in np.ndindex(n, n, n):
        part = corners[tuple(slice(i * block, (i + 1) * block + 1) for i in index)]
        if part.min() < 0.0 < part.max():
            vertices, faces, _, _ = marching_cubes(part, 0.0)
            areas[index] = mesh_surface_area(vertices, faces) / block**3
    return areas


def _picture(record: dict[str, Any], path: Path) -> None:
    from bimmjax.plot._style import figure, tidy

    drawn = figure(4.2, 4.0)
    axes = drawn.subplots()
    axes.plot(record["true_fractions"], record["fractions"], ".", markersize=2, alpha=0.5)
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=0.8)
    top = 1.05 * max(record["fractions"])
    axes.set(xlim=(0, top), ylim=(0, top), aspect="equal")
    axes.set_xlabel("true porosity of the block")
    axes.set_ylabel("porosity in the map")
    tidy(axes)
    drawn.savefig(path, dpi=200)
