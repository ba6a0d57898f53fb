"""The steps from raw stacks to labels, one after the other, again, and after being stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from bimmjax import InputError, sim
from bimmjax.fib import fill, plan_of, reconstruct
from bimmjax.fib._pipeline import step as step_module
from bimmjax.volumes import open_volume

EVERYTHING = (slice(None),) * 3
PLAN = {
    "pixel": 5.0,
    "unit": "nm",
    "depth": {"source": "even", "mean": 15.0},
    "label": {"method": "otsu"},
    "fill": {"method": "spline"},
    "register": {"reach": 6},
}
STEPS = ("register", "clean", "label", "thickness", "place", "fill", "describe")


@pytest.fixture(scope="module")
def body():
    wave = sim.levelled_wave(jax.random.key(0), (49, 48, 48), 0.5, 16.0)
    return np.asarray(sim.structure_labels(wave))


@pytest.fixture(scope="module")
def stacks(body):
    rng = np.random.default_rng(0)
    slices = body[::3].astype(np.float32)
    return {
        name: np.round(40 + 150 * slices + rng.normal(0, 6, slices.shape)).astype(np.uint8)
        for name in ("1", "2")
    }


def labels_of(made):
    return made.labels.read(*EVERYTHING)


def test_still_slices_give_what_the_parts_give(body, stacks, tmp_path):
    plan = PLAN | {"register": {"skip": True}, "clean": {"brightness": False}}
    made = reconstruct(stacks, tmp_path / "made", plan)
    assert list(made.steps) == list(STEPS)
    wanted = fill(body[::3], np.arange(17) * 3, method="spline").read(*EVERYTHING)
    np.testing.assert_array_equal(labels_of(made), wanted)
    assert made.labels.spacing == (5.0, 5.0, 5.0)
    assert made.labels.unit == "nm"
    told = json.loads((tmp_path / "made" / "reconstruct.json").read_text())
    assert told["steps"]["place"]["places"] == list(range(0, 49, 3))
    share = float(labels_of(made).mean())
    assert told["steps"]["describe"]["volume_fractions"][1] == pytest.approx(share)


def test_known_drift_is_undone(body, tmp_path):
    """Whole pixels, so that the truth is known to the voxel."""
    walk = np.random.default_rng(1).integers(-2, 3, (17, 2))
    walk[0] = 0
    slices = np.tile(body[:17].astype(np.float32), (1, 2, 2))
    moved = np.stack([np.roll(s, tuple(w), (0, 1)) for s, w in zip(slices, walk, strict=True)])
    plan = PLAN | {"register": {"reach": 6}, "label": {"method": "otsu"}}
    made = reconstruct({"2": moved}, tmp_path / "made", plan, until="label")
    found = np.asarray(made.steps["register"].told["shifts"]["2"])
    steps = np.diff(found, axis=0) + np.diff(walk, axis=0)
    # The structure itself seems to move a little from slice to slice.
    assert np.sqrt((steps**2).mean()) < 0.5 * np.sqrt((np.diff(walk, axis=0) ** 2).mean())


def test_nothing_is_done_twice(stacks, tmp_path):
    out = tmp_path / "made"
    first = reconstruct(stacks, out, PLAN)
    again = reconstruct(stacks, out, PLAN)
    assert [done.fresh for done in first.steps.values()] == [True] * 7
    assert [done.fresh for done in again.steps.values()] == [False] * 7
    assert again.to_dict() == first.to_dict()


@pytest.mark.parametrize(
    ("change", "anew"),
    [
        ({"fill": {"method": "nearest"}}, ["fill", "describe"]),
        ({"depth": {"source": "even", "mean": 20.0}}, ["thickness", "place", "fill", "describe"]),
        # Thickness that is not told by the images knows no labels.
        ({"label": {"method": "otsu", "phases": 3}}, ["label", "place", "fill", "describe"]),
        ({"clean": {"denoise": "median"}}, ["clean", "label", "place", "fill", "describe"]),
        ({"register": {"reach": 5}}, list(STEPS)),
        ({"order": "grey"}, ["place", "fill", "label", "describe"]),
    ],
)
def test_only_what_has_changed_is_done_again(stacks, tmp_path, change, anew):
    out = tmp_path / "made"
    reconstruct(stacks, out, PLAN)
    again = reconstruct(stacks, out, PLAN | change)
    fresh = [name for name, done in again.steps.items() if done.fresh]
    assert fresh == anew
    whole = reconstruct(stacks, tmp_path / "anew", PLAN | change)
    np.testing.assert_array_equal(labels_of(again), labels_of(whole))


def test_another_file_of_the_same_name_is_another_stack(stacks, tmp_path):
    path = tmp_path / "1.npy"
    np.save(path, stacks["1"])
    first = reconstruct({"1": str(path)}, tmp_path / "made", PLAN)
    np.save(path, stacks["1"][:, ::-1].copy())
    second = reconstruct({"1": str(path)}, tmp_path / "made", PLAN)
    assert all(done.fresh for done in second.steps.values())
    assert first.steps["register"].digest != second.steps["register"].digest


@pytest.mark.parametrize("stopped", STEPS)
def test_stopped_before_a_step_is_told_done_it_goes_on(stacks, tmp_path, monkeypatch, stopped):
    whole = reconstruct(stacks, tmp_path / "whole", PLAN)
    write = step_module._write

    def dies(path, told):
        if path.name == "step.json" and path.parent.name == stopped:
            raise KeyboardInterrupt
        write(path, told)

    monkeypatch.setattr(step_module, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(stacks, tmp_path / "made", PLAN)
    monkeypatch.undo()
    made = reconstruct(stacks, tmp_path / "made", PLAN)
    before = STEPS.index(stopped)
    assert [done.fresh for done in made.steps.values()] == [False] * before + [True] * (7 - before)
    np.testing.assert_array_equal(labels_of(made), labels_of(whole))
    assert made.to_dict() == whole.to_dict()


_CHILD = """
import sys, json
import numpy as np
from bimmjax.fib import reconstruct
folder, plan = sys.argv[1], json.loads(sys.argv[2])
stacks = {name: folder + f"/{name}.npy" for name in ("1", "2")}
print("begun", flush=True)
reconstruct(stacks, folder + "/made", plan,
            progress=lambda what, done, total: print(what, flush=True))
"""


def test_killed_in_the_middle_it_ends_with_the_same_result(stacks, tmp_path):
    """By SIGKILL while a volume is written, in one step after another."""
    for name, stack in stacks.items():
        np.save(tmp_path / f"{name}.npy", stack)
    plan = dict(PLAN)
    words = [sys.executable, "-c", _CHILD, str(tmp_path), json.dumps(plan)]
    kills = 0
    for what in ("register: 1", "label: labels", "fill: labels"):
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
        assert child.stdout is not None
        for line in child.stdout:
            if line.strip() == what:
                child.send_signal(signal.SIGKILL)
                kills += 1
                break
        child.wait()
        child.stdout.close()
    assert kills == 3
    sources = {name: str(tmp_path / f"{name}.npy") for name in stacks}
    made = reconstruct(sources, tmp_path / "made", plan)
    whole = reconstruct(sources, tmp_path / "whole", plan)
    np.testing.assert_array_equal(labels_of(made), labels_of(whole))
    assert made.to_dict()["steps"] == whole.to_dict()["steps"]


def test_grey_values_can_be_filled_before_they_are_labelled(stacks, tmp_path):
    made = reconstruct(stacks, tmp_path / "made", PLAN | {"order": "grey"})
    assert list(made.steps)[2:] == ["thickness", "place", "fill", "label", "describe"]
    assert made.labels.shape[0] == 49
    assert made.steps["fill"].volume("2").dtype == np.uint8
    slices = made.steps["clean"].volume("2").read(*EVERYTHING)
    kept = made.steps["fill"].volume("2").read(*EVERYTHING)[::3]
    np.testing.assert_array_equal(kept, slices)


def test_thickness_from_a_file_moves_slices(stacks, tmp_path):
    path = tmp_path / "t.csv"
    told = [15.0] * 15 + [25.0]
    path.write_text("thickness\n" + "\n".join(map(str, told)) + "\n")
    plan = PLAN | {"depth": {"source": "file", "file": str(path)}}
    made = reconstruct(stacks, tmp_path / "made", plan, until="place")
    assert made.steps["place"].told["places"] == [*range(0, 46, 3), 50]
    slices = made.steps["place"].volume("labels").read(*EVERYTHING)
    assert set(np.unique(slices[1])) == {255}


def test_leading_slices_are_dropped_and_their_thicknesses(stacks, tmp_path):
    path = tmp_path / "t.csv"
    told = [50.0, *range(15, 30)]
    path.write_text("\n".join(map(str, told)) + "\n")
    plan = PLAN | {"depth": {"source": "file", "file": str(path)}, "register": {"drop": 2}}
    made = reconstruct(stacks, tmp_path / "made", plan, until="thickness")
    assert made.steps["thickness"].told["thickness"] == [float(t) for t in told[2:]]
    assert made.steps["clean"].volume("1").shape[0] == 15


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"depth": {"source": "even"}}, r"depth\.mean: got none"),
        ({"depth": {"source": "even", "mean": -1.0}}, "depth.mean: got -1"),
        ({"depth": {"source": "file"}}, "depth.file: got none"),
        ({"depth": {"source": "ruler"}}, "depth.ruler: got none"),
        ({"depth": {"source": "even", "mean": 4.0}}, "spacing: got 5"),
        ({"fill": {"spacing": 40.0}}, "spacing: got 40"),
        ({"fill": {"method": "magic"}}, "fill.method: got 'magic'"),
        ({"fill": {"methods": "spline"}}, "plan: got fill.methods, wants one of fill.spacing"),
        ({"register": {"drop": 16}}, "stacks: got 17 slices"),
        ({"register": {"reference": "3"}}, "register.reference: got 3"),
        ({"register": {"region": [0, 60, 0, 10]}}, "register.region: got 0 60 0 10"),
        ({"register": {"tilt": 95}}, "register.tilt: got 95"),
        ({"crop": [10, 10, 0, 5]}, "crop: got"),
        ({"crop": [10, 20, 0]}, "plan: got crop"),
        ({"pixel": "5"}, "plan: got pixel = '5', wants a number"),
        ({"label": {"method": "otsu", "fit": "gmm"}}, "label: got fit and method"),
        ({"label": {"network": "nowhere"}}, "label.network: got nowhere"),
        ({"label": {"networks": {"3": "nowhere"}}}, "label.networks: got one for stack 3"),
        ({"label": {"method": "otsu", "stack": "7"}}, "label.stack: got 7"),
        ({"order": "grey", "fill": {"method": "learned"}}, "fill.method: got"),
        ({"order": "blue"}, "order: got 'blue'"),
        ({"label": {"fit": "bimm2d"}}, "label.fit: got"),
        ({"label": {"networks": {"1": 5}}}, "plan: got label.networks.1 = 5, wants a path"),
        ({"fill": {"method": "spline", "network": "slices"}}, "fill.network: got one"),
        ({"fill": {"network": "none.safetensors"}}, "fill.network: got none.safetensors"),
        ({"order": "layers", "fill": {"method": "spline"}}, "fill: got a method"),
    ],
)
def test_bad_settings_are_told_before_any_work(stacks, tmp_path, change, match):
    with pytest.raises(InputError, match=match):
        reconstruct(stacks, tmp_path / "made", PLAN | change)
    assert not (tmp_path / "made").exists()


def test_bad_stacks_are_told(stacks, tmp_path):
    out = tmp_path / "made"
    with pytest.raises(InputError, match="stacks: got none"):
        reconstruct({}, out, PLAN)
    with pytest.raises(InputError, match="wants stacks of one shape"):
        reconstruct({"1": stacks["1"], "2": stacks["2"][:-1]}, out, PLAN)
    with pytest.raises(InputError, match="stacks: got 1 slices"):
        reconstruct({"1": stacks["1"][:1]}, out, PLAN)
    with pytest.raises(InputError, match="stacks: got name"):
        reconstruct({"../x": stacks["1"]}, out, PLAN)
    with pytest.raises(InputError, match="none can be registered"):
        reconstruct({"1": np.zeros((5, 40, 40))}, out, PLAN)


def test_a_folder_of_something_else_is_left_alone(stacks, tmp_path):
    out = tmp_path / "made"
    out.mkdir()
    (out / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="which holds thesis\\.txt and no reconstruction"):
        reconstruct(stacks, out, PLAN)
    reconstruct(stacks, out, PLAN, until="register", overwrite=True)
    assert (out / "thesis.txt").read_text() == "all of it"


def test_a_plan_is_read_from_a_file_with_paths_beside_it(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        'pixel = 5\n[stacks]\n1 = "a.tif"\n[depth]\nsource = "file"\nfile = "t.csv"\n'
        '[label]\nfit = "gmm"\n'
    )
    plan = plan_of(path)
    assert plan.stacks == {"1": str(tmp_path / "a.tif")}
    assert plan.depth.file == str(tmp_path / "t.csv")
    assert plan.label.fit == "gmm"
    path.write_text("pixel = ")
    with pytest.raises(InputError, match="which is no TOML"):
        plan_of(path)


def test_volumes_of_a_step_open_by_themselves(stacks, tmp_path):
    reconstruct(stacks, tmp_path / "made", PLAN, until="register")
    volume = open_volume(tmp_path / "made" / "register" / "2.zarr")
    assert volume.unit == "nm"
    assert volume.spacing[1:] == (5.0, 5.0)


def test_time_does_not_matter_only_content_and_settings(stacks, tmp_path):
    """Arrays are told apart by what they hold."""
    reconstruct(stacks, tmp_path / "made", PLAN, until="register")
    time.sleep(0.01)
    copies = {name: stack.copy() for name, stack in stacks.items()}
    assert (
        not reconstruct(copies, tmp_path / "made", PLAN, until="register").steps["register"].fresh
    )
    copies["1"][0, 0, 0] += 1
    assert reconstruct(copies, tmp_path / "made", PLAN, until="register").steps["register"].fresh


def test_the_order_of_stacks_is_that_of_channels(stacks, tmp_path):
    reconstruct(stacks, tmp_path / "made", PLAN, until="label")
    turned = {"2": stacks["2"], "1": stacks["1"]}
    again = reconstruct(turned, tmp_path / "made", PLAN, until="label")
    assert all(done.fresh for done in again.steps.values())
    assert again.steps["label"].told["stack"] == "2"


def test_a_kill_while_an_old_step_is_removed_leaves_nothing_that_looks_whole(
    stacks, tmp_path, monkeypatch
):
    out = tmp_path / "made"
    first = reconstruct(stacks, out, PLAN)
    removed = step_module.shutil.rmtree

    def dies(path, ignore_errors=False):
        if path.exists():
            removed(next(path.glob("*.zarr")) / "0")
            raise KeyboardInterrupt

    monkeypatch.setattr(step_module.shutil, "rmtree", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(stacks, out, PLAN | {"fill": {"method": "nearest"}})
    monkeypatch.undo()
    again = reconstruct(stacks, out, PLAN)
    assert again.steps["fill"].fresh
    np.testing.assert_array_equal(labels_of(again), labels_of(first))


def test_what_is_no_step_is_not_removed(stacks, tmp_path):
    out = tmp_path / "made"
    (out / "label").mkdir(parents=True)
    (out / "label" / "manual.npy").write_text("a month of work")
    with pytest.raises(InputError, match="no step of a reconstruction"):
        reconstruct(stacks, out, PLAN, overwrite=True)
    assert (out / "label" / "manual.npy").exists()


def test_steps_after_one_that_was_done_anew_count_no_more(stacks, tmp_path):
    out = tmp_path / "made"
    reconstruct(stacks, out, PLAN)
    reconstruct(stacks, out, PLAN | {"label": {"method": "otsu", "phases": 3}}, until="label")
    assert not (out / "fill" / "step.json").exists()
    assert set(json.loads((out / "reconstruct.json").read_text())["steps"]) == set(STEPS[:3])


def test_voxels_without_a_number_take_the_label_of_their_neighbours(body, tmp_path):
    slices = body[::3].astype(np.float32)
    slices[4, 10:14, 20:24] = np.nan
    plan = PLAN | {"register": {"skip": True}, "clean": {"brightness": False}}
    for change in ({}, {"order": "grey"}):
        made = reconstruct({"2": slices}, tmp_path / str(len(change)), plan | change)
        assert made.steps["label"].told["without_label"] > 0
        if not change:
            assert made.steps["label"].volume("whole").chunks[0] == 1
        assert made.steps["describe"].told["phases"] == 2
    first = reconstruct({"2": slices}, tmp_path / "0", plan)
    assert set(np.unique(labels_of(first))) == {0, 1}
    by_images = plan | {"order": "grey", "depth": {"source": "images"}}
    told = {}
    for name, stack in (("gap", slices), ("none", body[::3].astype(np.float32))):
        made = reconstruct({"2": stack}, tmp_path / name, by_images, until="thickness")
        told[name] = np.asarray(made.steps["thickness"].told["thickness"])
    np.testing.assert_allclose(told["gap"], told["none"], rtol=0.1)


def test_a_fit_of_three_phases_tells_how_many(tmp_path):
    from bimmjax import fit

    rng = np.random.default_rng(0)
    body = np.repeat(np.repeat(rng.integers(0, 3, (13, 12, 12)), 4, 1), 4, 2)
    stack = (60.0 * body + rng.normal(0, 4, body.shape)).astype(np.float32)
    found = fit(stack, 3, model="gmm", intervals=False)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(found.to_dict()))
    plan = PLAN | {
        "label": {"fit": str(path)}, "fill": {}, "register": {"skip": True},
        "clean": {"brightness": False},
    }  # fmt: skip
    made = reconstruct({"1": stack}, tmp_path / "made", plan)
    assert made.steps["label"].told["phases"] == 3
    assert made.steps["fill"].told["method"] == "distance"
    assert len(made.steps["describe"].told["volume_fractions"]) == 3


def test_a_ruler_a_mark_and_a_tilt_together(body, tmp_path):
    """All three in one image, in pixels of the raw stack; the ruler tells thickness."""
    thickness = np.array([15.0, 10.0, 20.0, 15.0] * 4)
    faces = np.concatenate([[0.0], np.cumsum(thickness)])
    slices = np.stack([body[int(f // 5) % 49] for f in faces]).astype(np.float32)
    wide = np.tile(slices, (1, 1, 4))
    ruler = sim.make_ruler(192, float(faces[-1]), rows=32)
    marked = np.asarray(sim.draw_ruler(wide, ruler, faces))
    mark = np.zeros((len(faces), marked.shape[1], 48), np.float32)
    mark[:, 44:48, 8:40] = 1.0
    mark[:, 30:60, 22:26] = 1.0
    raw = np.concatenate([marked, mark], 2)
    plan = PLAN | {
        "register": {"region": [28, 64, 194, 238], "tilt": 52.0},
        "crop": [32, 80, 0, 192],
        "depth": {
            "source": "ruler", "ruler": [0, 32, 0, 192],
            "angle": float(np.degrees(np.arctan(ruler.slope * 5.0))),
        },
    }  # fmt: skip
    made = reconstruct({"2": raw}, tmp_path / "made", plan, until="thickness")
    np.testing.assert_allclose(made.steps["thickness"].told["thickness"], thickness, rtol=0.02)
    register = made.steps["register"]
    y0, y1, x0, x1 = register.told["field"]
    assert 32 <= y0 < y1 <= 80
    assert 0 <= x0 < x1 <= 192
    height = (y1 - y0) / np.sin(np.radians(52.0))
    assert register.volume("2").shape[1] == pytest.approx(height, abs=1.0)


def test_steps_that_are_not_wanted_need_nothing(stacks, tmp_path):
    bare = {"pixel": 5.0, "unit": "nm", "register": {"skip": True}}
    made = reconstruct(stacks, tmp_path / "a", bare, until="clean")
    assert list(made.steps) == ["register", "clean"]
    grey = bare | {"order": "grey", "depth": {"source": "even", "mean": 15.0}}
    assert "fill" in reconstruct(stacks, tmp_path / "b", grey, until="fill").steps
    with pytest.raises(InputError, match="unit: got none"):
        reconstruct(stacks, tmp_path / "c", {"pixel": 5.0}, until="clean")


def test_killed_while_a_step_makes_room_it_goes_on(stacks, tmp_path, monkeypatch):
    out = tmp_path / "made"
    reconstruct(stacks, out, PLAN, until="clean")

    def dies(path, told):
        raise KeyboardInterrupt

    monkeypatch.setattr(step_module, "_write", dies)
    with pytest.raises(KeyboardInterrupt):
        reconstruct(stacks, out, PLAN | {"register": {"reach": 5}}, until="clean")
    monkeypatch.undo()
    made = reconstruct(stacks, out, PLAN, until="clean")
    assert made.steps["register"].fresh
    assert not list(out.glob(".*.dropped"))
