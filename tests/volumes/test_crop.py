"""A box of a volume reads what the volume holds there."""

from __future__ import annotations

import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.volumes import crop


def test_a_box_of_a_box():
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    part = crop(open_volume(array, spacing=2.0), slice(1, None), slice(-4, -1), slice(2, 6))
    wanted = array[1:, -4:-1, 2:6]
    assert (part.shape, part.spacing) == (wanted.shape, (2.0, 2.0, 2.0))
    assert all(c <= n for c, n in zip(part.chunks, part.shape, strict=True))
    np.testing.assert_array_equal(np.asarray(part), wanted)
    np.testing.assert_array_equal(np.asarray(crop(part, x=slice(1, 3))), wanted[:, :, 1:3])


@pytest.mark.parametrize("z", [slice(3, 3), slice(9, 12), slice(0, 4, 2)])
def test_nothing_and_steps_are_refused(z):
    with pytest.raises(InputError, match="crop: got"):
        crop(open_volume(np.zeros((5, 6, 7))), z)
