"""A simulated scan beside the truth, with the grey values of each phase."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bimmjax.plot._labels import signed
from bimmjax.plot._slices import frame, layout, middle_section, show
from bimmjax.plot._style import INK, phase_colour, tidy, title
from bimmjax.volumes import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BINS = 120


def scan(
    image: Volume, labels: Volume, intensities: Sequence[float], supersample: int = 1
) -> Figure:
    """The middle slice of an image, the labels there, and the histogram of grey values by label.

    Parameters
    ----------
    image : Volume
    labels : Volume
        `supersample` times as many voxels along each axis.
    intensities
        Grey value of each label 0 ... N - 1, marked in the histogram.
    supersample : int

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.ticker import MaxNLocator

    grey = middle_section(image, 0)
    # One label out of the middle of each voxel; the phase that a mixed voxel has most of or not.
    place = grey.place * supersample + supersample // 2
    thin = [max(1, n // p) for n, p in zip(image.shape[1:], grey.pixels.shape, strict=True)]
    plane = labels.read(slice(place, place + 1), slice(None), slice(None))[0]
    first = supersample // 2
    truth = plane[first :: supersample * thin[0], first :: supersample * thin[1]]
    truth = truth[: grey.pixels.shape[0], : grey.pixels.shape[1]]

    phases = len(intensities)
    made, boxes, scale = layout([grey.size] * 3)
    values = grey.pixels[np.isfinite(grey.pixels)]
    low, high = np.quantile(values, (0.002, 0.998)) if values.size else (0.0, 1.0)
    axes = made.add_axes(boxes[0])
    show(axes, grey, cmap="gray", vmin=low, vmax=max(high, low + 1e-12))
    frame(axes, grey, image, scale)
    title(axes, f"image, {axes.get_title(loc='left')}")
    axes = made.add_axes(boxes[1])
    palette = ListedColormap([phase_colour(k) for k in range(phases)])
    section = grey._replace(pixels=truth.astype(np.float32))
    show(axes, section, cmap=palette, vmin=-0.5, vmax=phases - 0.5, interpolation_stage="rgba")
    frame(axes, section, image, scale)
    title(axes, "labels there")

    left, bottom, wide, tall = boxes[2]
    # The axis needs room below, where slices have only their names.
    axes = made.add_axes((left, bottom + 0.1 * tall, wide, 0.9 * tall))
    edges = _edges(float(low), float(high), whole=image.dtype.kind in "iu")
    for phase, intensity in enumerate(intensities):
        inside = grey.pixels[truth == phase]
        if inside.size == 0:
            continue
        counts, _ = np.histogram(inside, edges)
        colour = phase_colour(phase)
        axes.stairs(counts / grey.pixels.size, edges, color=colour, label=f"phase {phase}")
        axes.axvline(intensity, color=colour, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.set_xlabel("grey value", fontsize=9, color=INK)
    axes.set_ylabel("share of voxels", fontsize=9, color=INK)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda x, _: signed(f"{x:.6g}"))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.legend(frameon=False, fontsize=8, handlelength=1.0)
    tidy(axes)
    axes.spines["left"].set_visible(False)
    return made


def _edges(low: float, high: float, whole: bool) -> np.ndarray:
    """Ends of bins a little beyond a range; for whole grey levels as many of them in each."""
    margin = 0.05 * (high - low)
    if not whole:
        return np.linspace(low - margin, high + margin + 1e-12, _BINS)
    width = max(math.ceil((high - low) / _BINS), 1)
    first = math.floor(low - margin) - 0.5
    return first + width * np.arange(math.ceil((high - low + 2 * margin) / width) + 3)
