"""Blur, noise and grey levels against SciPy and against their moments."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from bimmjax import InputError
from bimmjax.sim import add_noise, blur, noise_correlation, to_integers

pytestmark = pytest.mark.numerics


@pytest.mark.parametrize("std", [0.5, 1.0, 3.0])
def test_blur_is_scipy_s_periodic_filter(std: float):
    image = (np.random.default_rng(0).random((20, 31, 24)) > 0.5).astype(np.float32)
    expected = ndimage.gaussian_filter(image.astype(np.float64), std, mode="wrap", truncate=6)
    np.testing.assert_allclose(blur(image, std), expected, atol=2e-6)


def test_blur_of_an_edge_is_the_model_s_profile():
    from scipy.special import ndtr

    image = np.zeros((4, 4, 64), np.float32)
    image[..., 16:48] = 1
    x = np.arange(4, 28) - 15.5
    np.testing.assert_allclose(blur(image, 3.0)[0, 0, 4:28], ndtr(x / 3.0), atol=3e-3)


def test_blur_zero_changes_nothing_and_takes_any_dtype():
    image = np.random.default_rng(1).integers(0, 255, (5, 6, 7), dtype=np.uint8)
    seen = blur(image, 0.0)
    assert seen.dtype == jnp.float32
    np.testing.assert_allclose(seen, image, atol=1e-3)


def test_blur_inside_jit_and_grad():
    image = jax.random.normal(jax.random.key(0), (8, 8, 8))
    inside = jax.jit(blur)(image, 1.5)
    np.testing.assert_allclose(inside, blur(image, 1.5), atol=1e-6)
    slope = jax.grad(lambda s: (blur(image, s) ** 2).sum())(1.5)
    assert slope < 0


@pytest.mark.parametrize("length", [0.0, 0.5, 1.2, 3.0])
def test_noise_std_and_correlation(length: float):
    keys, noise = range(8), []
    for i in keys:
        empty = jnp.full((48, 48, 48), 7.0)
        noise.append(add_noise(jax.random.key(i), empty, 0.25, noise_length=length) - 7.0)
    noise = np.asarray(noise, np.float64)
    assert noise.std() == pytest.approx(0.25, rel=0.03)
    found = [
        np.mean([(noise * np.roll(noise, lag, 1 + axis)).mean() for axis in range(3)])
        for lag in (1, 2)
    ]
    expected = noise_correlation(length)
    np.testing.assert_allclose(np.array(found) / noise.var(), expected, atol=0.01)
    assert expected.shape == (2,)


def test_noise_correlation_tends_to_its_continuous_form():
    np.testing.assert_allclose(
        noise_correlation(2.0, 4), np.exp(-(np.arange(1, 5) ** 2) / 16), rtol=1e-6
    )


def test_noise_per_voxel():
    std = jnp.where(jnp.arange(32) < 16, 0.1, 0.4)
    seen = np.asarray(
        add_noise(jax.random.key(0), jnp.zeros((32, 32, 32)), jnp.broadcast_to(std, (32, 32, 32)))
    )
    assert seen[..., :16].std() == pytest.approx(0.1, rel=0.03)
    assert seen[..., 16:].std() == pytest.approx(0.4, rel=0.03)


def test_to_integers_rounds_and_clips():
    image = np.array([-1.0, 0.0, 0.2, 0.6, 300.0, 7e4]).reshape(1, 2, 3)
    eight = to_integers(image)
    assert eight.dtype == np.uint8
    assert eight.ravel().tolist() == [0, 0, 0, 1, 255, 255]
    sixteen = to_integers(image, "uint16", scale=10.0, offset=3.0)
    assert sixteen.dtype == np.uint16
    assert sixteen.ravel().tolist() == [0, 3, 5, 9, 3003, 65535]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: blur(np.zeros((4, 4)), 1.0), r"image: got an array of shape \(4, 4\)"),
        (lambda: blur(np.zeros((4, 4, 4)), -1.0), "blur_std: got -1, wants a finite number of at"),
        (lambda: add_noise(jax.random.key(0), np.zeros((4, 4, 4)), -1.0), "noise_std: got -1"),
        (
            lambda: add_noise(jax.random.key(0), np.zeros((4, 4, 4)), np.ones(3)),
            r"noise_std: got shape \(3,\), wants a number or \(4, 4, 4\)",
        ),
        (
            lambda: add_noise(jax.random.key(0), np.zeros((4, 4, 4)), -np.ones((4, 4, 4))),
            "noise_std: got negative or NaN values",
        ),
        (
            lambda: add_noise(jax.random.key(0), np.zeros((4, 4, 4)), 1.0, noise_length=-2.0),
            "noise_length: got -2",
        ),
        (lambda: noise_correlation(-1.0), "noise_length: got -1"),
        (lambda: to_integers(np.zeros((4, 4, 4)), "int32"), "dtype: got 'int32', wants uint8"),
        (lambda: to_integers(np.zeros((4, 4, 4)), scale=0.0), "scale: got 0, wants"),
    ],
)
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        call()
