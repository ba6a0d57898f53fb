"""Levelled waves: against plain sums in double precision, theory, and themselves in boxes."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.descriptors import line_counts
from bimmjax.sim import (
    draw_waves,
    interface_areas,
    levelled_wave,
    structure_labels,
    wave_field,
    wave_surface_density,
)

pytestmark = pytest.mark.numerics

pytestmark = pytest.mark.numerics


def plain(waves, shape, start=(0, 0, 0)):
    z, y, x = np.meshgrid(
        *(np.arange(a, a + n, dtype=float) for a, n in zip(start, shape, strict=True)),
        indexing="ij",
    )
    total = np.zeros(shape)
    for (kz, ky, kx), phase in zip(
        np.asarray(waves.cycles, float), np.asarray(waves.phases, float), strict=True
    ):
        total += np.cos(2.0 * np.pi * (kz * z + ky * y + kx * x + phase))
    return total * np.sqrt(2.0 / len(waves.phases))


@pytest.mark.parametrize("start", [(0, 0, 0), (3, 1000, 100_000), (2**20, 5, 7)])
def test_fields_are_plain_sums_of_cosines(start):
    waves = draw_waves(jax.random.key(1), 7.3, 60)
    found = wave_field(waves, (9, 20, 17), start)
    np.testing.assert_allclose(found, plain(waves, (9, 20, 17), start), atol=2e-5)


def test_directions_are_uniform_and_lengths_alike():
    waves = draw_waves(jax.random.key(2), 11.0, 20_000)
    cycles = np.asarray(waves.cycles) * 11.0
    np.testing.assert_allclose(np.linalg.norm(cycles, axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(cycles.T @ cycles / len(cycles), np.eye(3) / 3.0, atol=0.01)


def test_periodic_fields_repeat():
    waves = draw_waves(jax.random.key(3), 9.0, 100, period=(24, 30, 36))
    first = np.asarray(wave_field(waves, (6, 6, 6), (1, 2, 3)))
    again = wave_field(waves, (6, 6, 6), (1 + 24, 2 - 30, 3 + 72))
    # Cycles per voxel that end nowhere in binary are a little off, and so is the repeat.
    np.testing.assert_allclose(again, first, atol=2e-4)


@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.8])
def test_solid_fraction_is_met_to_the_voxel(share):
    body = levelled_wave(jax.random.key(4), (30, 31, 32), share, 10.0)
    solid = int(np.asarray(structure_labels(body)).sum())
    assert solid == round(share * 30 * 31 * 32)


def test_surface_density_is_that_of_theory():
    shape, found = (96, 96, 96), []
    for seed in range(4):
        body = levelled_wave(jax.random.key(seed), shape, 0.3, 16.0, periodic=True)
        found.append(float(interface_areas(body)[0]))
    assert np.mean(found) == pytest.approx(wave_surface_density(0.3, 16.0), rel=0.02)


def test_axes_are_alike():
    curves = []
    for seed in range(6):
        labels = np.asarray(
            structure_labels(levelled_wave(jax.random.key(seed), (64, 64, 64), 0.4, 14.0))
        )
        lines = line_counts(labels, 1, lags=24)
        curves.append([lines[1, axis].two_point for axis in "zyx"])
    each = np.array(curves)
    scatter = each.std(0).mean(0) / np.sqrt(len(each))
    middle = each.mean(0)
    assert (np.abs(middle - middle.mean(0)) < 4.0 * scatter + 1e-3).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k: levelled_wave(k, (8, 8, 8), 0.0, 4.0), "solid_fraction: got 0"),
        (lambda k: levelled_wave(k, (8, 8, 8), 1.5, 4.0), "solid_fraction: got 1.5"),
        (lambda k: levelled_wave(k, (8, 8, 8), 0.5, 1.0), "wavelength: got 1.0, wants a number"),
        (lambda k: levelled_wave(k, (8, 8, 8), 0.5, 9.0), "wavelength: got 9, wants at most"),
        (lambda k: draw_waves(k, 4.0, 0), "count: got 0"),
        (lambda k: draw_waves(k, 40.0, period=(9, 9, 9)), "wavelength: got 40, wants at most"),
        (lambda k: draw_waves(3, 4.0), "key: got"),
    ],
)
def test_bad_input_is_told(call, message):
    with pytest.raises(InputError, match=message):
        call(jax.random.key(0))
