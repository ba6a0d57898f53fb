"""Lazy volumes written block by block: whole, gone on with, in boxes of any width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.volumes import _written, write_resumably

EVERYTHING = (slice(None),) * 3


@pytest.fixture
def volume():
    """Of 2 x 2 x 2 shards."""
    array = np.arange(70 * 520 * 520, dtype=np.uint16).reshape(70, 520, 520)
    return open_volume(array, spacing=2.0, unit="nm")


@pytest.mark.parametrize("whole_slices", [False, True])
def test_what_is_written_is_what_was_read(volume, tmp_path, whole_slices):
    told = []
    path = write_resumably(
        volume, tmp_path / "a.zarr", {"of": 1}, whole_slices=whole_slices,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    found = open_volume(path)
    assert (found.spacing, found.unit) == ((2.0, 2.0, 2.0), "nm")
    np.testing.assert_array_equal(found.read(*EVERYTHING), volume.read(*EVERYTHING))
    assert found.chunks[0] == (1 if whole_slices else 64)
    assert told[-1] == (volume.voxels, volume.voxels)
    assert len(told) == (2 if whole_slices else 8)


def test_finished_blocks_are_not_read_again(volume, tmp_path):
    boxes = []

    def reading(fail_at):
        def read(z, y, x):
            boxes.append((z, y, x))
            if len(boxes) == fail_at:
                raise KeyboardInterrupt
            return volume.read(z, y, x)

        return replace(volume, reader=read)

    with pytest.raises(KeyboardInterrupt):
        write_resumably(reading(6), tmp_path / "a.zarr", {"of": 1})
    assert not (tmp_path / "a.zarr").exists()
    first = boxes[:5]
    boxes.clear()
    path = write_resumably(reading(0), tmp_path / "a.zarr", {"of": 1})
    assert len(boxes) == 3
    assert not set(map(str, boxes)) & set(map(str, first))
    np.testing.assert_array_equal(open_volume(path).read(*EVERYTHING), volume.read(*EVERYTHING))


def test_another_volume_is_not_gone_on_with(volume, tmp_path):
    def stops(z, y, x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_resumably(replace(volume, reader=stops), tmp_path / "a.zarr", {"of": 1})
    with pytest.raises(InputError, match="begun with another of"):
        write_resumably(volume, tmp_path / "a.zarr", {"of": 2})
    write_resumably(volume, tmp_path / "a.zarr", {"of": 2}, overwrite=True)


def test_wide_boxes_stay_within_their_share(volume):
    boxes = _written._boxes(replace(volume, shape=(64, 4096, 4096)), (1, 256, 256), 2**26)
    assert all(np.prod([s.stop - s.start for s in box]) <= 2**26 for box in boxes)
    assert len(boxes) == 16


def test_slices_do_not_go_on_with_cubes(tmp_path):
    """Of one identity and shape, but stored in other pieces."""
    volume = open_volume(np.ones((64, 512, 520), np.uint8))
    stops = replace(volume, reader=lambda *box: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_resumably(stops, tmp_path / "a.zarr", {"of": 1})
    with pytest.raises(InputError, match="begun with another chunk"):
        write_resumably(volume, tmp_path / "a.zarr", {"of": 1}, whole_slices=True)
    path = write_resumably(
        volume, tmp_path / "a.zarr", {"of": 1}, whole_slices=True, overwrite=True
    )
    assert open_volume(path).chunks[0] == 1
