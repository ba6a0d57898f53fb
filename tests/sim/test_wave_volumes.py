"""Levelled waves that are made as they are read: the same voxel anywhere, the level exact."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError, convert, open_volume
from bimmjax.sim import (
    Structure,
    hierarchical_wave,
    hierarchical_wave_volume,
    interface_areas,
    levelled_wave,
    levelled_wave_volume,
    ligament_wavelength,
    structure_labels,
    wave_surface_density,
)
from bimmjax.sim._structures import streamed_cut, wave_volumes
from bimmjax.volumes import Volume

EVERYTHING = (slice(None),) * 3
SHAPE = (70, 140, 150)


@pytest.fixture(scope="module")
def made():
    return levelled_wave_volume(jax.random.key(1), SHAPE, 0.3, 20.0, spacing=2.5, unit="nm")


@pytest.mark.numerics
def test_a_volume_read_in_parts_is_the_volume_in_memory(made):
    whole = made.volume.read(*EVERYTHING)
    assert (whole.dtype, whole.sum()) == (np.uint8, round(0.3 * whole.size))
    body = levelled_wave(jax.random.key(1), SHAPE, 0.3, 20.0)
    assert (np.asarray(structure_labels(body)) != whole).sum() <= 8
    for box in ((slice(3, 67), slice(100, 140), slice(1, 2)), (slice(64, 70),) * 3):
        np.testing.assert_array_equal(made.volume.read(*box), whole[box])
    np.testing.assert_allclose(made.interface_areas, interface_areas(body, periodic=False), 1e-4)
    assert (made.volume.spacing, made.volume.unit) == ((2.5, 2.5, 2.5), "nm")


def test_it_is_written_as_it_is_read(made, tmp_path: Path):
    path = convert(made.volume, tmp_path / "wave.zarr")
    written = open_volume(path)
    np.testing.assert_array_equal(written.read(*EVERYTHING), made.volume.read(*EVERYTHING))
    assert (written.spacing, written.unit) == ((2.5, 2.5, 2.5), "nm")


@pytest.mark.numerics
def test_areas_of_large_volumes_are_told_from_parts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wave_volumes, "_MEASURED", 2 * 64**3)
    key = jax.random.key(2)
    parts = levelled_wave_volume(key, (65, 193, 193), 0.4, 16.0, periodic=True)
    error = parts.interface_areas_std[0]
    assert 0.0 < error < 0.1 * parts.interface_areas[0]
    expected = wave_surface_density(0.4, 16.0)
    assert abs(parts.interface_areas[0] - expected) < 6.0 * error + 0.02 * expected


@pytest.mark.numerics
def test_a_hierarchy_is_solid_in_both_levels():
    key, shape = jax.random.key(3), (60, 64, 70)
    found = hierarchical_wave(key, shape, 0.2, (50.0, 9.0), upper_fraction=0.6)
    keys = jax.random.split(key)
    upper = levelled_wave(keys[0], shape, 0.6, 50.0)
    lower = levelled_wave(keys[1], shape, 0.5, 9.0).fields[0]
    inside = np.asarray(structure_labels(upper)) == 1
    assert not (found.labels.astype(bool) & ~inside).any()
    level = np.sort(np.asarray(lower)[inside])[-round(0.2 * found.labels.size)]
    expected = inside & (np.asarray(lower) >= level)
    assert (expected != found.labels).sum() <= 4
    both = Structure(
        jnp.stack([upper.fields[0], lower]), jnp.stack([upper.levels[0], jnp.float32(level)])
    )
    areas = interface_areas(both, periodic=False)
    np.testing.assert_allclose(found.interface_areas, [areas[1] + areas[2]], rtol=1e-3)
    again = hierarchical_wave_volume(key, shape, 0.2, (50.0, 9.0), upper_fraction=0.6)
    np.testing.assert_array_equal(again.volume.read(*EVERYTHING), found.labels)


@pytest.mark.parametrize("ties", [False, True])
def test_the_cut_is_exact_whatever_the_coarser_lattices_told(
    ties: bool, monkeypatch: pytest.MonkeyPatch
):
    # So few values at once that several lattices are needed, and a wrong bracket is widened.
    monkeypatch.setattr(streamed_cut, "_FEW", 64)
    values = np.random.default_rng(0).normal(size=(40, 44, 48)).astype(np.float32)
    values += np.linspace(0.0, 3.0, 48, dtype=np.float32)  # lattices see less of the far end
    if ties:
        values = np.round(values, 1)

    def sampled(stride: int) -> Volume:
        part = values[::stride, ::stride, ::stride]
        return Volume(part.shape, part.dtype, lambda z, y, x: part[z, y, x], chunks=(16, 16, 16))

    for count in (1, 777, 40_000, values.size - 1):
        level, spared = streamed_cut.cut(sampled, count)
        taken = values.ravel() >= level
        assert (values.ravel()[spared] == level).all()
        taken[spared] = False
        assert taken.sum() == count


def test_progress_is_told_to_the_end():
    told: list[tuple[int, int]] = []
    hierarchical_wave_volume(
        jax.random.key(0), (40, 40, 40), 0.3, (30.0, 8.0), progress=lambda *a: told.append(a)
    )
    assert told[-1] == (2 * 40**3, 2 * 40**3)
    assert told == sorted(told)


def test_ligaments_and_wavelengths():
    wave = ligament_wavelength(15.0, 0.3)
    assert 4 * 0.3 / wave_surface_density(0.3, wave) == pytest.approx(15.0)
    with pytest.raises(InputError, match="ligament: got 0"):
        ligament_wavelength(0.0, 0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solid_fraction": 0.0}, "solid_fraction: got 0"),
        ({"solid_fraction": 1e-9}, "solid_fraction: got 1e-09, which is no or every voxel"),
        ({"wavelength": 1.5}, "wavelength: got 1.5"),
        ({"wavelength": 33.0}, "wavelength: got 33, wants at most"),
        ({"shape": (8, 8)}, "shape: got"),
        ({"spacing": 2.0, "unit": "parsec"}, "unit: got"),
    ],
)
def test_bad_input_is_told(change, message: str):
    usual = {"shape": (32, 32, 32), "solid_fraction": 0.3, "wavelength": 8.0}
    with pytest.raises(InputError, match=message):
        levelled_wave_volume(jax.random.key(0), **(usual | change))
