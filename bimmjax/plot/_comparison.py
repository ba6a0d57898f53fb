"""Rivals side by side: what they see, where they err, how they learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.plot._slices import scale_bar
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bimmjax.nets import Comparison
    from bimmjax.nets._compare.result import Row

_PIXELS = 500  # of a slice along an axis; more no panel of two inches shows
_PANEL = 2.1  # inches
_RIVALS = 5  # side by side
_COLOURS = 8  # of a sweep's runs
_ERROR = "black"  # beside the colours of all classes
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1.2, 1.2)))


def comparison(found: Comparison) -> dict[str, Figure]:
    """All pictures of a comparison that there is something for, by name.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    dict
        Figures: "predictions", "confusion", "curves", "learning_curve", "sweep".
    """
    made: dict[str, Figure] = {}
    if found.example is not None and found.example.labels:
        made |= {"predictions": predictions(found), "confusion": confusions(found)}
    if any(row.history for row in found.of("rival")):
        made["curves"] = learned(found)
    if any(row.scores is not None for row in found.of("learning curve")):
        made["learning_curve"] = annotation(found)
    if found.best_of_sweep is not None:
        made["sweep"] = swept(found)
    return made


def predictions(found: Comparison) -> Figure:
    """A slice of the test block: grey values and truth, each rival's labels and its errors.

    Errors are marked on the faded grey values, where scores are counted: not where there is no
    label, which stays white in the truth, no number, or no weight.

    Parameters
    ----------
    found : Comparison

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        Nothing that was scored.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    from bimmjax.nets.losses import IGNORED  # loads flax, which pictures of fits do without

    example = found.example
    if example is None or not example.labels:
        raise InputError("found: got no labels, wants a comparison with at least one that scored")
    thin = max(1, -(-max(example.raw.shape) // _PIXELS))
    raw, truth = example.raw[::thin, ::thin].astype(float), example.truth[::thin, ::thin]
    height, width = (n * s for n, s in zip(example.raw.shape, example.spacing, strict=True))
    classes = len(found.names)
    palette = ListedColormap([*(phase_colour(k) for k in range(classes)), "white"])

    bands = math.ceil(len(example.labels) / _RIVALS)
    columns = 1 + math.ceil(len(example.labels) / bands)
    tall = min(max(_PANEL * height / width, 0.5 * _PANEL), 2.0 * _PANEL)
    made = figure(columns * (_PANEL + 0.12) + 1.3, 2 * bands * (tall + 0.42) + 0.1)
    grid = made.subplots(2 * bands, columns, squeeze=False)

    def show(axes: Axes, pixels: np.ndarray, **how: Any) -> None:
        axes.imshow(pixels, extent=(0, width, height, 0), interpolation="nearest", **how)

    def labels_of(axes: Axes, labels: np.ndarray) -> None:
        shown = np.where(labels < classes, labels, classes)
        show(axes, shown, cmap=palette, vmin=-0.5, vmax=classes + 0.5)

    finite = raw[np.isfinite(raw)]
    low, high = np.quantile(finite, (0.002, 0.998)) if finite.size else (0.0, 1.0)
    grey = {"cmap": "gray", "vmin": low, "vmax": max(high, low + 1e-12)}
    for axes in grid.flat:
        axes.set_axis_off()
    show(grid[0, 0], raw, **grey)
    title(grid[0, 0], f"raw, z = {example.place}")
    scale_bar(grid[0, 0], width, height, example.unit)
    labels_of(grid[1, 0], truth)
    title(grid[1, 0], "truth")
    rows = {row.name: row for row in found.rows}
    known = example.counts[::thin, ::thin]
    for number, (name, labels) in enumerate(example.labels.items()):
        band, column = divmod(number, columns - 1)
        upper, lower = grid[2 * band, column + 1], grid[2 * band + 1, column + 1]
        labels = labels[::thin, ::thin]
        labels_of(upper, labels)
        title(upper, f"{name}, IoU {100.0 * _mean(rows[name]):.1f} %")
        wrong = known & (labels != truth)
        # Faded, so that nothing competes with the errors.
        show(lower, raw, **(grey | {"alpha": 0.35}))
        marks = np.ma.masked_where(~wrong, np.ones(wrong.shape))
        show(lower, marks, cmap=ListedColormap([_ERROR]), vmin=0.0, vmax=1.0)
        share = 100.0 * wrong.sum() / max(int(known.sum()), 1)
        title(lower, f"wrong here: {share:.2f} %")
    marks = [Patch(color=phase_colour(k), label=_short(name)) for k, name in enumerate(found.names)]
    if (truth == IGNORED).any():
        marks.append(Patch(facecolor="white", edgecolor=QUIET, label="no label"))
    marks.append(Patch(color=_ERROR, label="wrong"))
    made.tight_layout(rect=(0, 0, 1.0 - 1.15 / made.get_figwidth(), 1), w_pad=0.4, h_pad=1.0)
    made.legend(handles=marks, loc="upper right", frameon=False, fontsize=9, handlelength=1.0)
    return made


def confusions(found: Comparison) -> Figure:
    """The confusion matrices of all rivals: shares of each true class, in per cent.

    Parameters, returns and errors as for `predictions`.
    """
    rows = [row for row in found.of("rival", "classical") if row.scores is not None]
    if not rows:
        raise InputError("found: got no scores, wants a comparison with at least one that scored")
    classes = len(found.names)
    # Room for a number in each field.
    side = max(1.5, 0.44 * classes)
    bands = math.ceil(len(rows) / (_RIVALS - 1))
    columns = math.ceil(len(rows) / bands)
    made = figure(columns * (side + 0.35) + 0.7, bands * (side + 0.62) + 0.75)
    grid = made.subplots(bands, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= len(rows):
            axes.set_axis_off()
            continue
        scores = rows[number].scores
        assert scores is not None
        shares = 100.0 * scores.normalised("truth")
        axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=100.0)
        for (i, j), share in np.ndenumerate(shares):
            text = _share(share) if scores.support[i] else "–"
            colour = INK if share > 55.0 else "white"
            axes.text(j, i, text, ha="center", va="center", fontsize=8, color=colour)
        title(axes, rows[number].name)
        axes.tick_params(length=0, labelsize=8)
        names = [_short(name) for name in found.names]
        lowest, first = number + columns >= len(rows), number % columns == 0
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
        axes.set_xticks(range(classes), names if lowest else [], **(turned if _long(names) else {}))
        axes.set_yticks(range(classes), names if first else [])
        if lowest:
            axes.set_xlabel("Label", fontsize=9)
        if first:
            axes.set_ylabel("Truth", fontsize=9)
    made.suptitle("% of each true class", x=0.01, ha="left", fontsize=10, color=INK)
    made.tight_layout(h_pad=1.6)
    return made


def learned(found: Comparison) -> Figure:
    """Mean IoU on the validation block over epochs and over time; a dot marks the best epoch.

    Where nothing was validated: the training loss. Compiling is left out of the time unless there
    is a budget, of which it is part: the first epoch counts as much as the others.
    Parameters, returns and errors as for `predictions`; only networks are shown.
    """
    rows = [row for row in found.of("rival") if row.history]
    if len(rows) == 1:
        rows += [row for row in found.of("learning curve", "ablation") if row.history]
    if not rows:
        raise InputError("found: got no network that has learned anything, wants at least one")
    name = "validation_mean_iou"
    if any(line[name] is None for row in rows for line in row.history):
        name = "training_loss"
    made = figure(9.4, 3.3)
    by_epoch, by_time = made.subplots(1, 2, sharey=True)
    minutes = found.budget["minutes"]
    spent = [_seconds(row, compiling=bool(minutes)) for row in rows]
    longest = max(map(sum, spent))
    unit, scale = ("min", 60.0) if longest >= 120.0 else ("s", 1.0)
    for number, (row, seconds) in enumerate(zip(rows, spent, strict=True)):
        values = [line[name] for line in row.history]
        epochs = [line["epoch"] for line in row.history]
        times = list(accumulate(one / scale for one in seconds))
        how = {"color": phase_colour(number), "linestyle": _DASHES[number // 8 % len(_DASHES)]}
        for axes, where in ((by_epoch, epochs), (by_time, times)):
            axes.plot(where, values, linewidth=1.5, label=row.name, **how)
            best = (row.best_epoch or len(values)) - 1
            axes.plot(where[best], values[best], "o", color=how["color"], markersize=5)
    by_epoch.set_ylabel("Mean IoU" if name != "training_loss" else "Training loss")
    title(by_epoch, "Validation block" if name != "training_loss" else "No validation block")
    by_epoch.set_xlabel("Epoch")
    told = "with compiling and validating" if minutes else "with validating, without compiling"
    by_time.set_xlabel(f"Time ({unit}, {told})")
    if minutes:
        by_time.axvline(minutes * 60.0 / scale, color=QUIET, linewidth=0.8, linestyle=":")
        title(by_time, "Dotted: the budget")
    by_time.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    by_time.set_xlim(left=0.0)
    by_epoch.xaxis.get_major_locator().set_params(integer=True)
    for axes in (by_epoch, by_time):
        axes.set_ylim(bottom=0.0)
        tidy(axes)
    made.tight_layout()
    return made


def annotation(found: Comparison) -> Figure:
    """IoU on the test block over the number of annotated slices, a panel for each rival.

    Parameters, returns and errors as for `predictions`; wants a learning curve.
    """
    points = [row for row in found.of("learning curve") if row.scores is not None]
    names = list(dict.fromkeys(row.of for row in points))
    if not names:
        raise InputError("found: got no learning curve, wants one")
    made = figure(min(4.1 * len(names), 12.4) + 1.3, 3.4)
    grid = made.subplots(1, len(names), squeeze=False, sharey=True)[0]
    others = [row for row in found.of("classical") if row.scores is not None]
    for axes, name in zip(grid, names, strict=True):
        rows = [row for row in points if row.of == name]
        rows += [row for row in found.of("rival") if row.name == name and row.scores is not None]
        rows.sort(key=lambda row: row.training_slices or 0)
        where = [row.training_slices for row in rows]
        for k, label in enumerate(found.names):
            values = [row.by_class("iou")[k] for row in rows]
            if None in values:
                continue  # no such class in the truth
            axes.plot(where, values, "o-", color=phase_colour(k), linewidth=1.2, markersize=3.5,
                      label=_short(label))  # fmt: skip
        means = [_mean(row) for row in rows]
        axes.plot(where, means, "o-", color=INK, linewidth=2.2, markersize=4.5, label="mean")
        if others:
            best = max(others, key=_mean)
            axes.axhline(_mean(best), color=QUIET, linewidth=1.0, linestyle="--",
                         label=f"mean, {best.name}")  # fmt: skip
        axes.set_xscale("log")
        # Numbers of points that lie close together would lie upon each other.
        apart = [n for n, more in zip(where, [*where[1:], None], strict=True)
                 if n and (more is None or more > 1.4 * n)]  # fmt: skip
        axes.set_xticks(apart, [f"{n:,}" for n in apart])
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("Annotated slices")
        title(axes, name)
        tidy(axes)
    grid[0].set_ylabel("IoU (test block)")
    grid[-1].legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.01, 0.5))
    made.tight_layout()
    return made


def swept(found: Comparison) -> Figure:
    """Validation loss of a sweep's runs over epochs: the best eight in colour, a dot each.

    Parameters, returns and errors as for `predictions`; wants a sweep.
    """
    if found.best_of_sweep is None:
        raise InputError("found: got no sweep, wants one")
    rows = [row for row in found.rows if row.swept and row.history]
    rows.sort(key=lambda row: -(row.validation("mean_iou") or 0.0))
    made = figure(7.4, 3.3)
    axes = made.subplots(1, 1, squeeze=False)[0, 0]
    for number, row in enumerate(rows):
        values = [line["validation_loss"] for line in row.history]
        epochs = [line["epoch"] for line in row.history]
        if number >= _COLOURS or not row.best_epoch:
            axes.plot(epochs, values, color=QUIET, linewidth=0.6, zorder=1)
            continue
        name = ", ".join(f"{name} {value}" for name, value in (row.swept or {}).items())
        share = 100.0 * (row.validation("mean_iou") or 0.0)
        colour = phase_colour(number)
        axes.plot(epochs, values, color=colour, linewidth=1.5, label=f"{name}: {share:.1f} %")
        best = row.best_epoch - 1
        axes.plot(epochs[best], values[best], "o", color=colour, markersize=5)
    if all(line["validation_loss"] > 0.0 for row in rows for line in row.history):
        axes.set_yscale("log")
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Validation loss")
    axes.xaxis.get_major_locator().set_params(integer=True)
    title(axes, "In order of mean IoU, validation block")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(axes)
    made.tight_layout()
    return made


def _mean(row: Row) -> float:
    """IoU of a row with scores."""
    found = row.mean("iou")
    assert found is not None
    return found


def _seconds(row: Row, compiling: bool) -> list[float]:
    """Of each epoch; the first, in which the network is compiled, as the others unless wanted."""
    found = [line["seconds"] for line in row.history]
    if not compiling and len(found) > 1:
        found[0] = min(found[0], float(np.median(found[1:])))
    return found


def _share(value: float) -> str:
    """Per cent in the width of a field."""
    return f"{value:.0f}" if value >= 99.95 or value == 0.0 else f"{value:.1f}"


def _short(name: str) -> str:
    return name if len(name) <= 14 else name[:13] + "…"


def _long(names: Sequence[str]) -> bool:
    return max(map(len, names)) > 4
