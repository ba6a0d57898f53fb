"""What must hold for any parameters: finite slopes, units, round trips."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from bimmjax import InputError
from bimmjax.models import (
    Params,
    bimm1d,
    bimm2d,
    from_unconstrained,
    gmm,
    phase_pairs,
    pvmm,
    to_unconstrained,
)

settings.register_profile("numerics", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("numerics")

_LOG = jax.jit(bimm2d.log_prob)
_SLOPE = jax.jit(jax.grad(lambda p, u, v: 0.5 * bimm2d.log_prob(p, u, v + 0.0).sum()))


def params_of(rho: float, blur: float, noise: float, weights: list[float]) -> Params:
    return bimm2d.init(
        [0.0, 1.0],
        noise,
        correlation=rho,
        blur_std=blur,
        interior_weights=weights[:2],
        interface_weights=weights[2:],
    )


@given(
    rho=st.sampled_from([-1 + 1e-6, -0.9, 0.0, 0.5, 0.99, 1 - 1e-6]),
    blur=st.sampled_from([0.3, 1.0, 30.0, 1e4]),
    noise=st.sampled_from([0.01, 0.1, 1.0]),
    outlier=st.sampled_from([0.0, 1.0, -100.0, 100.0]),
    v=st.sampled_from([0.0, 1e-6, 0.1, 5.0]),
    weights=st.sampled_from([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
)
def test_slopes_are_finite_everywhere(rho, blur, noise, outlier, v, weights):
    params = params_of(rho, blur, noise, weights)
    u = jnp.asarray([0.5 + outlier * noise])
    value, slope = _LOG(params, u, jnp.asarray([v])), _SLOPE(params, u, jnp.asarray([v]))
    assert bool(jnp.all(jnp.isfinite(value))) if v > 0 else float(value[0]) == -np.inf
    for name, leaf in slope._asdict().items():
        assert leaf is None or bool(jnp.all(jnp.isfinite(leaf))), name


@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_units_of_intensity_only_shift_the_log_density(scale, shift):
    params = bimm2d.init([0.0, 0.4, 1.0], 0.1, correlation=0.2)
    other = params._replace(
        intensities=scale * (params.intensities + shift), noise_std=scale * params.noise_std
    )
    u, v = jnp.asarray([0.1, 0.5, 0.9]), jnp.asarray([0.05, 0.2, 0.4])
    expected = _LOG(params, u, v) - 2 * jnp.log(scale)
    # A large shift takes digits: in float32 100 + 0.1 holds 0.1 to 4e-6, times 1/noise squared.
    np.testing.assert_allclose(_LOG(other, scale * (u + shift), scale * v), expected, atol=6e-3)


@given(
    st.lists(st.floats(0.01, 1.0), min_size=6, max_size=6),
    st.floats(-0.9, 0.9),
    st.floats(0.5, 4.0),
    st.floats(-0.4, 0.4),
)
def test_unconstrained_space_is_a_round_trip(weights, rho, blur, tilt):
    params = bimm2d.init(
        [-1.0, 0.5, 3.0], [0.1, 0.2, 0.3], correlation=rho, blur_std=blur,
        interior_weights=weights[:3], interface_weights=weights[3:],
        interface_tilt=tilt, interface_bend=-0.1,
    )  # fmt: skip
    back = from_unconstrained(to_unconstrained(params))
    for before, after in zip(params, back, strict=True):
        np.testing.assert_allclose(before, after, rtol=3e-4, atol=2e-5)
    assert float(back.interior_weights.sum() + back.interface_weights.sum()) == pytest.approx(1)


@pytest.mark.parametrize("phases", [1, 2, 5])
@pytest.mark.parametrize("model", [gmm, pvmm, bimm1d, bimm2d], ids=lambda m: m.__name__[15:])
def test_every_model_maps_any_vector_to_valid_parameters(model, phases):
    free = to_unconstrained(model.init(np.arange(phases), 0.1))
    flat, rebuild = ravel_pytree(free)
    found = from_unconstrained(rebuild(flat + jax.random.normal(jax.random.key(0), flat.shape)))
    assert bool(jnp.all(jnp.diff(found.intensities) > 0))
    assert bool(jnp.all(found.interior_weights >= 0))
    assert (found.blur_std is None) == (model is not bimm2d or phases == 1)


def test_functions_compose_with_jit_vmap_and_grad():
    params = bimm2d.init([0.0, 1.0], 0.1)
    many = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    u = jnp.ones((2, 3)) * 0.5
    logs = jax.jit(jax.vmap(bimm2d.log_prob))(many, u, 0.2 * u)
    assert logs.shape == (2, 3)
    hessian = jax.jit(jax.hessian(lambda p: bimm2d.log_prob(p, 0.5, 0.2)))(params)
    assert bool(jnp.isfinite(hessian.blur_std.blur_std))
    assert logs.dtype == (jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32)


def test_phases_are_told_apart_by_order_alone():
    params = bimm2d.init([0.0, 0.4, 1.0], 0.1)
    mirrored = params._replace(intensities=1.0 - params.intensities[::-1])
    u, v = jnp.asarray([0.1, 0.3, 0.8]), jnp.asarray([0.1, 0.2, 0.3])
    np.testing.assert_allclose(
        bimm2d.log_prob(params, u, v), bimm2d.log_prob(mirrored, 1.0 - u, v), atol=2e-4
    )
    assert phase_pairs(4)[-1] == (2, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 0.0], 0.1), "intensities: got"),
        (([0.0, np.nan], 0.1), "intensities: got"),
        (([0.0, 1.0], -0.1), "noise_std: got"),
        (([0.0, 1.0], [0.1, 0.1, 0.1]), "noise_std: got"),
    ],
)
def test_bad_values_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        bimm2d.init(*arguments)
    with pytest.raises(InputError, match="interior_weights: got"):
        gmm.init([0.0, 1.0], 0.1, interior_weights=[1.0])
    with pytest.raises(InputError, match="interface_tilt: got"):
        bimm2d.init([0.0, 1.0], 0.1, interface_tilt=[1.0, 2.0], interface_bend=0.0)
