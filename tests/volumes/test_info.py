from __future__ import annotations

import json

import numpy as np
import pytest

from bimmjax import open_volume
from bimmjax.volumes import Volume, info


def test_small_volume_is_read_whole(grey: np.ndarray):
    facts = info(open_volume(grey, spacing=2, unit="nm"))
    assert json.loads(json.dumps(facts)) == facts
    assert facts["shape"] == [9, 12, 15]
    assert facts["dtype"] == "uint16"
    assert (facts["spacing"], facts["unit"]) == ([2.0, 2.0, 2.0], "nm")
    assert (facts["voxels"], facts["bytes"]) == (grey.size, grey.nbytes)
    assert facts["sampled_voxels"] == grey.size
    assert (facts["min"], facts["max"]) == (grey.min(), grey.max())
    assert facts["mean"] == pytest.approx(grey.mean())
    assert facts["nan_share"] == facts["inf_share"] == 0


def test_what_is_not_a_number_is_counted():
    data = np.ones((4, 5, 5), np.float32)
    data[0] = np.nan
    data[1, 0, 0] = np.inf
    facts = info(open_volume(data))
    assert (facts["nan_share"], facts["inf_share"]) == (0.25, 0.01)
    assert (facts["min"], facts["max"], facts["mean"]) == (1.0, 1.0, 1.0)
    nothing = info(open_volume(np.full((3, 3, 3), np.nan)))
    assert (nothing["min"], nothing["max"], nothing["mean"]) == (None, None, None)
    assert nothing["nan_share"] == 1.0


@pytest.mark.parametrize("chunks", [(1, 2000, 2000), (64, 64, 64), (1, 1, 1), (512, 512, 512)])
def test_sample_of_a_large_volume_is_cheap(chunks: tuple[int, int, int]):
    read = 0

    def reader(z: slice, y: slice, x: slice):
        nonlocal read
        shape = tuple(s.stop - s.start for s in (z, y, x))
        read += np.prod(shape)
        assert all(0 <= s.start < s.stop <= 2000 for s in (z, y, x))
        return np.broadcast_to(np.arange(z.start, z.stop)[:, None, None], shape)

    facts = info(Volume((2000, 2000, 2000), np.dtype(np.uint16), reader, chunks=chunks))
    assert facts["sampled_voxels"] == read <= 2**23
    assert facts["min"] < 200
    assert facts["max"] > 1800
    assert facts["mean"] == pytest.approx(1000, abs=100)
