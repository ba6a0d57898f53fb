"""A run that ends with its minutes, and one that sees only some annotated slices."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from bimmjax import InputError, nets
from bimmjax.nets._train import train as loop
from bimmjax.nets._train.recipe import Recipe, recipe_of, recipe_text
from bimmjax.nets._train.schedule import Course, rate


class Clock:
    """Seconds as told: every epoch, which asks twice, takes as many."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._asked = seconds, 0

    def perf_counter(self) -> float:
        self._asked += 1
        return self._seconds * (self._asked // 2)


def test_the_budget_stops_after_the_epoch_that_passes_it(
    tiny, pair, settings, tmp_path, monkeypatch
):
    how = settings | {"epochs": 9, "steps": 1, "minutes": 0.5, "schedule": "constant"}
    monkeypatch.setattr(loop, "time", Clock(12.0))
    found = nets.train(how, *pair, tmp_path / "net")
    assert [row["seconds"] for row in found.history] == [12.0, 12.0, 12.0]
    told = json.loads((tmp_path / "net" / "train.json").read_text("utf-8"))
    assert (told["epochs"], told["minutes"], told["ended_by"]) == (3, 0.5, "minutes")
    assert told["minutes_spent"] == pytest.approx(0.6)
    # What was spent before counts: nothing is left, until there is more.
    assert len(nets.train(how, *pair, tmp_path / "net").history) == 3
    assert len(nets.train(how | {"minutes": 0.9}, *pair, tmp_path / "net").history) == 5
    assert len(nets.train(how | {"minutes": 0.0}, *pair, tmp_path / "net").history) == 9
    with pytest.raises(InputError, match=r"minutes = 0.5, not 0.0"):
        nets.train(how, *pair, tmp_path / "net")


def test_a_linear_rate_falls_by_the_share_that_is_larger():
    recipe = Recipe("unet", 2, learning_rate=1.0, epochs=100, minutes=2.0, hold=0.5)
    assert rate(recipe, Course(10, seconds=60.0), 0) == 1.0
    assert rate(recipe, Course(10, seconds=90.0), 0) == pytest.approx(0.55)
    assert rate(recipe, Course(75, seconds=10.0), 0) == pytest.approx(0.55)
    assert rate(recipe, Course(10, seconds=999.0), 0) == pytest.approx(0.1)


def test_few_slices_are_all_that_is_learned_from(tiny, pair, settings, tmp_path):
    grey, labels = pair
    how = settings | {"epochs": 1, "steps": 2, "split": (0.8, 0.2, 0.0), "margin": 0, "slices": 2}
    told = nets.train(how, grey, labels, tmp_path / "net")
    assert told.recipe.slices == 2
    summary = json.loads((tmp_path / "net" / "train.json").read_text("utf-8"))
    start, stop = summary["blocks"][0]["train"]
    size = stop - start
    # The middles of the two halves.
    held = [size // 4, 3 * size // 4]
    wanted = np.bincount(labels[held].ravel(), minlength=3)
    assert summary["training_voxels"] == wanted.tolist()
    with pytest.raises(InputError, match=rf"slices: got 99, more than the {size} labelled ones"):
        nets.train(how | {"slices": 99}, grey, labels, tmp_path / "more")
    pairs = [grey, grey, grey], [labels, labels, labels]
    nets.train(how | {"slices": 1}, *pairs, tmp_path / "several")
    summary = json.loads((tmp_path / "several" / "train.json").read_text("utf-8"))
    assert sum(summary["training_voxels"]) == labels[0].size


def test_minutes_and_slices_come_back_from_the_file(tmp_path):
    recipe = Recipe("unet", 2, minutes=1.5, slices=3)
    (tmp_path / "recipe.toml").write_text(recipe_text(recipe), "utf-8")
    assert recipe_of(tmp_path / "recipe.toml") == recipe
    for name, value in {"minutes": -1.0, "slices": -1}.items():
        with pytest.raises(InputError, match=f"{name}: got -1"):
            recipe_of({"network": "unet", "classes": 2, name: value})


def test_seconds_are_counted_by_the_clock(tiny, pair, settings, tmp_path):
    began = time.perf_counter()
    nets.train(settings | {"epochs": 2, "steps": 1}, *pair, tmp_path / "net")
    spent = time.perf_counter() - began
    told = json.loads((tmp_path / "net" / "train.json").read_text("utf-8"))
    assert 0.0 < 60.0 * told["minutes_spent"] <= spent
    assert told["ended_by"] == "epochs"
