"""What an interruption leaves is gone on with, to the same bytes, or refused."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bimmjax import InputError, convert, open_volume
from bimmjax.nets import build, predict
from bimmjax.nets._predict import predict as module
from bimmjax.nets._train.folder import prepare
from bimmjax.nets._train.recipe import recipe_of
from bimmjax.volumes import _unfinished as unfinished_module
from bimmjax.volumes._unfinished import Unfinished

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def tall(blobs) -> np.ndarray:
    """Three blocks of slices, (139, 37, 42)."""
    return np.concatenate([np.roll(blobs, 3 * i, 2) for i in range(13)])[:139]


class Stopped(Exception):
    pass


def stopping_at(voxels):
    def progress(done, total):
        if done >= voxels:
            raise Stopped

    return progress


def told_to(seen: list[int], voxels: int):
    def progress(done, total):
        seen.append(done)
        stopping_at(voxels)(done, total)

    return progress


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "predict.json"
    }


def test_goes_on_with_blocks_that_are_done(net, tall, tmp_path):
    whole = predict(net, tall, tmp_path / "whole.zarr", uncertainty=True)
    out, slices = tmp_path / "labels.zarr", 37 * 42
    with pytest.raises(Stopped):
        predict(net, tall, out, uncertainty=True, progress=stopping_at(100 * slices))
    assert not out.exists()
    hidden = tmp_path / ".labels.zarr.partial"
    before = {path: path.stat().st_mtime_ns for path in hidden.rglob("c/*/*/*")}
    assert len(before) == 2  # of labels and of their uncertainty
    marks = []
    found = predict(
        net, tall, out, uncertainty=True, progress=lambda done, total: marks.append((done, total))
    )
    assert marks[0] == (64 * slices, 139 * slices)
    assert marks[-1] == (139 * slices, 139 * slices)
    for path, changed in before.items():
        assert (out / path.relative_to(hidden)).stat().st_mtime_ns == changed
    assert files(out) == files(tmp_path / "whole.zarr")
    assert (found.read(*[slice(None)] * 3) == whole.read(*[slice(None)] * 3)).all()
    one, other = (
        json.loads((folder / "predict.json").read_text("utf-8"))
        for folder in (out, tmp_path / "whole.zarr")
    )
    assert one["volume_fractions"] == other["volume_fractions"]
    assert {path.name for path in tmp_path.iterdir()} == {"labels.zarr", "whole.zarr"}


def test_killed_and_gone_on_with_to_the_same_bytes(run_folder, tall, tmp_path):
    np.save(tmp_path / "tall.npy", tall)
    out = tmp_path / "labels.zarr"
    words = [sys.executable, str(HERE / "child.py"), str(run_folder), str(tmp_path / "tall.npy")]
    child = subprocess.Popen([*words, str(out)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    # Within the second block, whose first one may be on its way to the disk.
    for line in child.stdout:
        if int(line) > 70 * 37 * 42:
            break
    child.kill()
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    assert not out.exists()
    first = []
    predict(run_folder, tall, out, uncertainty=True, progress=lambda d, _: first.append(d))
    assert first[0] == 64 * 37 * 42
    predict(run_folder, tall, tmp_path / "whole.zarr", uncertainty=True)
    assert files(out) == files(tmp_path / "whole.zarr")


def test_what_is_complete_is_not_done_again(net, blobs, tmp_path, monkeypatch):
    out = tmp_path / "labels.zarr"
    before = predict(net, blobs, out).read(*[slice(None)] * 3)
    monkeypatch.setattr(module, "Applied", None)
    again = predict(net, blobs, out)
    assert (again.read(*[slice(None)] * 3) == before).all()
    # Another tile makes no other labels.
    predict(net, blobs, out, tile=(26, 28))


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("network", "weights"),
        ("image", "image"),
        ("normalise", "normalise"),
        ("uncertainty", "uncertainty"),
        ("consensus", "consensus"),
    ],
)
def test_another_prediction_is_refused(change, named, complete, net, tall, tmp_path):
    out = tmp_path / "labels.zarr"
    if complete:
        tall = tall[:5]
        predict(net, tall, out)
    else:
        tall = tall[:70, :12, :12]
        with pytest.raises(Stopped):
            predict(net, tall, out, progress=stopping_at(66 * 144))
    options = {}
    if change == "network":
        net = build("modular-unet", channels=1, classes=3, width=2, depth=1, seed=5)
    elif change == "image":
        tall = tall.copy()
        tall[0, 0, 0] += 1
    elif change == "normalise":
        options["normalise"] = "range"
    else:
        options[change] = True
    with pytest.raises(InputError) as told:
        predict(net, tall, out, **options)
    assert f"with another {named}" in str(told.value)
    assert str(told.value).startswith(f"out: got {out}, {'made' if complete else 'begun'}")
    assert "\n" not in str(told.value)
    predict(net, tall, out, overwrite=True, **options)
    assert open_volume(out).shape == tall.shape
    assert {path.name for path in tmp_path.iterdir()} == {"labels.zarr"}


def test_what_is_not_of_our_making_is_not_replaced(net, blobs, tmp_path):
    out = convert(blobs, tmp_path / "scan.zarr")
    with pytest.raises(InputError, match="which exists; wants a new name, or overwrite=True"):
        predict(net, blobs, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep", encoding="utf-8")
    with pytest.raises(InputError, match="exists and is not a zarr folder"):
        predict(net, blobs, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine" / "notes.txt").read_text("utf-8") == "keep"


def test_an_interrupted_overwrite_is_gone_on_with(net, tall, tmp_path):
    small, out = tall[:70, :12, :12], tmp_path / "labels.zarr"
    everything = (slice(None),) * 3
    before = predict(net, small[::-1].copy(), out).read(*everything)
    for marks in ([], [64 * 144]):
        seen = []
        with pytest.raises(Stopped):
            predict(net, small, out, overwrite=True, progress=told_to(seen, 66 * 144))
        assert seen[0] == sum(marks)
        # There until the end.
        np.testing.assert_array_equal(open_volume(out).read(*everything), before)
    found = predict(net, small, out, overwrite=True).read(*everything)
    assert (found != before).any()
    np.testing.assert_array_equal(found, predict(net, small).read(*everything))
    assert {path.name for path in tmp_path.iterdir()} == {"labels.zarr"}


def unfinished(folder: Path, grey: np.ndarray, **options) -> Unfinished:
    images = {"": np.uint8, "more": np.uint8}
    return Unfinished(
        folder / "a.zarr", open_volume(grey), images, {"by": 1}, shard=(64, 64, 64), **options
    )


def all_of(grey: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in grey.shape)


def test_what_a_kill_leaves_of_the_old_volume_is_in_nobodys_way(blobs, tmp_path):
    convert(blobs, tmp_path / "a.zarr")
    convert(blobs, tmp_path / ".a.zarr.old")
    store = unfinished(tmp_path, blobs, overwrite=True)
    store.write(all_of(blobs), {"": blobs // 2, "more": blobs})
    store.finish({})
    assert (open_volume(tmp_path / "a.zarr").read(*all_of(blobs)) == blobs // 2).all()
    assert {path.name for path in tmp_path.iterdir()} == {"a.zarr"}


@pytest.mark.parametrize("overwrite", [True, False])
def test_two_runs_do_not_spoil_what_one_has_finished(overwrite, blobs, tmp_path):
    stores = [unfinished(tmp_path, blobs, overwrite=overwrite) for _ in range(2)]
    parts = {"": blobs, "more": blobs}
    for store in stores:
        store.write(all_of(blobs), parts)
    stores[0].finish({})
    before = files(tmp_path)
    with pytest.raises(InputError, match="another run has finished or begun anew"):
        stores[1].write(all_of(blobs), parts)
    with pytest.raises(InputError, match="another run has finished or begun anew"):
        stores[1].finish({})
    assert files(tmp_path) == before


def test_what_appeared_meanwhile_is_not_replaced(blobs, tmp_path):
    store = unfinished(tmp_path, blobs)
    convert(blobs, tmp_path / "a.zarr")
    before = files(tmp_path / "a.zarr")
    with pytest.raises(InputError, match="which exists"):
        store.finish({})
    assert files(tmp_path / "a.zarr") == before


def test_a_kill_at_the_very_beginning_loses_no_image(blobs, tmp_path, monkeypatch):
    written = iter([unfinished_module._group, None])

    def group(*told):
        one = next(written)
        if one is None:
            raise Stopped
        one(*told)

    with monkeypatch.context() as patch:
        patch.setattr(unfinished_module, "_group", group)
        with pytest.raises(Stopped):
            unfinished(tmp_path, blobs)
    store = unfinished(tmp_path, blobs)
    store.write(all_of(blobs), {"": blobs, "more": blobs})
    out = store.finish({})
    assert open_volume(out, dataset="more").shape == blobs.shape
    assert open_volume(out).shape == blobs.shape


def test_a_run_of_training_leaves_labels_that_were_begun(run_folder, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    (run / ".test-0.zarr.partial").mkdir()
    (run / ".log.csv.1.partial").write_text("", encoding="utf-8")
    prepare(run, recipe_of(run / "recipe.toml"), overwrite=False)
    assert (run / ".test-0.zarr.partial").is_dir()
    assert not (run / ".log.csv.1.partial").exists()


def test_a_lost_disk_leaves_no_half_of_a_block(blobs, tmp_path):
    store, box = unfinished(tmp_path, blobs), all_of(blobs)
    assert not store.done(box)
    store.write(box, {"": blobs, "more": blobs})
    assert store.done(box)
    assert (store.read("more", box) == blobs).all()
    chunk = store.path / "more" / "0" / "c" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-9] + bytes(9))
    with pytest.raises(InputError, match="cannot be read"):
        store.read("more", box)
    chunk.write_bytes(b"")
    assert not store.done(box)


def test_ctrl_c_tells_how_many_blocks_are_kept(net, tall, tmp_path):
    def progress(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as told:
        predict(net, tall, tmp_path / "out.zarr", progress=progress)
    assert told.value.__notes__ == ["1 of 3 blocks are kept"]


def test_a_run_that_has_not_finished_is_told_of(run_folder, blobs, tmp_path):
    shutil.copytree(run_folder, tmp_path / "net")
    recipe = tmp_path / "net" / "recipe.toml"
    recipe.write_text(recipe.read_text("utf-8").replace("epochs = 1\n", "epochs = 6\n"))
    with pytest.warns(UserWarning, match=r"net, whose training has not finished \(1 of 6 epochs"):
        predict(tmp_path / "net", blobs)
    summary = tmp_path / "net" / "train.json"
    summary.write_text(
        summary.read_text("utf-8").replace('"ended_by": "epochs"', '"ended_by": "stop"')
    )
    predict(tmp_path / "net", blobs)
