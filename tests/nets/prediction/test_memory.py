"""Tiles by the memory that there is, and what was begun with more or less of it."""

from __future__ import annotations

import numpy as np
import pytest

from bimmjax.nets import build, predict
from bimmjax.nets._predict import memory
from bimmjax.nets._predict import predict as module
from bimmjax.nets._predict.given import given
from bimmjax.nets._predict.plan import plan_of

GIB = 2**30


@pytest.fixture
def system(tmp_path, monkeypatch):
    """Writes files as the kernel has them; each kind is absent until it is told of."""
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "_MOUNTED", tmp_path / "mounted")
    monkeypatch.setattr(memory, "_physical", lambda: 64 * GIB)

    def write(**files):
        for name, text in files.items():
            path = tmp_path.joinpath(*name.split("__")).with_suffix("")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(text) + "\n", encoding="utf-8")

    def of_group(folder, **files):
        for name, text in files.items():
            path = tmp_path / "mounted" / folder / name.replace("_", ".", 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n", encoding="utf-8")

    return write, of_group


def test_memory_is_the_least_of_what_is_told(system):
    write, of_group = system
    assert memory.host_memory() == 64 * GIB
    write(meminfo=f"MemTotal: {64 * 2**20} kB\nMemAvailable: {40 * 2**20} kB")
    assert memory.host_memory() == 40 * GIB
    # A job's limit stands at a group around that of the process.
    write(groups="1:name=systemd:/\n0::/job/step")
    of_group("job", memory_max=16 * GIB, memory_current=5 * GIB)
    of_group("job", memory_stat=f"anon {GIB}\ninactive_file {4 * GIB}")
    of_group("job/step", memory_max="max", memory_current=5 * GIB)
    assert memory.host_memory() == 15 * GIB
    write(groups="4:memory:/not/seen/in/a/container")
    of_group("memory", memory_limit_in_bytes=8 * GIB, memory_usage_in_bytes=9 * GIB)
    assert memory.host_memory() == 0
    write(groups="nothing\n0::/", meminfo="MemAvailable: much")
    assert memory.host_memory() == 64 * GIB


def room(monkeypatch, voxels: int) -> None:
    monkeypatch.setattr("bimmjax.nets._predict.plan.voxels_at_once", lambda *_: voxels)


@pytest.fixture(scope="module")
def deep():
    """Three dimensions, halo 11."""
    net = build("modular-unet", channels=1, classes=2, width=2, depth=1, dims=3)
    net.eval()
    return net


def test_what_was_begun_with_more_memory_is_gone_on_with(deep, monkeypatch):
    found, shape = given(deep), (200, 200, 200)
    room(monkeypatch, 2**25)
    large = plan_of(found, shape, 1)
    room(monkeypatch, 2**20)
    small = plan_of(found, shape, 1)
    assert small.shard != large.shard
    again = plan_of(found, shape, 1, before={"shard": list(large.shard), "blended": None})
    assert again.shard == large.shard
    assert again.views[0].tiling.sizes != large.views[0].tiling.sizes


def test_the_same_call_goes_on_where_there_is_less_memory(deep, tmp_path, monkeypatch):
    grey = np.random.default_rng(0).random((70, 14, 14))
    seen = []

    def progress(done, total):
        seen.append(done)
        if len(seen) > 1 and done > 66 * 196:
            raise KeyboardInterrupt

    out = tmp_path / "a.zarr"
    room(monkeypatch, 64**3)
    with pytest.raises(KeyboardInterrupt):
        predict(deep, grey, out, tile=(40, 14, 14), progress=progress)
    # Too little for exact tiles, if it was new.
    room(monkeypatch, 100)
    with pytest.warns(UserWarning, match="depend on"):
        plan_of(given(deep), grey.shape, 8)
    assert predict(deep, grey, out).shape == grey.shape
    monkeypatch.setattr(module, "Applied", None)
    predict(deep, grey, out)  # complete
