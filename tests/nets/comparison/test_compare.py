"""Training and scoring several recipes: what is scored, what is kept, what is refused."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from flax import nnx

from bimmjax import InputError, evaluate, nets, open_volume
from bimmjax.nets._compare import compare as loop
from bimmjax.nets._train.recipe import recipe_text

BLOCK = slice(24, 30)
NAMES = ["flat", "stack", "solid", "flat-slices=1", "flat-slices=2", "flat-width=3",
         "flat-noise=0.5"]  # fmt: skip


def read(labels):
    return open_volume(labels).read(slice(None), slice(None), slice(None))


def told(found):
    """All but times."""
    rows = [row.to_dict() for row in found.rows]
    apart = ("minutes", "seconds_per_epoch", "seconds_per_image")
    return [{name: value for name, value in row.items() if name not in apart} for row in rows]


def test_scores_are_those_of_evaluate_on_what_predict_labels(tiny, compared, pair):
    found, out = compared
    grey, truth = pair
    assert found.test["blocks"] == [[BLOCK.start, BLOCK.stop]]
    assert found.test["voxels"] == int((truth[BLOCK] != 255).sum())
    assert [row.name for row in found.rows if row.recipe is not None] == NAMES
    for name in ("flat", "stack", "solid"):
        labels = read(nets.predict(out / name, grey))
        wanted = evaluate(labels[BLOCK], truth[BLOCK], classes=3, ignore=255)
        row = next(row for row in found.rows if row.name == name)
        np.testing.assert_array_equal(row.scores.confusion, wanted.confusion)
        assert row.scores.to_dict() == wanted.to_dict()
        assert row.seconds_per_image > 0.0
        z = found.example.place
        np.testing.assert_array_equal(found.example.labels[name], labels[z])
    np.testing.assert_array_equal(found.example.truth, truth[found.example.place])
    np.testing.assert_array_equal(found.example.raw, grey[found.example.place])


def test_all_learn_from_the_same_blocks_and_variations_differ_in_one_setting(compared):
    found, out = compared
    summaries = {name: json.loads((out / name / "train.json").read_text("utf-8")) for name in NAMES}
    assert len({str(one["blocks"]) for one in summaries.values()}) == 1
    voxels = {name: sum(one["training_voxels"]) for name, one in summaries.items()}
    slice_of = voxels["flat-slices=1"]
    assert voxels["flat-slices=2"] == 2 * slice_of
    assert {voxels[name] for name in NAMES if "slices" not in name} == {16 * slice_of}
    by_name = {row.name: row for row in found.rows}
    base = by_name["flat"].recipe
    assert by_name["flat-width=3"].recipe == replace(base, settings=base.settings | {"width": 3})
    assert by_name["flat-noise=0.5"].recipe == replace(base, noise=0.5)
    assert by_name["flat-slices=2"].recipe == replace(base, slices=2)
    assert [row.training_slices for row in found.of("learning curve")] == [1, 2]
    assert by_name["flat"].parameters == summaries["flat"]["parameters"]


def test_the_epoch_that_compiles_counts_in_no_time_per_epoch(compared):
    for row in compared[0].rows:
        if row.recipe is not None:
            assert row.seconds_per_epoch == row.history[1]["seconds"]


def test_a_variation_tells_the_slices_that_it_learns_from(
    tiny, pair, settings, tmp_path, monkeypatch
):
    def diverges(*_, **__):
        raise loop.Diverged("loss: got nan")

    monkeypatch.setattr(loop, "train", diverges)
    found = nets.compare(
        settings, *pair, tmp_path / "out", slices=[4], ablate=["every=4", "slices=5"]
    )
    assert [row.training_slices for row in found.rows] == [16, 4, 4, 5]
    few = settings | {"slices": 3}
    found = nets.compare(few, *pair, tmp_path / "few", ablate=["slices=0"])
    assert [row.training_slices for row in found.rows] == [3, 16]
    with pytest.raises(InputError, match="slices: got 3, more than the 2"):
        nets.compare(few, *pair, tmp_path / "more", ablate=["every=8"])


def test_what_is_written_says_what_is_returned(compared):
    found, out = compared
    whole = json.loads((out / "compare.json").read_text("utf-8"))
    assert whole.pop("finished") is True
    assert len(whole.pop("data")) == 64  # by which the volumes are known again
    assert whole == json.loads(json.dumps(found.to_dict()))
    with (out / "compare.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [row.name for row in found.rows]
    for line, row in zip(lines, found.rows, strict=True):
        assert float(line["iou_fibre"]) == row.scores.iou[1]
        assert float(line["mean_iou"]) == row.mean("iou")
    text = (out / "compare.md").read_text("utf-8")
    assert all(table.markdown() in text for table in found.tables.values())
    assert set(found.tables) == {"rivals", "report", "learning curve", "ablation", "confusion"}


def test_a_second_call_does_nothing_again(tiny, compared, pair, recipes, monkeypatch):
    found, out = compared
    before = {path: path.read_bytes() for path in out.rglob("*.json")}

    def never(*_, **__):
        raise AssertionError("predicted or fitted again")

    from bimmjax.nets._compare import score

    for name in ("predict", "classical_labels", "_seconds"):
        monkeypatch.setattr(score, name, never)
    again = nets.compare(
        recipes, *pair, out, names=found.names, slices=(2, 1), ablate=["width=3", "noise=0.5"],
        classical=("zeror", "bin-zeror", "otsu", "kmeans"),
    )  # fmt: skip
    assert again.to_dict() == found.to_dict()
    assert {path: path.read_bytes() for path in out.rglob("*.json")} == before


def test_resumed_after_a_kill_it_ends_with_the_same_tables(tiny, compared, pair, recipes, tmp_path):
    whole = compared[0]
    some = {name: recipes[name] for name in ("flat", "stack")}
    out = tmp_path / "out"

    def dies(what, done, total):
        if what == "Training stack" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nets.compare(some, *pair, out, classical=["otsu"], progress=dies)
    partial = json.loads((out / "compare.json").read_text("utf-8"))
    assert partial["finished"] is False
    assert [row["name"] for row in partial["rows"]] == ["flat", "otsu"]
    text = (out / "compare.md").read_text("utf-8")
    assert text.startswith("# Comparison, not finished\n")
    assert "flat" in text
    # As if it had died while it wrote labels: what is not told counts nowhere.
    (out / "flat" / "test.json").unlink()
    began = []
    found = nets.compare(
        some, *pair, out, classical=["otsu"], progress=lambda *told: began.append(told)
    )
    assert next(one for one in began if one[0] == "Training stack") == ("Training stack", 2, 4)
    wanted = [row for row in told(whole) if row["name"] in ("flat", "stack", "otsu")]
    assert told(found) == wanted


def test_interrupted_while_it_predicts_it_goes_on_even_with_other_weights(
    tiny, compared, pair, recipes, tmp_path, monkeypatch
):
    from bimmjax.nets._compare import score

    whole, finished = compared
    out = tmp_path / "out"
    out.mkdir()
    (out / "compare.json").write_text("{}")
    shutil.copytree(finished / "flat", out / "flat")
    (out / "flat" / "test.json").unlink()
    shutil.rmtree(out / "flat" / "test-0.zarr")

    def dies(done, total):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(
            score, "predict", lambda *given, **how: nets.predict(*given, **how | {"progress": dies})
        )
        with pytest.raises(KeyboardInterrupt):
            nets.compare({"flat": recipes["flat"]}, *pair, out)
    begun = out / "flat" / ".test-0.zarr.partial"
    assert begun.is_dir()
    shutil.copytree(finished / "flat-noise=0.5", out / "other")
    (out / "other" / "test.json").unlink()
    shutil.rmtree(out / "other" / "test-0.zarr")
    shutil.copytree(begun, out / "other" / begun.name)
    rivals = {"flat": recipes["flat"], "other": recipes["flat"] | {"noise": 0.5}}
    found = nets.compare(rivals, *pair, out)
    wanted = {row.name: row.scores for row in whole.rows}
    for row, name in zip(found.rows, ("flat", "flat-noise=0.5"), strict=True):
        np.testing.assert_array_equal(row.scores.confusion, wanted[name].confusion)
    assert not begun.exists()


def test_predicting_tells_voxel_by_voxel_how_far_it_is(
    tiny, compared, pair, recipes, tmp_path, monkeypatch
):
    from bimmjax.nets._compare import score

    def predict(net, image, out, **how):
        how["progress"](0, image[0].voxels)
        how["progress"](image[0].voxels // 2, image[0].voxels)
        raise KeyboardInterrupt

    monkeypatch.setattr(score, "predict", predict)
    out = tmp_path / "out"
    out.mkdir()
    (out / "compare.json").write_text("{}")
    shutil.copytree(compared[1] / "flat", out / "flat")
    (out / "flat" / "test.json").unlink()
    began = []
    with pytest.raises(KeyboardInterrupt):
        nets.compare(
            {"flat": recipes["flat"]}, *pair, out, progress=lambda *told: began.append(told)
        )
    total = 6 * 16 * 16
    assert began[-2:] == [("Predicting flat", 0, total), ("Predicting flat", total // 2, total)]


def test_other_data_are_scored_anew(tiny, compared, pair, recipes, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(compared[1] / "flat", out / "flat")
    (out / "compare.json").write_text("{}")
    grey, labels = pair
    weight = np.ones(labels.shape, np.float32)
    weight[BLOCK, 8:] = 0.0
    weight[BLOCK.start : BLOCK.start + 4] = 0.0
    one = {"flat": recipes["flat"]}
    found = nets.compare(one, grey, labels, out, weight=weight)
    last = slice(BLOCK.start + 4, BLOCK.stop)
    here = read(nets.predict(out / "flat", grey))[last, :8]
    wanted = evaluate(here, labels[last, :8], classes=3, ignore=255)
    # The slice that pictures show is one of those that count, and tells which voxels do.
    assert found.example is not None
    assert found.example.place in range(last.start, last.stop)
    z = found.example.place
    np.testing.assert_array_equal(found.example.counts, (labels[z] != 255) & (weight[z] > 0))
    assert found.rows[0].scores is not None
    np.testing.assert_array_equal(found.rows[0].scores.confusion, wanted.confusion)
    with pytest.raises(InputError, match="got other volumes than"):
        nets.compare(one, grey // 2, labels, out)


def test_several_specimens_and_channels_add_up(tiny, pair, settings, tmp_path):
    grey, labels = pair
    found = nets.compare(
        settings | {"epochs": 1}, [(grey, 255 - grey), (grey[:, ::-1], grey)],
        [labels, labels[:, ::-1]], tmp_path / "out", classical=["otsu"],
    )  # fmt: skip
    assert found.test["slices"] == 12
    assert found.rows[0].scores is not None
    assert found.rows[0].recipe is not None
    assert found.rows[0].scores.support.tolist() == [
        2 * int((labels[BLOCK] == k).sum()) for k in range(3)
    ]
    assert found.rows[0].recipe.channels == 2
    assert found.rows[0].seconds_per_epoch is None  # the only epoch compiles


def test_a_rival_that_diverges_is_told_and_the_others_go_on(tiny, pair, settings, tmp_path):
    class Bad(tiny.Tiny):
        def heads(self, x):
            return tuple(h * np.nan for h in super().heads(x))

    nets.NETWORKS["bad"] = Bad
    try:
        found = nets.compare(
            [settings | {"network": "bad"}, settings | {"epochs": 1}], *pair, tmp_path / "out"
        )
    finally:
        del nets.NETWORKS["bad"]
    bad, good = found.rows
    assert (bad.name, bad.scores) == ("bad", None)
    assert bad.error.startswith("loss: got nan")
    assert good.scores is not None
    text = (tmp_path / "out" / "compare.md").read_text("utf-8")
    assert "- bad: loss: got nan" in text
    assert json.loads((tmp_path / "out" / "compare.json").read_text("utf-8"))["finished"] is True


def test_the_budget_is_that_of_all(tiny, pair, settings, tmp_path, monkeypatch):
    seen = []

    def stop(recipe, *_, **__):
        seen.append(recipe.minutes)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", stop)
    with pytest.raises(KeyboardInterrupt):
        nets.compare(settings, *pair, tmp_path / "out", minutes=1.5)
    assert seen == [1.5]


def test_bad_input_is_refused_before_any_training(tiny, pair, settings, tmp_path, monkeypatch):
    grey, labels = pair

    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(loop, "train", never)
    unlabelled, unseen = labels.copy(), labels.copy()
    unlabelled[BLOCK] = 255
    unseen[16 : BLOCK.start] = 255
    alone = labels.copy()
    alone[1:16] = 0
    cases = {
        "recipes: got none": ([], {}),
        "classes: got 2 in tiny-2 and 3 in tiny": ([settings, settings | {"classes": 2}], {}),
        r"seed: got 1 in tiny-2 and 0 in tiny": ([settings, settings | {"seed": 1}], {}),
        r"split: got 0.8 0.2 0, wants a share for a test": (
            settings | {"split": (0.8, 0.2, 0.0)}, {},
        ),
        "classical: got 'otzu', wants one of": (settings, {"classical": ["otzu"]}),
        "names: got a, b, wants one for each of 3": (settings, {"names": ["a", "b"]}),
        "slices: got 99, more than the 16": (settings, {"slices": [99]}),
        "slices: got 0, wants a whole": (settings, {"slices": [0]}),
        "slices: got 1 1, wants each": (settings, {"slices": [1, 1]}),
        "ablate: got 'width', wants NAME=VALUE": (settings, {"ablate": ["width"]}),
        "ablate: got classes, which has": (settings, {"ablate": ["classes=2"]}),
        "ablate: got width=2, as it is already": (settings, {"ablate": ["width=2"]}),
        "ablate: got context=1, as it is already": (settings, {"ablate": ["context=1"]}),
        "ablate: got depth, no setting of tiny, which has dims, .*, nor of its recipe, .* batch": (
            settings, {"ablate": ["depth=2"]},
        ),
        "split: got 0.8 0 0.2, wants a share for a validation": (
            settings | {"split": (0.8, 0.0, 0.2)}, {"sweep": {"batch": [2, 4]}},
        ),
        "labels: got none within the validation block": (
            settings, {"sweep": {"batch": [2, 4]}, "labels": unseen},
        ),
        "sweep: got 102 combinations, wants 100 at most": (
            settings, {"sweep": {"batch": range(2, 53), "noise": [0.0, 0.1]}},
        ),
        "sweep: got split, which has": (settings, {"sweep": {"split": [(0.6, 0.2, 0.2)]}}),
        "sweep: got tiles, which has": (settings, {"sweep": {"tiles": [1, 2]}}),
        "sweep: got patch, which has": (settings, {"sweep": {"patch": [(8, 8), (16, 16)]}}),
        "sweep: got dims, which has": (settings, {"sweep": {"dims": [2, 3]}}),
        "sweep: got settings.dims, which has": (settings, {"sweep": {"settings.dims": [2, 3]}}),
        "sweep: got settings.classes, which": (settings, {"sweep": {"settings.classes": [2, 3]}}),
        "ablate: got settings.channels, which": (settings, {"ablate": ["settings.channels=2"]}),
        "settings: got seed, wants what the net": (settings, {"ablate": ["settings.seed=2"]}),
        r"patch: got \(8, 16\) for unet-depth=3 and \(12, 16\) for unet, wants one": (
            settings | {"network": "unet", "settings": {"depth": 2}, "patch": ()},
            {"sweep": {"depth": [2, 3]}, "labels": labels[:, :12], "images": grey[:, :12]},
        ),
        r"labels: got class 0 alone in the slices of .* \(tiny-slices=1\)": (
            settings, {"slices": [1], "labels": alone},
        ),
        "sweep: got batch = 2, wants a list": (settings, {"sweep": {"batch": 2}}),
        "sweep: got batch = 2 twice, wants each": (settings, {"sweep": ["batch=2,2"]}),
        "sweep: got batch twice": (settings, {"sweep": ["batch=2", "batch=4"]}),
        "sweep: got 'batch', wants NAME=VALUE,VALUE": (settings, {"sweep": ["batch"]}),
        "batch: got 0, wants a whole": (settings, {"sweep": {"batch": [0, 2]}}),
        "sweep: got lr, no setting of tiny, .* has .*learning_rate": (
            settings, {"sweep": {"lr": [1]}},
        ),
        "minutes: got -1": (settings, {"minutes": -1}),
        "recipes: got the name otsu": ({"otsu": settings}, {"classical": ["otsu"]}),
        "labels: got none within the test block": (settings, {"labels": unlabelled}),
        "labels: got none.tif, which does not exist": (settings, {"labels": "none.tif"}),
        "devices: got 3, wants a number that a batch of 2": (settings, {"devices": 3}),
        "recipe: got none.toml": ("none.toml", {}),
    }  # fmt: skip
    for text, (given, how) in cases.items():
        with pytest.raises(InputError, match=text) as error:
            nets.compare(
                given, **({"images": grey, "labels": labels, "out": tmp_path / "out"} | how)
            )
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="images: got none, and a recipe without paths"):
        nets.compare(settings, out=tmp_path / "out")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "file").write_text("")
    with pytest.raises(InputError, match="which is no comparison"):
        nets.compare(settings, *pair, tmp_path / "else")
    with pytest.raises(InputError, match="which is a file"):
        nets.compare(settings, *pair, tmp_path / "else" / "file")


def test_a_run_of_another_recipe_in_the_way_is_refused_at_once(
    tiny, compared, pair, recipes, monkeypatch
):
    def never(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(loop, "train", never)
    changed = recipes | {"solid": recipes["solid"] | {"batch": 4}}
    with pytest.raises(InputError, match=r"out: got .*solid, a run by another recipe \(batch"):
        nets.compare(changed, *pair, compared[1])


def test_a_comparison_of_other_volumes_is_refused_at_once(
    tiny, compared, pair, settings, tmp_path, monkeypatch
):
    """Whatever runs there are: a new one would be trained on volumes that the others are not."""

    def never(*_, **__):
        raise AssertionError("trained, or labelled")

    out, (grey, labels) = tmp_path / "out", pair
    shutil.copytree(compared[1], out)
    monkeypatch.setattr(loop, "train", never)
    monkeypatch.setattr(loop, "classical_scored", never)
    before = {path: path.read_bytes() for path in out.glob("compare.*")}
    other = np.where(labels == 2, 1, labels).astype(np.uint8)
    for images, right in ((grey // 2, labels), (grey, other), (grey[:, :12], labels[:, :12])):
        with pytest.raises(InputError, match=f"images: got other volumes than those of {out}"):
            nets.compare({"new": settings}, images, right, out, classical=["kmeans"])
    assert {path: path.read_bytes() for path in out.glob("compare.*")} == before
    with pytest.raises(AssertionError, match="trained, or labelled"):
        nets.compare({"new": settings}, grey // 2, labels, out, overwrite=True)


def test_a_sweep_is_judged_by_the_validation_block_and_goes_on(
    tiny, pair, settings, tmp_path, monkeypatch
):
    out, scored, run = tmp_path / "out", [], loop.network_scored
    grid = {"learning_rate": [1e-3, 1e-2], "batch": np.array([2, 4])}
    names = ["tiny", *(f"tiny-learning_rate={one}" for one in (
        "0.001-batch=2", "0.001-batch=4", "0.01-batch=4"
    ))]  # fmt: skip

    def remembers(folder, *given):
        scored.append(folder.name)
        return run(folder, *given)

    def dies(what, done, total):
        if what == f"Training {names[2]}" and done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(loop, "network_scored", remembers)
    with pytest.raises(KeyboardInterrupt):
        nets.compare(settings, *pair, out, sweep=grid, progress=dies)
    began = {}
    found = nets.compare(
        settings, *pair, out, sweep=grid, progress=lambda what, *n: began.setdefault(what, n)
    )
    assert [began[f"Training {name}"][0] for name in names] == [4, 4, 2, 0]
    # The point that is the rival itself is not trained again.
    assert [row.name for row in found.rows] == names
    wanted = []
    for name in names:
        with (out / name / "log.csv").open(encoding="utf-8", newline="") as file:
            lines = [{k: float(v) for k, v in one.items()} for one in csv.DictReader(file)]
        wanted.append(min(lines, key=lambda one: one["validation_loss"]))
    table = found.tables["sweep"]
    assert table.title == "Sweep of tiny"
    cells = [dict(zip(table.columns, one, strict=True)) for one in table.rows]
    assert [(one["learning_rate"], one["batch"]) for one in cells] == [
        (0.01, 2), (0.001, 2), (0.001, 4), (0.01, 4),
    ]  # fmt: skip
    for name, cell, line in zip(names, cells, wanted, strict=True):
        assert (cell["best epoch"], cell["of epochs"]) == (line["epoch"], 2)
        assert cell["validation loss"] == line["validation_loss"]
        assert cell["validation mean IoU (%)"] == 100.0 * line["validation_mean_iou"]
        recipe = nets.load(out / name)[1]
        assert (recipe.learning_rate, recipe.batch) == (cell["learning_rate"], cell["batch"])
    best = names[int(np.argmax([line["validation_mean_iou"] for line in wanted]))]
    assert [name for name, one in zip(names, cells, strict=True) if one["best"]] == [best]
    # It is scored once it is chosen, and of the others none but the rival.
    assert list(dict.fromkeys(scored)) == list(dict.fromkeys(["tiny", best]))
    for name, cell, row in zip(names, cells, found.rows, strict=True):
        assert (row.scores is not None) == (name in ("tiny", best))
        assert cell["test mean IoU (%)"] == (100.0 * row.mean("iou") if name == best else None)
    told = json.loads((out / "compare.json").read_text("utf-8"))
    assert told["best_of_sweep"] == best
    assert told["rows"][1]["swept"] == {"learning_rate": 0.001, "batch": 2}
    with (out / "compare.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [one["name"] for one in lines if one["best_of_sweep"] == "True"] == [best]
    assert lines[0]["swept"] == "learning_rate = 0.01, batch = 2"
    assert table.markdown() in (out / "compare.md").read_text("utf-8")
    assert lines[names.index(best)]["mean_iou"] != ""
    again = nets.compare(settings, *pair, out, sweep=grid)
    assert again.to_dict() == found.to_dict()


def test_nothing_looks_finished_that_is_gone_on_with(
    tiny, compared, pair, recipes, tmp_path, monkeypatch
):
    def stops(*_, **__):
        raise KeyboardInterrupt

    out = tmp_path / "out"
    shutil.copytree(compared[1], out)
    (out / "curves.png").write_bytes(b"")
    monkeypatch.setattr(loop, "train", stops)
    with pytest.raises(KeyboardInterrupt):
        nets.compare({"flat": recipes["flat"]}, *pair, out)
    assert [path.name for path in out.iterdir() if path.is_file()] == ["compare.json"]
    assert json.loads((out / "compare.json").read_text("utf-8"))["finished"] is False


def test_time_per_image_counts_how_often_blended_tiles_look(monkeypatch):
    """PSPNet's tiles overlap by half: their number in a slice is counted by hand."""
    from bimmjax.nets._compare import score
    from bimmjax.nets._train.load import built

    recipe = nets.recipe_of(
        {"network": "pspnet", "classes": 2, "channels": 1, "patch": (32, 32),
         "settings": {"width": 2, "layers": (1, 1, 1, 1)}}
    )  # fmt: skip
    net = nnx.eval_shape(lambda: built(recipe))
    moments = itertools.count()
    monkeypatch.setattr(score.time, "perf_counter", lambda: float(next(moments)))
    batches = []

    class Instant:
        """A network whose answers take a second of that clock."""

        def __init__(self, net, batch, tile, devices):
            assert (tile, devices) == ((32, 32), 1)
            batches.append(batch)

        def probabilities(self, images):
            assert images.shape == (batches[0], 32, 32, 1)
            return images

    monkeypatch.setattr(score, "Applied", Instant)
    seconds = score._seconds(net, recipe, (5, 128, 96))
    # 7 x 5 tiles begin 16 voxels apart, and a batch of them takes a second.
    assert seconds == pytest.approx(7 * 5 / batches[0])


def test_an_interrupted_overwrite_goes_on_without_it(
    tiny, compared, pair, recipes, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    shutil.copytree(compared[1], out)
    assert (out / "compare.md").read_text("utf-8").startswith("# Comparison\n")
    old = ["compare.csv", "compare.md", *(f"{name}.png" for name in loop.PICTURES)]
    for name in old[2:]:
        (out / name).write_bytes(b"")
    changed = {name: recipes[name] | {"batch": 4} for name in ("flat", "stack")}
    run, seen = loop.train, []

    def dies(*given, **how):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(given[3].name)
        return run(*given, **how)

    def dies_at_once(what, done, total):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "train", dies)
    how = {"classical": ["otsu"], "overwrite": True}
    with pytest.raises(KeyboardInterrupt):
        nets.compare(changed, *pair, out, **how, progress=dies_at_once)
    assert not [name for name in old if (out / name).exists()]
    assert json.loads((out / "compare.json").read_text("utf-8"))["finished"] is False
    with pytest.raises(KeyboardInterrupt):
        nets.compare(changed, *pair, out, **how)
    assert (out / "compare.md").read_text("utf-8").startswith("# Comparison, not finished\n")
    # Nothing of the earlier recipe is in the way, and what is finished stays.
    before = (out / "flat" / "log.csv").stat().st_mtime_ns

    def goes_on(recipe, images, labels, folder, **how):
        assert not how.get("overwrite")
        if folder.name == "stack":
            raise KeyboardInterrupt
        return run(recipe, images, labels, folder, **how)

    monkeypatch.setattr(loop, "train", goes_on)
    with pytest.raises(KeyboardInterrupt):
        nets.compare(changed, *pair, out, classical=["otsu"])
    assert (out / "flat" / "log.csv").stat().st_mtime_ns == before
    assert not (out / "stack" / "checkpoints").exists()


def test_recipe_files_lend_their_paths_and_names(tiny, pair, settings, tmp_path, monkeypatch):
    for name, array in zip(("grey", "labels"), pair, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    paths = {"images": ((str(tmp_path / "grey.npy"),),), "labels": (str(tmp_path / "labels.npy"),)}
    files = []
    for name in ("narrow", "wide"):
        folder = tmp_path / name
        folder.mkdir()
        recipe = nets.recipe_of(settings | paths | {"settings": {"width": 2 + len(files)}})
        (folder / "recipe.toml").write_text(recipe_text(recipe), "utf-8")
        files.append(folder / "recipe.toml")
    seen = []
    monkeypatch.setattr(loop, "train", lambda recipe, images, *_, **__: seen.append(recipe))
    with pytest.raises(InputError, match=r"wants one|which is no run"):  # nothing was trained
        nets.compare(files, out=tmp_path / "out")
    assert seen[0].images == paths["images"]
    other = tmp_path / "other.toml"
    text = files[1].read_text("utf-8").replace("grey.npy", "other.npy")
    other.write_text(text, "utf-8")
    with pytest.raises(InputError, match=r"images: got .*other.npy.* in other and .* in narrow"):
        nets.compare([files[0], other], out=tmp_path / "out")
