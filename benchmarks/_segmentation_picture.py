"""Figure 15 of the BIMM paper, redrawn: where GMM and BIMM-2D put the voxels of three phases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import bimmjax
from bimmjax import segmentation, sim
from bimmjax.plot._style import INK, figure, phase_colour, tidy, title
from bimmjax.volumes import gradient_magnitude

_SCATTERED = 12_000
_SHOWN = 96  # voxels


def draw(made: sim.Artificial, fits: dict[str, bimmjax.Fit], out: Path) -> Path:
    """Slice, its labels by both models and the field, and labels over intensity and gradient."""
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Rectangle

    image, truth = np.asarray(made.image), np.asarray(made.labels)
    z = slice(image.shape[0] // 2 - 1, image.shape[0] // 2 + 2)
    labels = {
        "GMM": segmentation.segment(image, fits["gmm"]),
        "BIMM-2D": segmentation.segment(image, fits["bimm2d"]),
        "BIMM-2D + MRF": segmentation.segment(image, fits["bimm2d"], mrf=True),
    }
    slices = {name: found.read(z, slice(None), slice(None))[1] for name, found in labels.items()}
    place, frames = _where(slices["GMM"], truth[z][1])
    palette = ListedColormap([phase_colour(k) for k in range(3)])
    drawn = figure(11.0, 6.2)
    grid = drawn.subplot_mosaic("abcd;eeff", height_ratios=[1.0, 1.05])
    grey = image[z][1]
    shown: list[tuple[str, np.ndarray, dict[str, Any]]] = [
        ("a", grey, {"cmap": "gray"}),
        ("b", slices["GMM"], {"cmap": palette, "vmin": 0, "vmax": 2}),
        ("c", slices["BIMM-2D"], {"cmap": palette, "vmin": 0, "vmax": 2}),
        ("d", slices["BIMM-2D + MRF"], {"cmap": palette, "vmin": 0, "vmax": 2}),
    ]
    for (key, pixels, look), name in zip(shown, ("Grey values", *slices), strict=True):
        axes = grid[key]
        axes.imshow(pixels[place], interpolation="nearest", **look)
        axes.set_xticks([])
        axes.set_yticks([])
        title(axes, f"({key}) {name}")
        for row, column in frames:
            box = Rectangle((column - 6, row - 6), 12, 12, fill=False, linestyle=(0, (3, 2)))
            box.set(edgecolor="white" if key == "a" else INK, linewidth=1.4)
            axes.add_patch(box)
        axes.plot([4, 24], [_SHOWN - 5] * 2, color="white", linewidth=3, solid_capstyle="butt")
        axes.text(14, _SHOWN - 7, "20 voxels", color="white", ha="center", va="bottom", fontsize=8)
    _histogram(grid["e"], image, labels["GMM"])
    _scatter(grid["f"], image, labels["BIMM-2D"])
    drawn.tight_layout()
    path = out / "segmentation.png"
    drawn.savefig(path)
    return path


def _where(
    labels: np.ndarray, truth: np.ndarray
) -> tuple[tuple[slice, slice], list[tuple[int, int]]]:
    """The part of a slice with most grey where black meets white, and three such places in it."""
    from scipy.ndimage import distance_transform_edt, uniform_filter

    far = [np.asarray(distance_transform_edt(truth != phase)) for phase in range(3)]
    wrong = ((labels == 1) & (far[1] > 4) & (far[0] < 3) & (far[2] < 3)).astype(float)
    half = _SHOWN // 2
    rows, columns = (n - _SHOWN + 1 for n in wrong.shape)
    dense = uniform_filter(wrong, _SHOWN, mode="constant")[half:, half:][:rows, :columns]
    row, column = np.unravel_index(int(np.argmax(dense)), dense.shape)
    part = (slice(row, row + _SHOWN), slice(column, column + _SHOWN))
    near = uniform_filter(wrong[part], 9, mode="constant")
    kept = np.zeros_like(near)
    kept[8:-20, 8:-8] = 1.0  # clear of the edges and of the scale bar
    near = near * kept
    frames = []
    for _ in range(3):
        r, c = (int(k) for k in np.unravel_index(int(np.argmax(near)), near.shape))
        frames.append((r, c))
        near[max(r - 14, 0) : r + 14, max(c - 14, 0) : c + 14] = 0.0
    return part, frames


def _histogram(axes: Any, image: np.ndarray, labels: Any) -> None:
    found = labels.read(*(slice(None),) * 3)
    low, high = np.quantile(image, (0.0005, 0.9995))
    edges = np.linspace(low, high, 181)
    counts = [np.histogram(image[found == k], edges)[0] / image.size for k in range(3)]
    width = edges[1] - edges[0]
    base = np.zeros(len(edges) - 1)
    for k, count in enumerate(counts):
        axes.bar(edges[:-1], count / width, width, bottom=base, align="edge",
                 color=phase_colour(k), label=f"phase {k}")  # fmt: skip
        base += count / width
    axes.set_xlabel("Intensity")
    axes.set_ylabel("Density")
    title(axes, "(e) Intensities by label, GMM")
    axes.legend(frameon=False, fontsize=9)
    tidy(axes)


def _scatter(axes: Any, image: np.ndarray, labels: Any) -> None:
    rng = np.random.default_rng(0)
    inner = (slice(1, -1),) * 3
    found = labels.read(*(slice(None),) * 3)[inner].ravel()
    at = rng.choice(found.size, _SCATTERED, replace=False)
    u = image[inner].ravel()[at]
    v = np.asarray(gradient_magnitude(image)).ravel()[at]
    for k in range(3):
        mine = found[at] == k
        axes.plot(u[mine], v[mine], ".", markersize=2.2, color=phase_colour(k), alpha=0.6)
    axes.set_xlabel("Intensity")
    axes.set_ylabel("Gradient magnitude (per voxel)")
    title(axes, "(f) Intensities and gradients by label, BIMM-2D")
    tidy(axes)
