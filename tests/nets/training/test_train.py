"""Runs: they learn, they go on where they were killed, and they refuse what cannot be."""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from bimmjax import InputError, nets
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.checkpoint import checkpoints, named_arrays, read


def weights(net: nnx.Module) -> dict[str, np.ndarray]:
    return named_arrays(nnx.state(net))


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def assert_same_log(one: list[dict], other: list[dict]) -> None:
    def told(rows):
        return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]

    assert told(one) == told(other)


def test_it_learns_and_leaves_what_it_promises(tiny, pair, settings, tmp_path):
    steps = []
    how = settings | {"epochs": 12, "steps": 8, "learning_rate": 0.05, "optimiser": "adam"}
    how |= {"loss": "cross-entropy+dice", "batch": 4}
    found = nets.train(how, *pair, tmp_path / "net", progress=lambda *s: steps.append(s))
    assert steps == [(n, 96) for n in range(97)]
    losses = [row["validation_loss"] for row in found.history]
    assert losses[-1] < 0.5 * losses[0]
    assert found.history[-1]["validation_mean_iou"] > 0.8
    told = json.loads((tmp_path / "net" / "train.json").read_text("utf-8"))
    assert told["test"]["mean_iou"] > 0.8
    # 24 slices, of which two are margins: 13, 4 and 4 are 60, 20 and 20 % of the rest.
    assert told["blocks"] == [{"train": [0, 14], "validation": [15, 19], "test": [20, 24]}]
    assert told["best_epoch"] == 1 + int(np.argmin(losses))
    assert checkpoints(tmp_path / "net") == sorted({12, told["best_epoch"]})
    with (tmp_path / "net" / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == list(range(1, 13))
    assert [float(row["validation_loss"]) for row in rows] == losses
    recipe = tomllib.loads((tmp_path / "net" / "recipe.toml").read_text("utf-8"))
    assert recipe["network"]["channels"] == 1
    assert recipe["patches"]["patch"] == [8, 8]
    net, again = nets.load(tmp_path / "net")
    assert again == found.recipe
    assert_same(weights(net), weights(found.net))
    scaled = nets.normalisation(nets_volume(pair[0]))(pair[0][20:])[..., None]
    labels = np.argmax(net(scaled), -1)
    assert np.mean(labels == pair[1][20:]) > 0.95
    np.testing.assert_array_equal(net(scaled), net(scaled))  # without dropout
    assert_same(weights(nets.load(tmp_path / "net", "last")[0]), last_of(tmp_path / "net", 12))


def nets_volume(grey):
    from bimmjax import open_volume

    return open_volume(grey)


def last_of(out: Path, epoch: int) -> dict[str, np.ndarray]:
    """Parameters and the rest of a checkpoint, by their names in the network."""
    arrays, _ = read(out, epoch)
    found = [(name.split("/", 1)[1], a) for name, a in arrays.items() if name[0] in "pr"]
    return dict(found)


def test_killed_and_resumed_ends_with_the_same_bits(tiny, pair, settings, tmp_path):
    for name, array in zip(("grey", "labels"), pair, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    how = settings | {
        "epochs": 12, "schedule": "plateau", "patience": 1, "factor": 0.5, "stop": 6,
        "accumulate": 2, "learning_rate": 10.0, "stretch": 0.2, "brightness": 0.1,
    }  # fmt: skip
    child = subprocess.Popen(
        [
            sys.executable, str(Path(__file__).with_name("child.py")),
            str(tmp_path / "grey.npy"), str(tmp_path / "labels.npy"), str(tmp_path / "killed"),
            json.dumps(how),
        ]
    )  # fmt: skip
    whole = nets.train(how, *pair, tmp_path / "whole")
    ended = len(whole.history)
    assert whole.history[-1]["learning_rate"] < 10.0
    while not checkpoints(tmp_path / "killed"):
        assert child.poll() is None
        time.sleep(0.02)
    time.sleep(random.SystemRandom().uniform(0.0, 0.5))
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    done = checkpoints(tmp_path / "killed")[-1]
    assert 1 <= done < ended
    began = []
    resumed = nets.train(how, *pair, tmp_path / "killed", progress=lambda *s: began.append(s))
    assert began[0] == (3 * done, 36)
    assert_same_log(resumed.history, whole.history)
    for epoch in checkpoints(tmp_path / "whole"):
        assert_same(read(tmp_path / "killed", epoch)[0], read(tmp_path / "whole", epoch)[0])
    assert not list((tmp_path / "killed").rglob(".*partial*"))
    began.clear()
    once_more = nets.train(how, *pair, tmp_path / "killed", progress=lambda *s: began.append(s))
    assert began == [(3 * ended, 36)]
    assert_same(weights(once_more.net), weights(whole.net))


def test_what_a_kill_leaves_half_done_is_done_again(tiny, pair, settings, tmp_path, monkeypatch):
    whole = nets.train(settings, *pair, tmp_path / "whole")
    save = checkpoint.save

    def dies(out, epoch, *rest):
        if epoch == 3:
            (out / "checkpoints" / ".000003.12345678.partial").mkdir()
            raise KeyboardInterrupt
        save(out, epoch, *rest)

    monkeypatch.setattr(checkpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        nets.train(settings, *pair, tmp_path / "net")
    assert len(nets.read_log(tmp_path / "net")) == 3
    monkeypatch.undo()
    monkeypatch.setitem(nets.NETWORKS, "tiny", tiny.Tiny)
    found = nets.train(settings, *pair, tmp_path / "net")
    assert_same_log(found.history, whole.history)
    assert_same(weights(found.net), weights(whole.net))
    assert not list((tmp_path / "net").rglob(".*partial*"))


def test_a_checkpoint_is_written_while_the_next_epoch_is_learned(
    tiny, pair, settings, tmp_path, monkeypatch
):
    how = settings | {"epochs": 1, "schedule": "constant", "split": (1.0, 0.0, 0.0)}
    out = tmp_path / "net"
    nets.train(how, *pair, tmp_path / "one")
    save, learned = checkpoint.save, threading.Event()

    def slow(folder, epoch, *rest):
        assert epoch == 2 or learned.wait(60.0)
        if epoch == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(folder, epoch, *rest)

    def progress(done, total):
        if done == 5:
            learned.set()

    monkeypatch.setattr(checkpoint, "save", slow)
    with pytest.raises(InputError, match=r"out: got .* cannot be written \(No space left"):
        nets.train(how | {"epochs": 2}, *pair, out, progress=progress)
    # As it was after its epoch, whatever was learned since.
    assert checkpoints(out) == [1]
    assert_same(read(out, 1)[0], read(tmp_path / "one", 1)[0])


def test_ctrl_c_tells_of_a_checkpoint_that_was_lost(tiny, pair, settings, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    def progress(done, total):
        if done == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", full)
    with pytest.raises(KeyboardInterrupt) as told:
        nets.train(settings, *pair, tmp_path / "net", progress=progress)
    assert "checkpoints could not be written ([Errno 28] No space" in told.value.__notes__[0]


def test_a_summary_that_a_kill_has_left_behind_is_written_again(
    tiny, pair, settings, tmp_path, monkeypatch
):
    how = settings | {"epochs": 1, "steps": 1, "schedule": "constant"}
    out = tmp_path / "net"

    def epochs_told():
        return json.loads((out / "train.json").read_text("utf-8"))["epochs"]

    def dies(*_):
        raise KeyboardInterrupt

    nets.train(how, *pair, out)
    with monkeypatch.context() as patch:
        patch.setattr("bimmjax.nets._train.train.write_summary", dies)
        with pytest.raises(KeyboardInterrupt):
            nets.train(how | {"epochs": 2}, *pair, out)
    assert (epochs_told(), checkpoints(out)[-1]) == (1, 2)
    nets.train(how | {"epochs": 2}, *pair, out)
    assert epochs_told() == 2
    (out / "train.json").write_text("[", "utf-8")
    nets.train(how | {"epochs": 2}, *pair, out)
    assert epochs_told() == 2


def test_a_recipe_file_repeats_the_run(tiny, pair, settings, tmp_path):
    for name, array in zip(("grey", "labels"), pair, strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    how = settings | {"epochs": 2, "settings": {"width": 3}, "class_weights": (1.0, 2.0, 0.5)}
    paths = tmp_path / "grey.npy", tmp_path / "labels.npy"
    one = nets.train(how, *paths, tmp_path / "one")
    other = nets.train(tmp_path / "one" / "recipe.toml", out=tmp_path / "other")
    assert one.recipe == other.recipe
    assert_same(weights(one.net), weights(other.net))
    seeded = nets.train(how | {"seed": 1}, *paths, tmp_path / "seeded")
    assert (weights(one.net)["first/kernel"] != weights(seeded.net)["first/kernel"]).any()


def test_volumes_2_5d_3d_several_channels_weight_and_no_validation(tiny, pair, settings, tmp_path):
    grey, labels = pair
    how = settings | {"epochs": 1, "steps": 2}
    context = nets.train(
        how | {"settings": {"context": 3}}, [(grey, -grey)], [labels], tmp_path / "context"
    )
    assert context.recipe.channels == 2
    assert weights(context.net)["first/kernel"].shape == (3, 3, 6, 4)
    volume = {"settings": {"dims": 3}, "patch": (), "split": (1.0, 0.0, 0.0), "batch": 1}
    with pytest.warns(UserWarning, match="batch: got 1 with batch normalisation"):
        found = nets.train(
            how | volume, grey, labels, tmp_path / "volume", weight=np.ones(grey.shape)
        )
    assert found.recipe.patch == (24, 24, 24)
    assert found.history[0]["validation_loss"] is None
    assert nets.read_log(tmp_path / "volume")[0]["validation_mean_iou"] is None
    assert np.isfinite(found.history[0]["training_loss"])


def test_a_nan_loss_stops_says_where_and_keeps_the_checkpoint(tiny, pair, settings, tmp_path):
    how = settings | {"learning_rate": 0.01, "epochs": 3, "schedule": "constant"}
    nets.train(how, *pair, tmp_path / "net")
    before = read(tmp_path / "net", 3)[0]

    class Bad(tiny.Tiny):
        def heads(self, x):
            return tuple(h * np.nan for h in super().heads(x))

    nets.NETWORKS["tiny"] = Bad
    with pytest.raises(nets.Diverged) as told:
        nets.train(how | {"epochs": 5}, *pair, tmp_path / "net")
    text = str(told.value)
    assert text.startswith(
        "loss: got nan, or a slope that is no number, at epoch 4, step 1, with learning rate 0.01"
    )
    assert "000003 is kept" in text
    assert "\n" not in text
    assert_same(read(tmp_path / "net", 3)[0], before)
    with pytest.raises(nets.Diverged, match="nothing is kept"):
        nets.train(how, *pair, tmp_path / "new")


def test_parameters_that_blow_up_in_the_last_step_are_not_kept(tiny, pair, settings, tmp_path):
    how = settings | {"epochs": 1, "steps": 1, "learning_rate": 1e3, "loss": "mse"}
    how |= {"class_weights": (1e9, 1e9, 1e9), "settings": {"norm": False}}

    class Big(tiny.Tiny):
        def heads(self, x):
            # Finite here, but its slope is not.
            return tuple(jax.numpy.sqrt(h - jax.lax.stop_gradient(h)) for h in super().heads(x))

    nets.NETWORKS["tiny"] = Big
    with pytest.raises(nets.Diverged, match=r"a slope that is no number, at epoch 1, step 1"):
        nets.train(how, *pair, tmp_path / "net")
    assert checkpoints(tmp_path / "net") == []


def test_averages_that_are_no_numbers_are_not_kept(tiny, pair, settings, tmp_path):
    class Lost(tiny.Tiny):
        def heads(self, x):
            found = super().heads(x)
            # Not used in training: the loss is sound.
            self.norm.var[...] = self.norm.var[...] * jax.numpy.nan
            return found

    nets.NETWORKS["tiny"] = Lost
    how = settings | {"epochs": 1, "steps": 1, "split": (1.0, 0.0, 0.0)}
    with pytest.raises(nets.Diverged, match="loss: got parameters or a validation loss that are"):
        nets.train(how, *pair, tmp_path / "net")
    assert checkpoints(tmp_path / "net") == []


@pytest.mark.filterwarnings("error")
def test_a_real_network_goes_on_to_the_same_bits_and_keeps_frozen_averages(
    pair, tmp_path, monkeypatch
):
    # Its noise and dropout draw from the hardware's own generator.
    how = {
        "network": "modular-unet", "classes": 3, "patch": (4, 4), "batch": 1, "steps": 1,
        "split": (1.0, 0.0, 0.0), "schedule": "constant", "frozen_norms": True,
        "settings": {"width": 1, "depth": 1},
    }  # fmt: skip
    monkeypatch.setattr(checkpoint, "tidy", lambda *_, **__: None)  # both epochs stay
    nets.train(how | {"epochs": 2}, *pair, tmp_path / "net")
    before, whole = (read(tmp_path / "net", epoch)[0] for epoch in (1, 2))
    shutil.rmtree(tmp_path / "net" / "checkpoints" / "000002")
    nets.train(how | {"epochs": 2}, *pair, tmp_path / "net")
    assert_same(read(tmp_path / "net", 2)[0], whole)
    means = [array for name, array in whole.items() if name.endswith("/mean")]
    assert means
    assert not any(array.any() for array in means)
    moved = {name for name, array in whole.items() if (array != before[name]).any()}
    assert any("dropout" in name for name in moved)
    assert any("noise" in name for name in moved)


def test_a_log_that_lost_epochs_is_told(tiny, pair, settings, tmp_path):
    how = settings | {"epochs": 1, "steps": 1, "schedule": "constant"}
    nets.train(how, *pair, tmp_path / "net")
    log = tmp_path / "net" / "log.csv"
    log.write_text(log.read_text("utf-8").splitlines()[0] + "\n", "utf-8")
    with pytest.raises(InputError, match="whose log has 0 epochs and its checkpoint 1"):
        nets.train(how | {"epochs": 2}, *pair, tmp_path / "net")


def test_a_folder_is_refused_before_anything_is_read(tiny, pair, settings, tmp_path):
    (tmp_path / "net").write_text("", "utf-8")
    pair = pair[0], np.full_like(pair[1], 9)
    with pytest.raises(InputError, match="which is a file"):
        nets.train(settings, *pair, tmp_path / "net")


def test_other_runs_and_other_data_are_refused(tiny, pair, settings, tmp_path):
    how = settings | {"epochs": 1, "steps": 1, "schedule": "constant"}
    out = tmp_path / "net"
    nets.train(how, *pair, out)
    with pytest.raises(InputError, match=r"a run by another recipe \(batch = 4, not 2\)"):
        nets.train(how | {"batch": 4}, *pair, out)
    with pytest.raises(InputError, match=r"recipe \(settings = {width = 3}, not {}\)"):
        nets.train(how | {"settings": {"width": 3}}, *pair, out)
    with pytest.raises(InputError, match="got other volumes than"):
        nets.train(how, pair[0] + 1.0, pair[1], out)
    with pytest.raises(InputError, match="got other volumes than"):
        nets.train(how, pair[0], pair[1][:, ::-1], out)
    with pytest.raises(InputError, match=r"out: got .* which is no run of training"):
        nets.train(how, *pair, tmp_path)
    longer = nets.train(how | {"epochs": 2}, *pair, out)
    assert len(longer.history) == 2
    anew = nets.train(how | {"batch": 4}, *pair, out, overwrite=True)
    assert len(anew.history) == 1
    with pytest.raises(InputError, match="which is a file"):
        nets.train(how, *pair, out / "recipe.toml")


def test_bad_settings_are_refused(tiny, pair, settings, tmp_path):
    cases = {
        "patch: got \\(7, 8\\), wants 2 sizes, multiples of \\(2, 2\\)": {"patch": (7, 8)},
        "patch: got \\(8, 64\\), larger than a block": {"patch": (8, 64)},
        "epochs: got 0, wants a whole number": {"epochs": 0},
        "epoch: no setting of a recipe": {"epoch": 3},
        "loss: got 'hinge'": {"loss": "hinge"},
        "optimiser: got 'sgd', wants one of adam, adabelief": {"optimiser": "sgd"},
        "class_weights: got \\[1.0\\], wants one for each of 3": {"class_weights": (1.0,)},
        "images: got 1 channels, wants 2": {"channels": 2},
        "labels: got 2 at .*, wants 0 to 1": {"classes": 2},
        "split: got 0.5 0.5 0.5": {"split": (0.5, 0.5, 0.5)},
    }
    for text, change in cases.items():
        with pytest.raises(InputError, match=text):
            nets.train(settings | change, *pair, tmp_path / "net")
    assert not (tmp_path / "net").exists()
    with pytest.raises(InputError, match="network: got none, wants it in every recipe"):
        nets.train({"classes": 2}, *pair, tmp_path / "net")
    with pytest.raises(InputError, match="devices: got 3, wants a number that a batch of 2"):
        nets.train(settings, *pair, tmp_path / "net", devices=3)
    with pytest.raises(InputError, match="images: got none, and a recipe without paths"):
        nets.train(settings, out=tmp_path / "net")
    (tmp_path / "recipe.toml").write_text("[network\n", "utf-8")
    with pytest.raises(InputError, match="which is no TOML"):
        nets.train(tmp_path / "recipe.toml", out=tmp_path / "net")
    with pytest.raises(InputError, match="which is no run of training"):
        nets.load(tmp_path / "none")


def test_a_checkpoint_of_another_network_is_refused(tiny, pair, settings, tmp_path):
    how = settings | {"epochs": 1, "steps": 1}
    nets.train(how, *pair, tmp_path / "net")
    path = tmp_path / "net" / "recipe.toml"
    text = path.read_text("utf-8")
    path.write_text(text.replace("channels = 1", "channels = 2"), "utf-8")
    with pytest.raises(
        InputError, match=r"with params/first/kernel of shape \(3, 3, 1, 4\), wants"
    ):
        nets.load(tmp_path / "net")
    path.write_text(text.replace("[network.settings]", "[network.settings]\nnorm = false"), "utf-8")
    with pytest.raises(InputError, match=r"with .*norm/.* \(0 arrays lacking, 4 too many\)"):
        nets.load(tmp_path / "net")
    path.write_text(text, "utf-8")
    for file in (tmp_path / "net" / "checkpoints").rglob("_METADATA"):
        file.unlink()
    with pytest.raises(InputError, match=r"checkpoint: got .* which cannot be read"):
        nets.load(tmp_path / "net")


def test_a_checkpoint_that_a_disk_has_changed_is_told(tiny, pair, settings, tmp_path, monkeypatch):
    out = tmp_path / "net"
    nets.train(settings | {"epochs": 1, "steps": 1}, *pair, out)
    arrays, told = read(out, 1)
    name = next(name for name in arrays if name.startswith("params"))
    arrays[name] = arrays[name] + 1.0
    shutil.rmtree(checkpoint.place(out, 1))
    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "_digest", lambda arrays: told["sha256"])
        checkpoint.save(out, 1, arrays, told)
    with pytest.raises(InputError, match="which is not what was written"):
        nets.load(out)


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_an_unwritable_place_is_told(tiny, pair, settings, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: got .* which cannot be written"):
        nets.train(settings, *pair, tmp_path / "file" / "net")
