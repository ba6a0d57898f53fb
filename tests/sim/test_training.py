"""Training pairs: images that belong to their truth, keys that give them again."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import InputError, open_volume, sim
from bimmjax.sim._instrument.image import per_slice
from bimmjax.sim._shine.calibration import shine_through_model, shipped
from bimmjax.sim._training.settings import sizes

KEY = jax.random.key(5)
EVERYTHING = (slice(None),) * 3
DRIFTING = sim.Instrument(
    gaussian_variance=0.0, edge_blur=0.0, drift_walk=0.8, drift_jitter=0.0, gain_std=0.0,
    offset_std=0.0, curtain_strength=0.0,
)  # fmt: skip
SMALL = sim.TrainingSettings(
    (16, 24, 24), energies=(1.0,), kind="wave", lengths=(16.0,), measure="wavelength", spacing=2.0,
    solid_fraction=(0.3, 0.3), instrument=None, below=0, waves=50,
)  # fmt: skip


def _likeness(a: Any, b: Any) -> float:
    return float(np.corrcoef(np.ravel(a), np.ravel(b))[0, 1])


@pytest.mark.numerics
def test_clean_images_are_those_of_the_truth():
    pair = sim.training_pair(KEY, SMALL)
    assert pair.truth.mean() == pytest.approx(0.3, abs=1e-3)
    wanted = sim.backscatter_volume(
        open_volume(pair.truth, spacing=2.0, unit="nm"), ["epoxy", "gold"], 1.0
    )
    np.testing.assert_array_equal(pair.images[0], wanted.read(*EVERYTHING))
    assert pair.positions.tolist() == list(range(0, 32, 2))
    assert not pair.shifts.any()
    assert (pair.gains == 1.0).all()


@pytest.mark.numerics
def test_a_key_gives_a_pair_whatever_else_is_wanted():
    settings = SMALL._replace(instrument=DRIFTING)
    one = sim.training_pair(KEY, settings)
    both = sim.training_pair(KEY, settings._replace(energies=(0.8, 1.0)))
    np.testing.assert_array_equal(one.truth, both.truth)
    np.testing.assert_array_equal(one.images[0], both.images[1])
    assert (both.shifts[0] != both.shifts[1]).any()
    other = sim.training_pair(jax.random.fold_in(KEY, 1), settings)
    assert (other.truth != one.truth).any()


def test_uneven_slices_are_those_of_the_structure_where_they_are_told():
    settings = SMALL._replace(thickness=(4.0, 1.6), below=4)
    pair = sim.training_pair(KEY, settings)
    size = sizes(settings)
    # Thin slices of the same structure, as many as it has.
    whole = sim.training_pair(KEY, SMALL._replace(shape=(size.box[0], 24, 24)))
    places = (pair.positions / 2.0).astype(int)
    assert (pair.positions == 2.0 * places).all()
    assert np.diff(places).min() >= 1
    assert len(set(np.diff(places))) > 1
    np.testing.assert_array_equal(pair.truth, whole.truth[places])
    np.testing.assert_array_equal(pair.images, whole.images[:, places])


def test_drift_is_told_as_it_is_seen_and_brings_nothing_made_up():
    settings = SMALL._replace(instrument=DRIFTING)
    pair = sim.training_pair(KEY, settings)
    truth = pair.truth.astype(np.float32)
    assert np.abs(pair.shifts[0, -1]).max() > 1.0
    inner = (slice(None), slice(6, -6), slice(6, -6))
    moved = np.asarray(sim.shift_slices(truth, pair.shifts[0]))
    late = slice(8, None)
    right = _likeness(moved[inner][late], pair.images[0][inner][late])
    assert right > _likeness(truth[inner][late], pair.images[0][inner][late]) + 0.1
    # Cubic convolution takes two pixels beyond the one it moves.
    assert np.abs(pair.shifts).max() + 2.0 <= sizes(settings).margin


@pytest.mark.parametrize("kind", ["hierarchical", "pores"])
def test_other_structures(kind: str):
    lengths = (30.0, 8.0) if kind == "hierarchical" else (8.0, 1.0)
    settings = SMALL._replace(kind=kind, lengths=lengths, solid_fraction=(0.2, 0.4))
    pair = sim.training_pair(KEY, settings)
    assert 0.2 <= pair.solid_fraction <= 0.4
    assert pair.truth.mean() == pytest.approx(pair.solid_fraction, abs=1e-3)


@pytest.mark.parametrize("slices", [40, 2048])
@pytest.mark.parametrize("thickness", [(10.16, 3.12), (6.0, 6.0), (5.0, 0.1), (5.0, 2.5)])
def test_the_structure_is_deep_enough_for_any_draw(thickness: tuple[float, float], slices: int):
    settings = sim.TrainingSettings((slices, 64, 64), thickness=thickness)
    deepest = [
        sim.draw_thickness(jax.random.fold_in(KEY, n), slices - 1, *thickness, step=5.0).sum() / 5.0
        for n in range(30)
    ]
    size = sizes(settings)
    assert max(deepest) <= size.deepest
    below = sim.escape_depth(["epoxy", "gold"], 4.0)
    assert (size.box[0] - 1 - size.deepest) * 5.0 >= below


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "foam"}, "kind: got 'foam'"),
        ({"energies": (0.4,)}, "energies: got 0.4"),
        ({"energies": (2.0, 2.0)}, "wants different ones"),
        ({"energies": ()}, "energies: got"),
        ({"solid_fraction": (0.4, 0.2)}, "solid_fraction: got 0.4 0.2"),
        ({"solid_fraction": (0.0, 0.2)}, "solid_fraction: got 0 0.2"),
        ({"solid": "unobtainium"}, "solid: got 'unobtainium', wants one of vacuum, epoxy"),
        ({"solid": "vacuum"}, "solid: got 'vacuum', wants something that scatters"),
        ({"lengths": (3.8,)}, "lengths: got a wavelength of 1.9 voxels"),
        ({"lengths": (99.0,)}, "lengths: got a wavelength of 49.5 voxels"),
        ({"lengths": (9.0, 3.0)}, "wants 1 above 0"),
        ({"lengths": (float("nan"),)}, "lengths: got"),
        ({"thickness": (5.0, 6.0)}, "thickness: got"),
        ({"tilt": 60.0}, "tilt: got 60"),
        ({"shape": (16, 24)}, "shape: got (16, 24)"),
        ({"below": -1}, "below: got -1"),
        ({"levels": (0.5, 0.1)}, "black: got 0.5, wants less than white"),
        ({"models": ()}, "models: got 0, wants 1"),
        ({"measure": "chord"}, "measure: got 'chord'"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str):
    with pytest.raises(InputError) as refused:
        sim.training_volumes(KEY, SMALL._replace(**settings))
    assert message in str(refused.value)


@pytest.mark.numerics
def test_a_stack_is_recorded_alike_whole_and_as_it_is_read():
    # Of the same shape as above, so that nothing is compiled again.
    stack = np.random.default_rng(0).random((32, 60, 60)).astype(np.float32) * 0.4
    key, surface = jax.random.split(KEY)
    settings = sim.Instrument(drift_walk=0.2)
    first, second = (
        sim.instrument(key, stack[z : z + 16], settings, start=z, surface=surface) for z in (0, 16)
    )
    whole = np.concatenate([first.image, second.image])
    lazy = sim.instrument_volume(key, open_volume(stack[:30]), settings, surface=surface)
    np.testing.assert_array_equal(lazy.read(*EVERYTHING), whole[:30])
    part = lazy.read(slice(15, 29), slice(3, 9), slice(7, 8))
    np.testing.assert_array_equal(part, whole[15:29, 3:9, 7:8])
    for told, wanted in zip(per_slice(key, 32, settings), second[1:4], strict=True):
        np.testing.assert_array_equal(told[16:], wanted)


def test_voltages_share_the_curtains_of_their_surface():
    stack = np.full((16, 60, 60), 0.3, np.float32)
    one, other, surface = jax.random.split(KEY, 3)
    seen = [sim.instrument(key, stack, surface=surface) for key in (one, other)]
    np.testing.assert_array_equal(seen[0].curtains, seen[1].curtains)
    assert (seen[0].shifts != seen[1].shifts).any()
    assert (sim.instrument(one, stack).curtains != seen[0].curtains).any()


def test_levels_leave_room_above_the_brightest():
    for tilt in (0.0, 52.0):
        black, white = sim.detector_levels(["epoxy", "gold"], 2.0, tilt)
        assert (black, white > sim.backscatter_coefficient(79, 2.0)) == (0.0, True)
    assert sim.detector_levels(["vacuum"], 2.0) == (0.0, 1.0)


def test_calibrations_are_read_as_the_shipped_one():
    for pore in ("epoxy", "vacuum"):
        used = [sim.known_material("pore", pore), sim.known_material("solid", "gold")]
        wanted = shine_through_model(used, 3.0)
        assert sim.calibrated_model(shipped(), used, 3.0) == pytest.approx(wanted)
    rows = {"1": dict.fromkeys(sim.ShineThrough._fields, 1.0)}
    rows["4"] = dict.fromkeys(sim.ShineThrough._fields, 4.0)
    found = sim.calibrated_model({"epoxy": rows}, ["epoxy", "gold"], 2.0)
    assert found == pytest.approx([2.0] * len(found))
    for bad, message in (
        ({"epoxy": rows}, "calibration: got epoxy, wants one for pores with vacuum"),
        ({"vacuum": {"1": {"depth": 1.0}}}, "calibration: got damaged numbers for vacuum"),
        ({"vacuum": {"1": rows["1"] | {"depth": -1.0}}}, "not all above 0"),
        ({"vacuum": {"one": rows["1"]}}, "calibration: got damaged numbers"),
    ):
        with pytest.raises(InputError, match=message):
            sim.calibrated_model(bad, ["vacuum", "gold"], 2.0)
