"""Settings: of the right kinds, and plain, whatever they were given as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bimmjax import InputError, nets
from bimmjax.nets import recipe_of
from bimmjax.nets._train.recipe import recipe_text

LEAST = {"network": "unet", "classes": 2}


@pytest.mark.parametrize(("change", "text"), [
    ({"patch": 64}, r"patch: got 64, wants a list"),
    ({"patch": "64 64"}, r"patch: got '64 64', wants a list"),
    ({"class_weights": 0.5}, r"class_weights: got 0.5, wants a list"),
    ({"class_weights": ("a", "b")}, r"class_weights: got 'a', wants a number"),
    ({"loss": 3}, r"loss: got 3, wants a name"),
    ({"split": 0.7}, r"split: got 0.7, wants a list"),
    ({"split": (0.7, None, 0.3)}, r"split: got None, wants a number"),
    ({"network": ["unet"]}, r"network: got \('unet',\), wants a name"),
    ({"settings": [3]}, r"settings: got \(3,\), wants names and values"),
    ({"settings": {"classes": 3}}, r"settings: got classes, wants what the network alone has"),
    ({"labels": 5}, r"labels: got 5, wants a list of paths"),
    ({"labels": (5,)}, r"labels: got 5, wants a path"),
    ({"images": ((5,),)}, r"images: got 5, wants a path"),
    ({"frozen_norms": 1}, r"frozen_norms: got 1, wants true or false"),
    ({"normalise": ["std"]}, r"normalise: got \('std',\), wants one of"),
])  # fmt: skip
def test_settings_of_another_kind_are_refused(change, text):
    with pytest.raises(InputError, match=text):
        recipe_of(LEAST | change)
    with pytest.raises(InputError, match="recipe: got 5, wants settings by name, or a path"):
        recipe_of(5)


def test_settings_are_plain_however_they_were_given(tmp_path):
    told = LEAST | {
        "learning_rate": np.float64(1e-3), "epochs": np.int64(3), "class_weights": np.ones(2),
        "patch": np.array([8, 8]), "split": [np.float32(0.5), 0.5, 0], "frozen_norms": np.True_,
        "settings": {"depth": np.int32(3), "widths": np.array([4, 8]), "backbone": None},
        "labels": Path("labels.tif"), "images": [Path("one.tif"), "two.tif"],
    }  # fmt: skip
    recipe = recipe_of(told)
    assert recipe.images == (("one.tif", "two.tif"),)
    assert recipe.labels == ("labels.tif",)
    assert recipe.settings == {"depth": 3, "widths": (4, 8)}  # a file knows no None
    text = recipe_text(recipe)
    assert "learning_rate = 0.001\n" in text
    assert "epochs = 3\n" in text
    (tmp_path / "recipe.toml").write_text(text, "utf-8")
    assert recipe_of(tmp_path / "recipe.toml") == recipe


@pytest.mark.parametrize("row", ["2", "2,0.1,0.2"])
def test_a_damaged_log_is_told(tmp_path, row):
    (tmp_path / "log.csv").write_text(f"epoch,loss\n1,0.5\n{row}\n", "utf-8")
    with pytest.raises(InputError, match=r"whose log\.csv cannot be read \(a row of another"):
        nets.read_log(tmp_path)
