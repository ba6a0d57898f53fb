"""Simulated sets that networks are compared on: what voltages share, and what they do not."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import _fib_sets
from benchmarks._fib_sets import _recorded, _stretched


@pytest.fixture(scope="module")
def yields():
    """Of two phases in squares, (4, 64, 64)."""
    _, y, x = np.indices((4, 64, 64)) // 16
    return np.where((y + x) % 2, 0.45, 0.15).astype(np.float32)


def test_both_arms_of_preprocessing_have_one_range_of_grey_values(yields):
    plain, seen = (make(yields, 3, 2.0) for make in (_stretched, _recorded))
    for phase in (0.15, 0.45):
        there = yields == np.float32(phase)
        assert abs(plain[there].mean() - seen[there].mean()) < 0.12
    assert plain.std() > 0.2


def test_voltages_have_noise_of_their_own_and_curtains_in_common(yields):
    flat = np.full_like(yields, 0.3) + np.linspace(0, 0.01, 64, dtype=np.float32)
    one, other = (_recorded(flat, 3, energy)[0] for energy in (1.0, 4.0))
    # Curtains run along y: what all pixels of a column have in common is theirs.
    slope = np.linspace(-1, 1, 64)
    columns = [one.mean(0), other.mean(0)]
    columns = [c - np.polyval(np.polyfit(slope, c, 1), slope) for c in columns]
    rest = [one - one.mean(0), other - other.mean(0)]
    assert abs(np.corrcoef(rest[0].ravel(), rest[1].ravel())[0, 1]) < 0.05
    assert np.corrcoef(*columns)[0, 1] > 0.3


def test_each_slice_and_voltage_has_electrons_of_its_own_kept_until_they_change(
    tmp_path, monkeypatch
):
    sent = []

    def drawn(key, part, materials, energy, *, spacing, electrons):
        sent.append(electrons)
        return SimpleNamespace(images=gain * np.asarray(jax.random.normal(key, (1, 4, 4))))

    monkeypatch.setattr(_fib_sets.sim, "monte_carlo", drawn)
    body, gain = np.ones((44, 4, 4), np.uint8), 1.0
    found = [_fib_sets._followed(body, 2, energy, tmp_path, 40) for energy in (1.0, 2.0)]
    assert len({image.tobytes() for stack in found for image in stack}) == 4
    sent.clear()
    assert (_fib_sets._followed(body, 2, 1.0, tmp_path, 40) == found[0]).all()
    assert sent == [_fib_sets._PROBE]
    # Other physics: what is kept does not count.
    gain = 2.0
    assert (_fib_sets._followed(body, 2, 1.0, tmp_path, 40) == 2.0 * found[0]).all()
