"""Gaussian fields against their theory."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.sim import gaussian_field, gaussian_field_area

pytestmark = pytest.mark.numerics


def mean_over_keys(
    shape: tuple[int, int, int], length: float, lags: Sequence[int], keys: int = 16
) -> tuple[np.floating, np.ndarray]:
    """Mean square and mean lagged products (averaged over the axes) of many fields."""
    square, lagged = [], []
    for i in range(keys):
        field = np.asarray(gaussian_field(jax.random.key(i), shape, length), np.float64)
        square.append((field**2).mean())
        lagged.append(
            [np.mean([(field * np.roll(field, r, a)).mean() for a in range(3)]) for r in lags]
        )
    return np.mean(square), np.mean(lagged, axis=0)


@pytest.mark.parametrize("length", [1.5, 3.0])
def test_autocorrelation_of_a_gaussian_filter(length: float):
    lags = (1, 2, 4, 6)
    square, lagged = mean_over_keys((48, 48, 48), length, lags)
    assert square == pytest.approx(1, abs=0.03)
    np.testing.assert_allclose(
        lagged / square, np.exp(-(np.square(lags)) / (4 * length**2)), atol=0.02
    )


def test_ensemble_variance_holds_where_the_filter_wraps_around():
    square, _ = mean_over_keys((8, 10, 12), 2.0, [1], keys=300)
    assert square == pytest.approx(1, abs=0.06)


def test_any_shape_float32_and_periodic():
    field = gaussian_field(jax.random.key(1), (7, 30, 41), 3.0)
    assert field.shape == (7, 30, 41)
    assert field.dtype == jnp.float32
    # The step across the face is as small as those inside.
    steps = np.abs(np.diff(np.asarray(field), axis=2, append=np.asarray(field)[..., :1]))
    assert steps[..., -1].mean() < 1.5 * steps.mean()


def test_length_zero_is_white_and_continuous_with_tiny_lengths():
    white = gaussian_field(jax.random.key(2), (12, 12, 12), 0.0)
    tiny = gaussian_field(jax.random.key(2), (12, 12, 12), 1e-3)
    np.testing.assert_allclose(white, tiny, atol=1e-5)


def test_normalised_by_the_volume_itself():
    field = gaussian_field(jax.random.key(3), (20, 20, 20), 4.0, normalise="volume")
    assert float(field.mean()) == pytest.approx(0, abs=1e-5)
    assert float(field.std()) == pytest.approx(1, abs=1e-4)


def test_same_key_same_field_inside_and_outside_jit():
    key = jax.random.key(4)
    outside = gaussian_field(key, (16, 16, 16), 2.0)
    assert jnp.array_equal(outside, gaussian_field(key, (16, 16, 16), 2.0))
    inside = jax.jit(lambda k, s: gaussian_field(k, (16, 16, 16), s))(key, 2.0)
    np.testing.assert_allclose(inside, outside, atol=1e-5)
    other = gaussian_field(jax.random.key(5), (16, 16, 16), 2.0)
    assert not jnp.allclose(outside, other, atol=0.1)


def test_differentiable_in_its_length():
    def energy(length: jax.Array) -> jax.Array:
        field = gaussian_field(jax.random.key(0), (12, 12, 12), length)
        return (jnp.diff(field, axis=0) ** 2).mean()

    slope = jax.grad(energy)(2.0)
    assert np.isfinite(slope)
    assert slope < 0


def test_expected_area_follows_the_field_s_own_slopes():
    # Rice: area = (2/π) √λ exp(-ξ²/2), λ the mean square derivative, here taken spectrally.
    length, n = 3.0, 48
    frequency = 2 * np.pi * np.fft.fftfreq(n)
    slopes, squares = [], []
    for i in range(12):
        field = np.asarray(gaussian_field(jax.random.key(i), (n, n, n), length), np.float64)
        slope = np.fft.ifft(1j * frequency * np.fft.fft(field)).real
        slopes.append((slope**2).mean())
        squares.append((field**2).mean())
    root = np.sqrt(np.mean(slopes) / np.mean(squares))
    for level in (0.0, 1.0, -1.0):
        expected = 2 / np.pi * root * np.exp(-(level**2) / 2)
        assert gaussian_field_area(length, level) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("key", (8, 8, 8), 1.0), "key: got 'key', wants one random key"),
        ((jax.random.split(jax.random.key(0)), (8, 8, 8), 1.0), "key: got an array of shape"),
        ((jax.random.key(0), (8, 8), 1.0), r"shape: got \(8, 8\), wants three"),
        ((jax.random.key(0), (8, 8, 0), 1.0), r"shape: got \(8, 8, 0\), wants three"),
        ((jax.random.key(0), 8, 1.0), "shape: got 8, wants three"),
        ((jax.random.key(0), (8, 8, 8), -1.0), "length: got -1, wants a finite number"),
        ((jax.random.key(0), (8, 8, 8), float("nan")), "length: got nan"),
        ((jax.random.key(0), (8, 8, 8), "wide"), "length: got 'wide'"),
    ],
)
def test_refusals(arguments: tuple[Any, ...], message: str):
    with pytest.raises(InputError, match=message):
        gaussian_field(*arguments)


def test_refuses_an_unknown_normalisation():
    with pytest.raises(InputError, match="normalise: got 'max', wants one of ensemble, volume"):
        gaussian_field(jax.random.key(0), (8, 8, 8), 1.0, normalise="max")


def test_legacy_keys_work():
    assert gaussian_field(jax.random.PRNGKey(0), (4, 4, 4), 0.0).shape == (4, 4, 4)
