"""What a comparison finds, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bimmjax.descriptors import Scores
from bimmjax.nets._compare.tables import Table, tables_of
from bimmjax.nets._train.recipe import Recipe


class Row(NamedTuple):
    """One rival, as it was trained and scored; None where there is nothing to tell."""

    name: str
    role: str
    """"rival", "learning curve", "ablation", "sweep" or "classical"."""
    of: str = ""
    """The rival that it is a variation of."""
    change: str = ""
    """What differs from that one."""
    recipe: Recipe | None = None
    parameters: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    minutes: float | None = None
    """Spent on training."""
    seconds_per_epoch: float | None = None
    """Median of all but the first, which compiles; None where there is only that one."""
    seconds_per_image: float | None = None
    """Of labelling a slice that is in memory; median, without compiling. Of networks whose tiles
    are blended, to probabilities."""
    training_slices: int | None = None
    scores: Scores | None = None
    """On the test block; of a sweep, which the validation block judges, the best alone has them."""
    history: tuple[dict[str, Any], ...] = ()
    """Rows of log.csv."""
    error: str = ""
    """Why there are no scores."""
    swept: dict[str, Any] | None = None
    """Settings, if this is a point of a sweep."""

    def by_class(self, score: str) -> list[float | None]:
        """A score of each class, None for those that the truth has no voxel of."""
        found = self.scores
        if found is None:
            return []
        each = getattr(found, score).tolist()
        return [one if voxels else None for one, voxels in zip(each, found.support, strict=True)]

    def mean(self, score: str) -> float | None:
        """Over the classes in the truth, which all rows share.

        `Scores.macro` takes in any class that a rival has labelled by mistake: means over other
        classes from rival to rival.
        """
        known = [one for one in self.by_class(score) if one is not None]
        return float(np.mean(known)) if known else None

    def validation(self, what: str) -> float | None:
        """Of the validation block at the best epoch, by the log: "loss" or "mean_iou"."""
        return self.history[self.best_epoch - 1][f"validation_{what}"] if self.best_epoch else None

    def to_dict(self) -> dict[str, Any]:
        """For compare.json."""
        told = {name: value for name, value in self._asdict().items() if name not in _APART}
        recipe = self.recipe
        return {
            **told,
            "network": None if recipe is None else recipe.network,
            "settings": None if recipe is None else dict(recipe.settings),
            "validation_loss": self.validation("loss"),
            "validation_mean_iou": self.validation("mean_iou"),
            "scores": self._scores(),
        }

    def _scores(self) -> dict[str, Any] | None:
        if self.scores is None:
            return None
        told = self.scores.to_dict()
        macro = {name: self.mean(name) for name in told["macro"]}
        return told | {"mean_dice": macro["f1"], "mean_iou": macro["iou"], "macro": macro}


_APART = ("recipe", "scores", "history")


def best_of_sweep(rows: Sequence[Row]) -> Row | None:
    """The point with the highest mean IoU on the validation block.

    Its loss chooses the epoch, within a run. Between runs it is no measure: of Dice and Jaccard it
    is a mean over batches, which depends on their size.
    """
    points = [row for row in rows if row.swept and row.validation("mean_iou") is not None]
    return max(points, key=lambda row: row.validation("mean_iou") or 0.0, default=None)


class Example(NamedTuple):
    """A slice of the test block, all (y, x): what the pictures show."""

    raw: np.ndarray
    truth: np.ndarray
    counts: np.ndarray
    """bool: voxels that scores are over."""
    labels: dict[str, np.ndarray]
    """By the name of the rival."""
    place: int
    """z of the volume."""
    spacing: tuple[float, float]
    unit: str


class Comparison(NamedTuple):
    """What `compare` finds.

    Attributes
    ----------
    rows : list[Row]
        Rivals in the order given, the classical ones, the learning curve, ablation and sweep.
    names : tuple[str, ...]
        Of the classes.
    test : dict[str, Any]
        What all were scored on: blocks, slices, voxels.
    budget : dict[str, Any]
        Minutes of each (0: no limit, or not the same), device, versions.
    example : Example or None
    """

    rows: list[Row]
    names: tuple[str, ...]
    test: dict[str, Any]
    budget: dict[str, Any]
    example: Example | None = None

    def of(self, *roles: str) -> list[Row]:
        """The rows of some roles."""
        return [row for row in self.rows if row.role in roles]

    @property
    def best_of_sweep(self) -> Row | None:
        """The point of the sweep with the highest mean IoU on the validation block."""
        return best_of_sweep(self.rows)

    @property
    def tables(self) -> dict[str, Table]:
        """By name: "rivals", "report", "learning curve", "ablation", "sweep", "confusion"."""
        return tables_of(self)

    def to_dict(self) -> dict[str, Any]:
        """The content of compare.json."""
        best = self.best_of_sweep
        return {
            "classes": list(self.names),
            "test": self.test,
            "budget": self.budget,
            "best_of_sweep": None if best is None else best.name,
            "rows": [row.to_dict() for row in self.rows],
        }
