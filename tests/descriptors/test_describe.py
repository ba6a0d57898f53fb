"""The whole description: anisotropy, connected parts, the thesis's lattice of stretched spheres."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import euler_number

from bimmjax import InputError, describe, evaluate
from bimmjax.descriptors import components, curve_error, diameter_anisotropy

QUICK = {"radial": False, "planes": False, "marching": False, "parts": False}


def lattice(stretch: float, edge: int = 96) -> np.ndarray:
    """Pores on a grid in a solid, all alike in the plane, stretched and ever farther apart in z.

    FIB thesis, Fig. 2.10.
    """
    z, y, x = np.indices((edge, edge, edge)).astype(float)
    labels = np.ones((edge, edge, edge), np.uint8)
    pitch, radius = 24.0, 7.0
    middle, gap = 12.0, 24.0 * stretch
    while middle < edge + gap:
        y0, x0 = (y % pitch) - pitch / 2, (x % pitch) - pitch / 2
        labels[((z - middle) / stretch) ** 2 + y0**2 + x0**2 < radius**2] = 0
        middle, gap = middle + gap, gap * (1.15 if stretch > 1 else 1.0)
    return labels


def test_a_stretched_lattice_is_told_from_an_even_one():
    even, stretched = (describe(lattice(s), **QUICK) for s in (1.0, 1.5))
    for phase in (0, 1):
        for name, value in even.anisotropy(phase).items():
            assert value == pytest.approx(0.0, abs=1e-9), name
            assert stretched.anisotropy(phase)[name] > 0.02, name
        # In the plane nothing has changed.
        pairs = stretched.lines[phase, "y"].pairs
        np.testing.assert_array_equal(pairs, stretched.lines[phase, "x"].pairs)


def test_a_stretch_of_a_half_is_a_quarter():
    """e_D of a structure that is the same in all directions, stretched by 1.5 along z."""
    block = np.random.default_rng(0).integers(0, 2, (16, 16, 16)).astype(np.uint8)
    even = np.maximum.reduce([block, block.transpose(1, 2, 0), block.transpose(2, 0, 1)])
    for axis in range(3):
        even = np.repeat(even, 2, axis)
    voxels = np.repeat(even[::2], 3, 0)
    for labels, options in ((voxels, {}), (even, {"spacing": (1.5, 1, 1)})):
        found = describe(labels, **QUICK, **options)
        for phase in (0, 1):
            assert found.anisotropy(phase)["e_d"] == pytest.approx(0.25, abs=1e-9)


def test_connected_parts():
    random = np.random.default_rng(1)
    for share in (0.2, 0.5, 0.8):
        inside = (random.random((13, 14, 15)) < share).astype(np.uint8)
        for neighbours, connectivity in ((6, 1), (26, 3)):
            found = components(inside, neighbours=neighbours)
            assert found.euler == euler_number(inside, connectivity)
            assert found.sizes.sum() == inside.sum()
            assert np.all(np.diff(found.sizes) <= 0)
    tube = np.zeros((8, 8, 8), np.uint8)
    tube[:, 3, 3] = tube[0, 0, 0] = 1
    found = components(tube)
    assert found.percolates == {"z": True, "y": False, "x": False}
    assert found.connected["z"] == pytest.approx(8 / 9)
    assert components(tube, 2).sizes.size == components(tube, 2).euler == 0


def test_a_phase_that_is_not_there_has_answers():
    labels = np.zeros((8, 8, 8), np.uint8)
    told = describe(labels, 2).to_dict()
    assert told["volume_fractions"] == [1.0, 0.0]
    assert told["ligament_diameter"]["1"] == {"z": None, "y": None, "x": None}
    assert told["anisotropy"]["1"] == {"e_tpcf": 0.0, "e_lpf": 0.0, "e_d": None}
    assert told["interface_areas"]["crofton"] == {"0-1": 0.0}
    assert told["components"]["1"]["count"] == 0


def test_masks_and_periodic_volumes():
    labels = np.random.default_rng(0).integers(0, 2, (12, 12, 12))
    mask = np.zeros(labels.shape, np.uint8)
    mask[2:10] = 1
    part, whole = describe(labels, mask=mask), describe(labels[2:10])
    np.testing.assert_array_equal(part.voxels, whole.voxels)
    np.testing.assert_array_equal(part.lines[1, "x"].pairs, whole.lines[1, "x"].pairs)
    np.testing.assert_allclose(part.radial[1][:3], whole.radial[1][:3], atol=1e-9)
    assert part.parts is None
    around = describe(labels, periodic=True).to_dict()
    rolled = describe(np.roll(labels, (3, 4, 5), (0, 1, 2)), periodic=True).to_dict()
    assert around["two_point"] == rolled["two_point"]
    assert around["lineal_path"] == rolled["lineal_path"]


def test_small_functions_and_bad_input():
    assert curve_error(np.zeros(3), np.zeros(3)) == 0.0
    assert curve_error(np.ones(3), np.zeros(3)) == 2.0
    assert np.isnan(diameter_anisotropy({"z": 0.0, "y": 0.0, "x": 0.0}))
    with pytest.raises(InputError, match="other: got shape"):
        curve_error(np.ones(3), np.ones(4))
    with pytest.raises(InputError, match="labels: got values from -1"):
        describe(np.full((3, 3, 3), -1))
    with pytest.raises(InputError, match="mask: got no voxel that counts"):
        describe(np.zeros((3, 3, 3), int), mask=np.zeros((3, 3, 3), int))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_a_mask_of_0_and_255_is_two_phases(dtype: type):
    mask = np.where(np.random.default_rng(0).random((9, 10, 11)) < 0.2, 255, 0).astype(dtype)
    # The middle layer alone tells nothing.
    mask[4] = 0
    of_mask, of_labels = (
        describe(held, **QUICK).to_dict() for held in (mask, (mask > 0).astype(int))
    )
    assert of_mask == of_labels
    assert of_mask["left_out"] == 0.0
    assert evaluate(mask, (mask > 0).astype(int)).misplaced == 0.0
    # Of 256 classes 255 is one: other labels beside it do not change what it means.
    found = evaluate(np.where(np.arange(11) == 3, 7, mask), mask, classes=256)
    assert found.misplaced == pytest.approx(100.0 / 11.0)
    # Where a label is to be ignored it is.
    ignored = describe(mask, ignore=255, **QUICK)
    assert ignored.phases == 1
    assert ignored.left_out == pytest.approx(float(np.mean(mask == 255)))
    for odd in (np.full_like(mask, 255), np.where(mask, 255, 1), mask + (mask == 0) * 254):
        with pytest.raises(InputError, match="got values from"):
            describe(odd, **QUICK)
