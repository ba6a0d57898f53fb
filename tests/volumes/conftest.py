from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def grey():
    """A volume in which every voxel differs from its neighbours and no axes are equally long."""
    return np.random.default_rng(7).integers(0, 60000, (9, 12, 15)).astype(np.uint16)


@pytest.fixture
def whole():
    """Reads all of a volume."""
    return lambda volume: volume.read(slice(None), slice(None), slice(None))
