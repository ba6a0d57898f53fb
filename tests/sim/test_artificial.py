"""The paper's artificial volumes as a whole."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.sim import artificial_volume, expected_interface_areas

pytestmark = pytest.mark.numerics

SMALL: dict[str, Any] = {"shape": (32, 32, 32), "feature_length": 4.0, "blur_std": 1.5}


def test_two_phases_as_in_the_paper():
    volume = artificial_volume(jax.random.key(0), fractions=(0.2, 0.8), **SMALL)
    assert volume.image.dtype == jnp.float32
    assert volume.labels.dtype == jnp.uint8
    np.testing.assert_allclose(volume.fractions, [0.2, 0.8], atol=1e-4)
    np.testing.assert_array_equal(volume.intensities, [0.0, 1.0])
    assert volume.interface_areas is not None
    expected = expected_interface_areas((0.2, 0.8), 4.0)
    np.testing.assert_allclose(volume.interface_areas, expected, rtol=0.5)
    assert (volume.blur_std, float(volume.noise_std), volume.correlation) == (1.5, 0.1, 0.0)
    # Blur and noise keep the mean: Σ V_i I_i.
    assert float(volume.image.mean()) == pytest.approx(0.8, abs=0.003)


def test_noise_is_what_was_asked():
    quiet = artificial_volume(jax.random.key(1), noise_std=0.0, with_area=False, **SMALL)
    noisy = artificial_volume(
        jax.random.key(1), noise_std=0.2, noise_length=1.2, with_area=False, **SMALL
    )
    assert jnp.array_equal(quiet.labels, noisy.labels)
    assert quiet.interface_areas is None
    noise = np.asarray(noisy.image - quiet.image, np.float64)
    assert noise.std() == pytest.approx(0.2, rel=0.1)
    lag_two = (noise[2:] * noise[:-2]).mean() / noise.var()
    assert lag_two == pytest.approx(noisy.correlation, abs=0.05)


def test_noise_per_phase_mixes_in_the_blur():
    arguments: dict[str, Any] = {
        **SMALL,
        "shape": (48, 48, 48),
        "feature_length": 8.0,
        "with_area": False,
    }
    quiet = artificial_volume(jax.random.key(2), noise_std=0.0, **arguments)
    noisy = artificial_volume(jax.random.key(2), noise_std=(0.1, 0.3), **arguments)
    noise = np.asarray(noisy.image - quiet.image, np.float64)
    share = np.asarray(quiet.image, np.float64)  # blurred indicator of phase 1
    assert noise[share < 0.01].std() == pytest.approx(0.1, rel=0.03)
    assert noise[share > 0.99].std() == pytest.approx(0.3, rel=0.03)
    between = (share > 0.4) & (share < 0.6)
    assert noise[between].std() == pytest.approx(np.sqrt((0.01 + 0.09) / 2), rel=0.05)


def test_three_phases_in_grey_values():
    volume = artificial_volume(
        jax.random.key(3),
        fractions=(0.3, 0.3, 0.4),
        intensities=(40, 120, 200),
        noise_std=5.0,
        **SMALL,
    )
    assert volume.interface_areas is not None
    assert volume.interface_areas.shape == (3,)
    assert np.all(volume.interface_areas > 0)
    mean = np.dot(volume.fractions, (40, 120, 200))
    assert float(volume.image.mean()) == pytest.approx(mean, abs=0.2)


def test_same_key_same_volume():
    one = artificial_volume(jax.random.key(4), **SMALL)
    two = artificial_volume(jax.random.key(4), **SMALL)
    other = artificial_volume(jax.random.key(5), **SMALL)
    assert jnp.array_equal(one.image, two.image)
    assert np.array_equal(one.interface_areas, two.interface_areas)  # type: ignore[arg-type]
    assert not jnp.array_equal(one.labels, other.labels)


def test_one_phase():
    volume = artificial_volume(jax.random.key(6), fractions=(1.0,), intensities=(3.0,), **SMALL)
    assert volume.fractions.tolist() == [1.0]
    assert float(volume.image.mean()) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fractions": (0.3, 0.3)}, "fractions: got"),
        ({"shape": (64, 64)}, r"shape: got \(64, 64\), wants three"),
        ({"shape": (1, 8, 8)}, r"shape: got \(1, 8, 8\), wants at least 2"),
        ({"blur_std": -3.0}, "blur_std: got -3, wants a finite number of at least 0"),
        ({"noise_std": -0.1}, "noise_std: got -0.1"),
        ({"noise_std": (0.1, 0.1, 0.1)}, "noise_std: got .*wants a number of at least 0, or 2"),
        ({"noise_length": -1.0}, "noise_length: got -1"),
        ({"feature_length": 0.0}, "feature_length: got 0, wants a finite number above 0"),
        ({"intensities": (1.0, 0.0)}, r"intensities: got \(1, 0\), wants 2 ascending numbers"),
        ({"intensities": (0.0, 0.5, 1.0)}, "intensities: got"),
        ({"supersample": 1.5}, "supersample: got 1.5, wants a whole number"),
        ({"key": 3}, "key: got 3, wants one random key"),
    ],
)
def test_refusals(change: dict[str, Any], message: str):
    good = {"key": jax.random.key(0), "shape": (8, 8, 8), "feature_length": 2.0}
    with pytest.raises(InputError, match=message) as told:
        artificial_volume(**(good | change))
    assert "\n" not in str(told.value)
