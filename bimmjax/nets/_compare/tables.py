"""Tables as a paper takes them: words by row, and the same as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bimmjax.nets._compare.changes import in_words

if TYPE_CHECKING:
    from bimmjax.nets._compare.result import Comparison, Row

_NOTHING = "–"
_OF_SWEEPS = (
    "Losses and IoU are those of the best epoch on the validation block. The best run is that of "
    "the highest mean IoU there, for losses depend on the batch; it is scored on the test block "
    "once it is chosen, and scores of the others there, which choose nothing, are in no table. How "
    "many epochs are enough follows from the best one of them: where it is the last, more may be "
    "better."
)


class Table(NamedTuple):
    """A title, the names of the columns, and the cells: words, numbers, or None."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]

    def markdown(self) -> str:
        """As a Markdown table with a title; numbers to the right.

        Examples
        --------
        >>> rows = [("unet", 91.234), ("otsu", None)]
        >>> print(Table("Scores", ("name", "IoU (%)"), rows).markdown())
        **Scores**
        <BLANKLINE>
        | name | IoU (%) |
        | --- | ---: |
        | unet | 91.23 |
        | otsu | – |
        """
        words = [
            [_word(cell, name) for cell, name in zip(row, self.columns, strict=True)]
            for row in self.rows
        ]
        right = [
            any(isinstance(row[i], int | float) for row in self.rows)
            for i in range(len(self.columns))
        ]
        lines = [
            _line(self.columns),
            _line(["---:" if there else "---" for there in right]),
            *map(_line, words),
        ]
        return f"**{self.title}**\n\n" + "\n".join(lines)


def tables_of(found: Comparison) -> dict[str, Table]:
    """All tables that there is something for."""
    rivals = found.of("rival", "classical")
    made = {"rivals": _rivals(found, rivals), "report": _report(found, rivals)}
    curve = _curve(found)
    if curve is not None:
        made["learning curve"] = curve
    ablation = _ablation(found)
    if ablation is not None:
        made["ablation"] = ablation
    sweep = _sweep(found)
    if sweep is not None:
        made["sweep"] = sweep
    made["confusion"] = _confusion(found, rivals)
    return made


def markdown_of(found: Comparison, *, finished: bool = True) -> str:
    """The content of compare.md."""
    test, budget = found.test, found.budget
    minutes = f"{budget['minutes']:g} minutes" if budget["minutes"] else "its recipe's epochs"
    lines = [
        "# Comparison" if finished else "# Comparison, not finished",
        "",
        f"Scores on the test block ({test['slices']} slices, {test['voxels']:,} labelled voxels), "
        "each network with the parameters of its best epoch by the validation loss. Budget of "
        f"each: {minutes}. Device: {budget['device']}. Means are over the classes in the truth. "
        "s / image: of the network on the tiles that labels are made from, halo and overlap among "
        "them, and to probabilities where tiles are blended; s / epoch: without the first, which "
        "compiles. Annotations of the validation block choose the epoch, at every point of a "
        "learning curve.",
    ]
    for name, table in found.tables.items():
        lines += ["", table.markdown()]
        if name == "sweep":
            lines += ["", _OF_SWEEPS]
    failed = [row for row in found.rows if row.error]
    if failed:
        lines += ["", "**Without scores**", "", *(f"- {row.name}: {row.error}" for row in failed)]
    return "\n".join(lines) + "\n"


def csv_of(found: Comparison) -> str:
    """The content of compare.csv: one row for each that was scored, shares between 0 and 1."""
    by_class = ("iou", "precision", "recall", "f1")
    last = _last(found)
    mgp = "mgp" if last is None else f"mgp_{found.names[last]}"
    best, told = _best(found), []
    for row in found.rows:
        line: dict[str, Any] = {
            "role": row.role, "name": row.name, "of": row.of, "change": row.change,
            "parameters": row.parameters, "epochs": row.epochs, "best_epoch": row.best_epoch,
            "minutes": row.minutes, "seconds_per_epoch": row.seconds_per_epoch,
            "seconds_per_image": row.seconds_per_image, "training_slices": row.training_slices,
        }  # fmt: skip
        line["validation_loss"] = row.validation("loss")
        line["validation_mean_iou"] = row.validation("mean_iou")
        line["swept"] = _settings(row)
        line["best_of_sweep"] = None if row.swept is None else row.name == best
        scores = row.scores
        line["mean_iou"], line["mean_dice"] = row.mean("iou"), row.mean("f1")
        line["accuracy"] = None if scores is None else scores.accuracy
        line["mp"] = None if scores is None else scores.misplaced
        line[mgp] = None if scores is None else scores.misplaced_of(scores.last)
        for name in by_class:
            values = row.by_class(name) or [None] * len(found.names)
            line |= {f"{name}_{k}": one for k, one in zip(found.names, values, strict=True)}
        told.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(told[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(told)
    return text.getvalue()


def _rivals(found: Comparison, rows: Sequence[Row]) -> Table:
    """As the TXM paper's Table II."""
    last = _last(found)
    columns = (
        "network", "parameters", "batch", "loss", "epochs", "s / epoch", "training (min)",
        "s / image", *(f"IoU {name} (%)" for name in found.names), "mean IoU (%)",
        "mean Dice (%)", "MP (%)", "MGP (%)" if last is None else f"MGP {found.names[last]} (%)",
    )  # fmt: skip
    cells = [
        (
            row.name, row.parameters, *_how(row), row.epochs, row.seconds_per_epoch, row.minutes,
            row.seconds_per_image, *_ious(found, row), *_rest(row),
        )
        for row in rows
    ]  # fmt: skip
    return Table("Networks compared", columns, cells)


def _how(row: Row) -> tuple[Any, Any]:
    """Batch and loss."""
    recipe = row.recipe
    return (None, None) if recipe is None else (recipe.batch * recipe.accumulate, recipe.loss)


def _ious(found: Comparison, row: Row) -> tuple[float | None, ...]:
    """Of each class, and their mean."""
    values = row.by_class("iou") or [None] * len(found.names)
    return tuple(map(_percent, [*values, row.mean("iou")]))


def _rest(row: Row) -> tuple[float | None, ...]:
    scores = row.scores
    if scores is None:
        return (None,) * 3
    return _percent(row.mean("f1")), scores.misplaced, scores.misplaced_of(scores.last)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100.0 * share


def _last(found: Comparison) -> int | None:
    """The last class in the truth, which MGP is of; the truth is the same for all that scored."""
    return next((row.scores.last for row in found.rows if row.scores is not None), None)


def _report(found: Comparison, rows: Sequence[Row]) -> Table:
    """As the Modular U-Net paper's Table D.5."""
    columns = (
        "network", "class", "accuracy (%)", "precision (%)", "recall (%)", "F1 (%)", "IoU (%)",
        "support",
    )  # fmt: skip
    names = ("accuracy_by_class", "precision", "recall", "f1", "iou")
    cells: list[tuple[Any, ...]] = []
    for row in rows:
        scores = row.scores
        if scores is None:
            continue
        by_class = [row.by_class(name) for name in names]
        for k, label in enumerate(found.names):
            shares = (_percent(one[k]) for one in by_class)
            cells.append((row.name, label, *shares, int(scores.support[k])))
        cells.append((row.name, "macro", *(_percent(row.mean(name)) for name in names), None))
        cells.append((row.name, "micro", *[100.0 * scores.accuracy] * 4, None, None))
    return Table("Classes", columns, cells)


def _curve(found: Comparison) -> Table | None:
    """Over the number of annotated slices; the last point of a rival is the rival itself."""
    points = found.of("learning curve")
    if not points:
        return None
    columns = (
        "network", "slices", *(f"IoU {name} (%)" for name in found.names), "mean IoU (%)",
    )  # fmt: skip
    cells = []
    for name in dict.fromkeys(row.of for row in points):
        rows = [row for row in points if row.of == name]
        rows += [row for row in found.of("rival") if row.name == name]
        rows.sort(key=lambda row: row.training_slices or 0)
        cells += [(name, row.training_slices, *_ious(found, row)) for row in rows]
    return Table("Learning curve", columns, cells)


def _ablation(found: Comparison) -> Table | None:
    """Differences of IoU to the rival that each is a variation of."""
    rows = found.of("ablation")
    if not rows:
        return None
    base = next(row for row in found.of("rival") if row.name == rows[0].of)
    columns = (
        "change", "parameters", "s / epoch", *(f"IoU {name} (%)" for name in found.names),
        "mean IoU (%)", *(f"Δ {name}" for name in found.names), "Δ mean",
    )  # fmt: skip
    nothing = (None,) * (len(found.names) + 1)
    wanted = _ious(found, base)
    cells: list[tuple[Any, ...]] = [
        (f"none ({base.name})", base.parameters, base.seconds_per_epoch, *wanted, *nothing)
    ]
    for row in rows:
        own = _ious(found, row)
        apart = (
            None if a is None or b is None else a - b for a, b in zip(own, wanted, strict=True)
        )
        cells.append((row.change, row.parameters, row.seconds_per_epoch, *own, *apart))
    return Table(f"Ablation of {base.name}", columns, cells)


def _sweep(found: Comparison) -> Table | None:
    """Settings and what the validation block says of them."""
    rows = [row for row in found.rows if row.swept]
    if not rows:
        return None
    columns = (
        *(rows[0].swept or {}), "best epoch", "of epochs", "validation loss",
        "validation mean IoU (%)", "minutes", "best", "test mean IoU (%)",
    )  # fmt: skip
    best = _best(found)
    cells = [
        (
            *map(_setting, (row.swept or {}).values()), row.best_epoch, row.epochs,
            row.validation("loss"), _percent(row.validation("mean_iou")), row.minutes,
            *(("best", _percent(row.mean("iou"))) if row.name == best else ("", None)),
        )
        for row in rows
    ]  # fmt: skip
    return Table(f"Sweep of {rows[-1].of or rows[-1].name}", columns, cells)


def _best(found: Comparison) -> str | None:
    """The name of the sweep's best run."""
    return None if found.best_of_sweep is None else found.best_of_sweep.name


def _settings(row: Row) -> str | None:
    """All settings of a point of a sweep, in words."""
    if row.swept is None:
        return None
    return ", ".join(f"{name} = {in_words(value)}" for name, value in row.swept.items())


def _setting(value: Any) -> Any:
    """Numbers as they are, to the right of a table, and the rest in words."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if number else in_words(value)


def _confusion(found: Comparison, rows: Sequence[Row]) -> Table:
    """As the TXM paper's Fig. 6, in numbers."""
    columns = ("network", "truth", *(f"{name} (%)" for name in found.names), "voxels")
    cells: list[tuple[Any, ...]] = []
    for row in rows:
        if row.scores is None:
            continue
        shares = 100.0 * row.scores.normalised("truth")
        for k, name in enumerate(found.names):
            voxels = int(row.scores.support[k])
            cells.append(
                (row.name, name, *(shares[k].tolist() if voxels else _none(shares)), voxels)
            )
    return Table("Confusion: labels of each true class", columns, cells)


def _none(like: Sequence[Any] | np.ndarray) -> list[None]:
    return [None] * len(like)


def _word(cell: Any, column: str) -> str:
    if cell is None:
        return _NOTHING
    if isinstance(cell, int | np.integer):
        return f"{cell:,}"
    if isinstance(cell, float):
        # Shares to the hundredth of a per cent; three digits of times.
        shares = "%" in column or column.startswith("Δ")
        digits = 4 if "loss" in column else 3
        return f"{cell:.2f}" if shares or cell >= 10.0 else f"{cell:.{digits}g}"
    return str(cell).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
