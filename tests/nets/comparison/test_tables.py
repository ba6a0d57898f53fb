"""Tables, pictures and names, from what is known."""

from __future__ import annotations

import csv
import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError, plot
from bimmjax.descriptors import scores
from bimmjax.nets import Comparison
from bimmjax.nets._compare.compare import PICTURES
from bimmjax.nets._compare.entry import entries, named
from bimmjax.nets._compare.result import Example, Row
from bimmjax.nets._compare.tables import csv_of, markdown_of
from bimmjax.nets._data.sampler import spread

UNET = {"network": "unet", "classes": 2}
HISTORY = tuple(
    {"epoch": n + 1, "learning_rate": 0.1, "training_loss": 1.0, "validation_loss": 1.0,
     "validation_mean_iou": 0.2 * n, "seconds": 30.0}
    for n in range(4)
)  # fmt: skip


def row(name: str, role: str = "rival", good: int = 90, **more) -> Row:
    return Row(
        name, role, scores=scores(np.array([[good, 100 - good], [5, 5]])), history=HISTORY,
        parameters=1234, **({"best_epoch": 4} | more),
    )  # fmt: skip


def comparison(*rows: Row, **more) -> Comparison:
    test = {"blocks": [[0, 1]], "slices": 1, "voxels": 110}
    budget = {"minutes": None, "device": "1 x cpu", "versions": {}}
    return Comparison(list(rows), ("matrix", "pore"), test, budget, **more)


def test_the_table_of_rivals_has_the_figures():
    table = comparison(row("unet", minutes=2.0), row("otsu", "classical", 50)).tables["rivals"]
    line = dict(zip(table.columns, table.rows[0], strict=True))
    assert line["IoU matrix (%)"] == pytest.approx(100 * 90 / 105)
    assert line["IoU pore (%)"] == pytest.approx(100 * 5 / 20)
    assert line["mean IoU (%)"] == pytest.approx(50 * (90 / 105 + 5 / 20))
    assert line["MP (%)"] == pytest.approx(100 * 15 / 110)
    assert line["MGP pore (%)"] == pytest.approx(50.0)
    text = table.markdown()
    assert "| unet | 1,234 |" in text
    assert "| 85.71 | 25.00 | 55.36 |" in text


def test_an_ablation_tells_differences_to_its_base():
    found = comparison(
        row("unet"), row("unet-a", "ablation", 80, of="unet", change="a = 1"),
        Row("unet-b", "ablation", of="unet", change="b = 2", error="loss: got nan"),
    )  # fmt: skip
    columns, rows = found.tables["ablation"][1:]
    base, worse, failed = (dict(zip(columns, one, strict=True)) for one in rows)
    assert base["change"] == "none (unet)"
    assert worse["Δ matrix"] == pytest.approx(100 * (80 / 105 - 90 / 105))
    assert worse["Δ mean"] == pytest.approx(worse["mean IoU (%)"] - base["mean IoU (%)"])
    assert failed["Δ mean"] is None
    assert "- unet-b: loss: got nan" in markdown_of(found)
    assert csv_of(found).count("\n") == 4


def test_a_learning_curve_ends_with_the_rival_itself():
    found = comparison(
        row("unet", training_slices=30),
        *(row(f"unet-{n}", "learning curve", n, of="unet", training_slices=n) for n in (10, 3)),
    )
    assert [line[1] for line in found.tables["learning curve"].rows] == [3, 10, 30]


def test_a_class_that_is_nowhere_has_no_score():
    absent = Row("unet", "rival", scores=scores(np.array([[9, 0], [0, 0]])))
    table = comparison(absent).tables["rivals"]
    line = dict(zip(table.columns, table.rows[0], strict=True))
    assert line["IoU pore (%)"] is None
    assert line["mean IoU (%)"] == 100.0
    assert comparison(absent).tables["confusion"].rows[1][2:] == (None, None, 0)


def test_means_are_over_the_same_classes_for_all():
    """A class that only one rival knows of: it has lost those voxels, and no class more."""
    truth = {"right": [[8, 0], [0, 0]], "wrong": [[4, 4], [0, 0]]}
    found = comparison(
        *(Row(name, "rival", scores=scores(np.array(matrix))) for name, matrix in truth.items())
    )
    rows = found.tables["rivals"]
    lines = [dict(zip(rows.columns, one, strict=True)) for one in rows.rows]
    assert [line["mean IoU (%)"] for line in lines] == [100.0, 50.0]
    assert [line["IoU pore (%)"] for line in lines] == [None, None]
    assert [line["mean Dice (%)"] for line in lines] == [100.0, pytest.approx(200 / 3)]
    told = [row.to_dict()["scores"] for row in found.rows]
    assert [one["mean_iou"] for one in told] == [1.0, 0.5]
    assert [one["macro"]["recall"] for one in told] == [1.0, 0.5]
    macro = [one for one in found.tables["report"].rows if one[1] == "macro"]
    assert [one[-2] for one in macro] == [100.0, 50.0]
    text = list(csv.DictReader(io.StringIO(csv_of(found))))
    assert [one["mean_iou"] for one in text] == ["1.0", "0.5"]
    assert [one["iou_pore"] for one in text] == ["", ""]
    curve = comparison(
        row("unet", training_slices=9), *(
            one._replace(role="learning curve", of="unet", training_slices=n + 1)
            for n, one in enumerate(found.rows)
        )
    )  # fmt: skip
    drawn = plot.annotation(curve._replace(rows=curve.rows[1:])).axes[0]
    assert [line.get_label() for line in drawn.lines] == ["matrix", "mean"]


def test_the_class_of_mgp_is_named():
    one = scores(np.diag([5, 5, 0]) + np.array([[0, 0, 0], [1, 0, 2], [0, 0, 0]]))
    names = ("matrix", "fibre", "pore")
    found = comparison(Row("unet", "rival", scores=one))._replace(names=names)
    table = found.tables["rivals"]
    line = dict(zip(table.columns, table.rows[0], strict=True))
    assert line["MGP fibre (%)"] == pytest.approx(100 * 3 / 8)
    assert "mgp_fibre" in csv_of(found)
    failed = comparison(Row("unet", "rival", error="loss: got nan"))
    assert failed.tables["rivals"].columns[-1] == "MGP (%)"


def test_columns_that_break_tables_do_not():
    assert "| a\\|b |" in comparison(row("a|b")).tables["rivals"].markdown()


@given(
    st.lists(st.sampled_from([None, "a/recipe.toml", "a.toml", "b.toml", "unet.toml"]), min_size=1)
)
@settings(max_examples=50, deadline=None)
def test_every_rival_has_a_name_of_its_own(sources):
    found = named([(source, UNET) for source in sources])
    assert len(found) == len(sources)
    assert next(iter(found)) == {"a/recipe.toml": "a", "a.toml": "a", "b.toml": "b"}.get(
        sources[0], "unet"
    )


@given(st.lists(st.integers(0, 9), min_size=1, max_size=5), st.data())
@settings(max_examples=100, deadline=None)
def test_few_slices_are_spread_evenly(sizes, data):
    total = sum(sizes)
    if total == 0:
        return
    wanted = data.draw(st.integers(1, total))
    found = spread([np.arange(n) for n in sizes], wanted)
    starts = np.cumsum([0, *sizes[:-1]])
    places = np.concatenate([s + one for s, one in zip(starts, found, strict=True)])
    assert places.size == wanted
    gaps = np.diff([places[-1] - total, *places])
    assert gaps.max() - gaps.min() <= 1 + (wanted == 1)


def test_variations_of_recipes():
    noisy = UNET | {"network": "modular-unet"}
    made = entries(
        {"unet": noisy, "unet-2": noisy}, given=True, minutes=2.0, slices=(3, 1), each=True,
        ablate={"depth": 2, "patch": (64, 64), "settings.noise": 0.5, "noise": 0.5},
    )  # fmt: skip
    assert [one.name for one in made] == [
        "unet", "unet-2", "unet-slices=1", "unet-slices=3", "unet-2-slices=1", "unet-2-slices=3",
        "unet-depth=2", "unet-patch=_64_64_", "unet-settings.noise=0.5", "unet-noise=0.5",
    ]  # fmt: skip
    assert {one.recipe.minutes for one in made} == {2.0}
    assert made[6].recipe.settings == {"depth": 2}
    assert made[7].recipe.patch == (64, 64)
    assert made[7].change == "patch = [64, 64]"
    assert (made[8].recipe.settings, made[8].recipe.noise) == ({"noise": 0.5}, 0.0)
    assert (made[9].recipe.settings, made[9].recipe.noise) == ({}, 0.5)


def test_points_of_a_sweep():
    base = UNET | {"batch": 2}
    noisy = base | {"network": "modular-unet"}
    made = entries(
        {"unet": noisy, "unet-2": noisy}, given=True, ablate=["batch=4"],
        sweep=["batch=2,4", "epochs=100,200", "loss=dice+mse,jaccard2", "settings.noise=0.5",
               "class_weights=[1,2]"],
    )  # fmt: skip
    points = made[3:]
    assert len(points) == 8
    assert {one.role for one in points} == {"sweep"}
    assert points[1].name == "unet-batch=2-epochs=100-loss=jaccard2-settings.noise=0.5-" + (
        "class_weights=_1_2_"
    )
    assert points[0].change == (
        "batch = 2, epochs = 100, loss = dice+mse, settings.noise = 0.5, class_weights = [1, 2]"
    )
    found = {(one.recipe.batch, one.recipe.epochs, one.recipe.loss) for one in points}
    assert found == set(itertools.product((2, 4), (100, 200), ("dice+mse", "jaccard2")))
    assert all(one.recipe.settings == {"noise": 0.5} for one in points)
    # Values are plain, for compare.json.
    made = entries(base, given=True, sweep={"class_weights": [(np.int64(1), np.float32(2.0))]})
    assert json.dumps(made[1].swept) == '{"class_weights": [1, 2.0]}'
    assert made[1].name == "unet-class_weights=_1_2.0_"
    # What the recipe says already is the rival itself.
    made = entries(base, given=True, sweep={"batch": [2, 4], "norm": [True]})
    assert [one.name for one in made] == [
        "unet",
        "unet-batch=2-norm=true",
        "unet-batch=4-norm=true",
    ]
    made = entries(base, given=True, sweep={"batch": [2, 4]})
    assert [(one.name, one.swept) for one in made] == [
        ("unet", {"batch": 2}), ("unet-batch=4", {"batch": 4}),
    ]  # fmt: skip


def test_the_best_of_a_sweep_has_the_highest_mean_iou_at_its_best_epoch():
    """Not the lowest loss: of Dice and Jaccard it depends on the batch."""
    points = [
        row("unet", best_epoch=2, swept={"batch": 2}),
        row("unet-b", "sweep", best_epoch=3, swept={"batch": 4}, of="unet"),
        Row("unet-c", "sweep", swept={"batch": 9}, of="unet", history=HISTORY, error="loss: nan"),
    ]
    lower = tuple(line | {"validation_loss": 0.1} for line in HISTORY)
    points[0] = points[0]._replace(history=lower)
    found = comparison(*points)
    best = found.best_of_sweep
    assert best is not None
    assert best.name == "unet-b"
    table = found.tables["sweep"]
    assert [one[-2] for one in table.rows] == ["", "best", ""]
    # Of the others the test block is not looked at, and of a rival among them not told here.
    test = [None, pytest.approx(50 * (90 / 105 + 5 / 20)), None]
    assert [one[-1] for one in table.rows] == test
    assert [one[1] for one in table.rows] == [2, 3, None]
    text = markdown_of(found)
    assert "where it is the last, more may be better" in text
    assert "- unet-c: loss: nan" in text
    axes = plot.swept(found).axes[0]
    named = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert named == ["batch 4: 40.0 %", "batch 2: 20.0 %"]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [0.1] * 4)


def test_the_picture_of_predictions_marks_what_is_wrong():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (20, 30)).astype(np.uint8)
    labels = truth.copy()
    labels[:2] = 1 - labels[:2]
    truth[19] = 255
    counts = truth != 255
    counts[1] = False  # without a weight, say
    example = Example(
        rng.random((20, 30)), truth, counts, {"unet": labels, "otsu": truth}, 7, (1.0, 1.0), "voxel"
    )
    made = plot.predictions(comparison(row("unet"), row("otsu", "classical"), example=example))
    titles = [axes.get_title(loc="left") for axes in made.axes]
    assert titles[:3] == ["raw, z = 7", "unet, IoU 55.4 %", "otsu, IoU 55.4 %"]
    assert titles[3:] == ["truth", f"wrong here: {100 * 1 / 18:.2f} %", "wrong here: 0.00 %"]
    marked = made.axes[4].images[1].get_array()
    np.testing.assert_array_equal(~np.ma.getmaskarray(marked)[:, 0], np.arange(20) < 1)
    assert made.axes[3].images[0].get_array()[19].tolist() == [2] * 30
    with pytest.raises(InputError, match="found: got no labels"):
        plot.predictions(comparison(row("unet")))


def test_compiling_is_no_part_of_the_time_but_of_a_budget():
    slow = [line | {"seconds": 300.0 if n == 0 else 30.0} for n, line in enumerate(HISTORY)]
    found = comparison(row("unet")._replace(history=slow))
    by_time = plot.learned(found).axes[1]
    np.testing.assert_allclose(by_time.lines[0].get_xdata(), [0.5, 1.0, 1.5, 2.0])
    assert "without compiling" in by_time.get_xlabel()
    by_time = plot.learned(found._replace(budget=found.budget | {"minutes": 6.0})).axes[1]
    np.testing.assert_allclose(by_time.lines[0].get_xdata(), [5.0, 5.5, 6.0, 6.5])


def test_matrices_and_curves():
    found = comparison(
        row("unet", training_slices=30), row("otsu", "classical", 50),
        row("unet-3", "learning curve", 70, of="unet", training_slices=3),
    )  # fmt: skip
    made = plot.confusions(found)
    assert [axes.get_title(loc="left") for axes in made.axes] == ["unet", "otsu"]
    assert [text.get_text() for text in made.axes[0].texts] == ["90.0", "10.0", "50.0", "50.0"]
    by_epoch, by_time = plot.learned(found).axes
    np.testing.assert_allclose(by_epoch.lines[0].get_ydata(), [0.0, 0.2, 0.4, 0.6])
    np.testing.assert_allclose(by_time.lines[0].get_xdata(), [0.5, 1.0, 1.5, 2.0])
    curve = plot.annotation(found).axes[0]
    np.testing.assert_array_equal(curve.lines[0].get_xdata(), [3, 30])
    np.testing.assert_allclose(curve.lines[0].get_ydata(), [70 / 105, 90 / 105])
    assert list(plot.comparison(found)) == ["curves", "learning_curve"]
    pixels = np.zeros((4, 6), np.uint8)
    seen = Example(pixels, pixels, pixels == 0, {"unet": pixels}, 0, (1.0, 1.0), "voxel")
    rows = [found.rows[0]._replace(swept={"batch": 2}), *found.rows[1:]]
    # All of them are removed where a comparison begins anew.
    assert tuple(plot.comparison(comparison(*rows, example=seen))) == PICTURES
    nothing = comparison(Row("unet", "rival", error="loss: got nan"))
    assert plot.comparison(nothing) == {}
    for draw in (plot.confusions, plot.learned, plot.annotation, plot.swept):
        with pytest.raises(InputError, match="found: got no"):
            draw(comparison(Row("unet", "rival")))
