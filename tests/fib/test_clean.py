"""Brightness, curtains and noise, taken out slice by slice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import InputError, open_volume
from bimmjax.fib import denoise, equalise_brightness, remove_curtains
from bimmjax.fib._clean.slicewise import slicewise
from bimmjax.sim import brightness, curtains, draw_waves, wave_field
from bimmjax.volumes import write_resumably

SHAPE = (24, 160, 192)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """Two phases, 0.2 and 0.7, with noise."""
    field = np.asarray(wave_field(draw_waves(jax.random.key(0), 30.0), SHAPE))
    noise = 0.02 * np.random.default_rng(0).standard_normal(SHAPE)
    return (0.2 + 0.5 * (field > 0.4) + noise).astype(np.float32)


def test_gains_and_offsets_come_back(image: np.ndarray):
    changed, gains, offsets = brightness(
        jax.random.key(1), image, gain_std=0.05, offset_std=0.03, length=0.0
    )
    found = equalise_brightness(np.asarray(changed), window=101)
    # Up to those of the median slice.
    off = np.log(found.gains / np.asarray(gains, np.float64))
    assert off.std() < 0.01
    whole = np.asarray(found.volume)
    assert np.std(whole - image) < 0.15 * np.std(np.asarray(changed) - image) + 0.005
    assert np.corrcoef(found.offsets, np.asarray(offsets, np.float64))[0, 1] > 0.95


def test_slow_changes_are_kept():
    rng = np.random.default_rng(0)
    share = np.linspace(0.2, 0.7, 60)
    stack = 0.2 + 0.5 * (rng.random((60, 64, 64)) < share[:, None, None])
    stack = stack + 0.01 * rng.standard_normal(stack.shape)
    found: Any = np.asarray(equalise_brightness(stack).volume)
    np.testing.assert_allclose((found > 0.45).mean((1, 2)), (stack > 0.45).mean((1, 2)), atol=1e-3)
    assert np.abs(found - stack).max() < 0.02


def test_flat_slices_are_only_moved():
    stack = np.ones((5, 8, 8)) * np.array([1.0, 1.0, 4.0, 1.0, 1.0])[:, None, None]
    found = equalise_brightness(stack)
    np.testing.assert_array_equal(found.gains, 1.0)
    np.testing.assert_allclose(np.asarray(found.volume), 1.0)


def test_curtains_go_and_the_structure_stays(image: np.ndarray):
    stack = image[:6]
    striped = np.asarray(curtains(jax.random.key(2), stack, strength=0.08, slices=100.0)[0])
    before = np.std(striped - stack)
    after = np.std(np.asarray(remove_curtains(striped)) - stack)
    assert after < before / 2.0
    untouched = np.std(np.asarray(remove_curtains(stack)) - stack)
    assert untouched < 0.1 * before


def test_curtains_that_fade_or_add(image: np.ndarray):
    stack = image[:4]
    fading = np.asarray(curtains(jax.random.key(2), stack, strength=0.2, depth=60.0)[0])
    whole = np.std(np.asarray(remove_curtains(fading)) - stack)
    pieces = np.std(np.asarray(remove_curtains(fading, length=40.0)) - stack)
    assert pieces < whole < np.std(fading - stack)
    pattern = 0.05 * np.random.default_rng(3).standard_normal(SHAPE[2]).astype(np.float32)
    found = np.asarray(remove_curtains(stack + pattern, kind="add"))
    assert np.std(found - stack) < 0.3 * pattern.std()


def test_strength_nought_leaves_all_as_it_is(image: np.ndarray):
    np.testing.assert_array_equal(np.asarray(remove_curtains(image[:2], strength=0.0)), image[:2])


@pytest.mark.parametrize("kind", ["multiply", "add"])
@pytest.mark.parametrize("left", [0.0, 0.02])
def test_black_borders_are_no_curtains(image: np.ndarray, left: float, kind: str):
    stack = np.ascontiguousarray(image[:3])
    stack[:, :, :40] *= left
    striped = stack.copy()
    striped[:, :, 40:] = curtains(jax.random.key(2), stack[:, :, 40:], strength=0.08, slices=1e6)[0]
    before = np.std(striped - stack)
    assert np.std(np.asarray(remove_curtains(striped, kind=kind)) - stack) < 0.7 * before
    assert np.std(np.asarray(remove_curtains(stack, kind=kind)) - stack) < 0.15 * before
    black = np.zeros((1, 64, 64))
    np.testing.assert_array_equal(np.asarray(remove_curtains(black, kind=kind)), black)


@pytest.mark.parametrize("kind", ["multiply", "add"])
def test_an_edge_along_all_rows_is_no_curtain(kind: str):
    rng = np.random.default_rng(0)
    clear = np.where(np.arange(200) < 90, 0.2, 0.7) * np.ones((2, 64, 1))
    noisy = clear + 0.01 * rng.standard_normal(clear.shape)
    cleaned: Any = np.asarray(remove_curtains(noisy, kind=kind))
    changed = cleaned - noisy
    assert np.abs(changed).max() < 0.03
    assert changed.std() < 0.004


def test_all_columns_of_large_slices_are_looked_at(monkeypatch: pytest.MonkeyPatch):
    """Every third column is off: a sample that meets those alone, or none, tells another gain."""
    rng = np.random.default_rng(0)
    stack = 0.2 + 0.5 * (rng.random((3, 90, 96)) < 0.4)
    stack = stack + 0.02 * rng.standard_normal(stack.shape)
    stack[1, :, ::3] *= 1.3
    whole = equalise_brightness(stack)
    monkeypatch.setattr("bimmjax.fib._clean.brightness._PIXELS", stack[0].size // 3)
    part = equalise_brightness(stack)
    np.testing.assert_allclose(part.gains, whole.gains, atol=0.02)
    np.testing.assert_allclose(part.offsets, whole.offsets, atol=0.01)


def test_slices_are_made_once_where_they_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    stack = np.random.default_rng(0).random((8, 16, 16)).astype(np.float32)
    made: list[float] = []

    def work(plane: np.ndarray) -> np.ndarray:
        made.append(plane[0, 0])
        return plane + 1.0

    def tiled(depth: int) -> int:
        made.clear()
        volume = slicewise(open_volume(stack), work, "raised")
        for z in range(0, 8, depth):
            for y in (0, 8):
                box = (slice(z, z + depth), slice(y, y + 8), slice(0, 16))
                np.testing.assert_array_equal(volume.read(*box), stack[box] + 1.0)
        return len(made)

    monkeypatch.setattr("bimmjax.fib._clean.slicewise._KEPT", 4 * stack[0].nbytes)
    assert tiled(4) == 8
    assert tiled(8) == 16
    made.clear()
    volume = slicewise(open_volume(stack), work, "raised")
    out = write_resumably(volume, tmp_path / "a.zarr", {"made of": "noise"}, whole_slices=True)
    assert len(made) == 8
    np.testing.assert_array_equal(np.asarray(open_volume(out)), stack + 1.0)


@pytest.mark.parametrize(
    "clean",
    [
        lambda v: equalise_brightness(v).volume,
        remove_curtains,
        lambda v: denoise(v, "gaussian"),
        lambda v: denoise(v, "median"),
        lambda v: denoise(v, "tv"),
    ],
)
def test_any_box_is_part_of_the_whole(image: np.ndarray, clean: Callable):
    stack = image[:5]
    volume = clean(open_volume(stack, spacing=(10.0, 5.0, 5.0), unit="nm"))
    assert (volume.shape, volume.dtype, volume.unit) == (stack.shape, np.float32, "nm")
    whole = np.asarray(volume)
    again = clean(stack)
    for box in (
        (slice(1, 4), slice(20, 90), slice(3, 70)),
        (slice(4, 5), slice(0, 1), slice(None)),
    ):
        np.testing.assert_array_equal(again.read(*box), whole[box])


@pytest.mark.parametrize("method", ["nlm", "gaussian", "median", "tv"])
def test_noise_becomes_less(image: np.ndarray, method: str):
    clear = np.where(image[:2] > 0.45, 0.7, 0.2)
    noisy = (clear + 0.1 * np.random.default_rng(1).standard_normal(clear.shape)).astype(np.float32)
    strength = 0.5 if method == "tv" else None
    found = np.asarray(denoise(noisy, method, strength=strength))
    assert np.std(found - clear) < 0.7 * np.std(noisy - clear)


HOLE = np.zeros((2, 64, 64))
HOLE[1, 3, 3] = np.nan


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: equalise_brightness(HOLE, quantiles=(0.9, 1.1)), "quantiles: got 1.1"),
        (lambda: equalise_brightness(np.zeros((2, 8, 8)), quantiles=0.1), "quantiles: got 0.1"),
        (lambda: equalise_brightness(np.zeros((2, 8, 8)), window=4), "window: got 4"),
        (lambda: equalise_brightness(np.full((2, 8, 8), np.nan)), "slice 0 without a finite"),
        (lambda: remove_curtains(np.zeros((2, 8, 64))), "volume: got slices of 8 x 64"),
        (lambda: remove_curtains(HOLE, strength=2.0), "strength: got 2"),
        (lambda: remove_curtains(HOLE, kind="divide"), "kind: got 'divide'"),
        (lambda: remove_curtains(HOLE, length=3.0), "length: got 3"),
        (lambda: np.asarray(remove_curtains(HOLE)), "slice 1 with values that are not finite"),
        (lambda: np.asarray(denoise(HOLE, "median")), "slice 1 with values that are not finite"),
        (lambda: denoise(HOLE, "magic"), "method: got 'magic'"),
        (lambda: denoise(HOLE, "median", strength=4), "strength: got 4"),
        (lambda: denoise(HOLE, "gaussian", strength=-1.0), "strength: got -1"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message) as told:
        call()
    assert "\n" not in str(told.value)


def test_a_sparse_solid_that_comes_and_goes_is_not_taken_for_brightness():
    """An eighth of solid, more or less by half from slice to slice; nothing has changed else."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.06, 0.18, 24)
    stack = np.stack([(rng.random((96, 96)) < share) * 1.0 for share in shares])
    stack += rng.normal(0.0, 0.05, stack.shape)
    found = equalise_brightness(stack, window=49)
    assert np.abs(found.gains - 1.0).max() < 0.02
    assert np.abs(found.offsets).max() < 0.02
