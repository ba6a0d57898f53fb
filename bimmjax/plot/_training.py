"""How a network learned: losses and scores, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bimmjax._core.checks import InputError
from bimmjax.plot._style import INK, QUIET, figure, phase_colour, tidy, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 9.4, 3.0
_MOST_CLASSES = 8


def training(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses, and the IoU of each class on the validation block, over the epochs of a run.

    A line marks the epoch that is kept as the best; steps in the learning rate to below half are
    dotted. IoU of the first 8 classes.

    Parameters
    ----------
    history
        Rows of log.csv, from `bimmjax.nets.read_log` or `Trained.history`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    InputError
        No epoch.
    """
    if not history:
        raise InputError("history: got no epoch, wants at least one")
    epochs = [row["epoch"] for row in history]
    seen = [row for row in history if row["validation_loss"] is not None]
    made = figure(_WIDTH, _HEIGHT)
    losses, scores = made.subplots(1, 2)
    mark = "o" if len(history) == 1 else None
    losses.plot(
        epochs, [row["training_loss"] for row in history], color=INK, marker=mark, label="training"
    )
    name = "validation_loss" if seen else "training_loss"
    best = min(history, key=lambda row: (row[name], row["epoch"]))["epoch"]
    if seen:
        values = [row["validation_loss"] for row in seen]
        where = [row["epoch"] for row in seen]
        losses.plot(where, values, color=phase_colour(5), marker=mark, label="validation")
    losses.set_ylabel("Loss")
    losses.set_ylim(bottom=0.0)
    title(losses, f"Best: epoch {best}")
    losses.legend(frameon=False, fontsize=9)
    classes = [key for key in history[0] if key.startswith("validation_iou_")][:_MOST_CLASSES]
    for number, key in enumerate(classes):
        there = [(row["epoch"], row[key]) for row in seen if row[key] is not None]
        if there:
            label = key.removeprefix("validation_iou_")
            scores.plot(*zip(*there, strict=True), color=phase_colour(number), marker=mark,
                        linewidth=1.2, label=label)  # fmt: skip
    if seen:
        means = [row["validation_mean_iou"] for row in seen]
        where = [row["epoch"] for row in seen]
        scores.plot(where, means, color=INK, linewidth=2.0, marker=mark, label="mean")
        scores.legend(title="class", frameon=False, fontsize=9, title_fontsize=9)
    scores.set_ylim(0.0, 1.02)
    scores.set_ylabel("IoU")
    title(scores, "Validation block" if seen else "No validation block")
    rates = [row["learning_rate"] for row in history]
    falls = [e for e, (a, b) in zip(epochs[1:], pairwise(rates), strict=True) if b < 0.5 * a]
    for axes in (losses, scores):
        axes.axvline(best, color=QUIET, linewidth=0.8)
        for epoch in falls:
            axes.axvline(epoch, color=QUIET, linewidth=0.8, linestyle=":")
        axes.set_xlabel("Epoch")
        tidy(axes)
    made.tight_layout()
    return made
