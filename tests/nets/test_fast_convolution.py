"""Convolutions with gradients of their own against the stock ones."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from bimmjax.nets import build
from bimmjax.nets._blocks import fast_convolution
from bimmjax.nets._blocks.fast_convolution import convolve
from bimmjax.nets._train.devices import mesh_for
from bimmjax.nets._train.recipe import Recipe
from bimmjax.nets._train.step import Stepper

LAYOUT = {4: ("NHWC", "HWIO", "NHWC"), 5: ("NDHWC", "DHWIO", "NDHWC")}


def stock(x, kernel, strides, pads, **how):
    return lax.conv_general_dilated(
        x, kernel, strides, pads, dimension_numbers=LAYOUT[x.ndim], **how
    )


def fast(x, kernel, strides, pads, **how):
    return convolve(x, kernel, strides, pads, dimension_numbers=LAYOUT[x.ndim], **how)


def outcome(function, x, kernel, strides, pads):
    """Values, and the gradients of a random projection of them."""

    @jax.jit
    def all_of(x, kernel):
        y, back = jax.vjp(lambda x, kernel: function(x, kernel, strides, pads), x, kernel)
        side = np.random.default_rng(1).standard_normal(y.shape)
        return y, *back(jnp.asarray(side, y.dtype))

    return all_of(x, kernel)


def arrays(dtype, *shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(shape), dtype) for shape in shapes]


def assert_same(found, wanted, limit):
    for name, a, b in zip(("value", "by input", "by kernel"), found, wanted, strict=True):
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert np.abs(a - b).max(initial=0.0) <= limit * np.abs(b).max(initial=0.0), name


@st.composite
def layers(draw):
    """Shapes of image and kernel, strides and pads of a layer."""
    dims = draw(st.integers(2, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(dims)]
    pads = [(draw(st.integers(0, k - 1)), draw(st.integers(0, k - 1))) for k in kernel]
    space = [
        draw(st.integers(max(1, k - low - high), 9))
        for k, (low, high) in zip(kernel, pads, strict=True)
    ]
    strides = tuple(draw(st.integers(1, 3)) for _ in range(dims))
    inputs, outputs = draw(st.integers(1, 20)), draw(st.integers(1, 20))
    batch = draw(st.integers(1, 4))
    return (batch, *space, inputs), (*kernel, inputs, outputs), strides, pads


@pytest.mark.numerics
@pytest.mark.parametrize("block", [2**21, 2**10])
def test_any_layer_equals_the_stock_one(block, monkeypatch):
    # Small blocks, so that small images are cut as large ones are.
    monkeypatch.setattr(fast_convolution, "_BLOCK_BYTES", block)
    double = jax.config.read("jax_enable_x64")

    @settings(max_examples=8, deadline=None)
    @given(layers())
    def check(layer):
        shape, kernel, strides, pads = layer
        with jax.enable_x64(True):
            given = arrays(jnp.float64, shape, kernel)
            wanted = outcome(stock, *given, strides, pads)
            assert_same(outcome(fast, *given, strides, pads), wanted, 1e-12)
        with jax.enable_x64(double):
            found = outcome(fast, *arrays(jnp.float32, shape, kernel), strides, pads)
        assert found[0].dtype == jnp.float32
        assert_same(found, [np.float32(w) for w in wanted], 1e-6)

    check()


def test_small_blocks_cut_rows_and_images(monkeypatch):
    for block, loops in ((2**30, 0), (2**10, 1)):
        monkeypatch.setattr(fast_convolution, "_BLOCK_BYTES", block)
        x, kernel = arrays(jnp.float32, (2, 8, 8, 2), (3, 3, 2, 4))
        of_kernel = jax.make_jaxpr(
            lambda x, k: fast_convolution._slope_of_kernel(
                x, jnp.ones((2, 8, 8, 4)), k, (1, 1), ((1, 1), (1, 1))
            )
        )(x, kernel)
        assert str(of_kernel).count("scan[") == loops


@pytest.mark.parametrize(
    ("shape", "kernel", "strides"),
    [
        ((2, 40, 40, 16), (3, 3, 16, 32), (1, 1)),
        ((2, 40, 40, 48), (3, 3, 48, 16), (1, 1)),
        ((1, 40, 40, 8), (3, 3, 8, 8), (2, 2)),
        ((1, 41, 39, 8), (7, 7, 8, 4), (2, 2)),
        ((2, 20, 20, 16), (1, 1, 16, 64), (2, 2)),
        ((1, 16, 16, 16, 8), (3, 3, 3, 8, 8), (1, 1, 1)),
        ((1, 16, 16, 16, 24), (3, 3, 3, 24, 8), (1, 2, 2)),
        ((1, 16, 16, 16, 24), (3, 1, 1, 24, 4), (2, 2, 2)),
    ],
)
def test_layers_of_networks_equal_the_truth_in_single_precision(shape, kernel, strides):
    pads = [(k // 2, k // 2) for k in kernel[:-2]]
    with jax.enable_x64(True):
        wanted = outcome(stock, *arrays(jnp.float64, shape, kernel), strides, pads)
        wanted = [np.float32(w) for w in wanted]
    found = outcome(fast, *arrays(jnp.float32, shape, kernel), strides, pads)
    assert_same(found, wanted, 1e-6)


def test_half_precision_keeps_its_dtype_and_sums_in_single():
    # 1600 ones: sums in bfloat16 would stand still at 256.
    x, kernel = jnp.ones((1, 40, 40, 1), jnp.bfloat16), jnp.ones((1, 1, 1, 2), jnp.bfloat16)
    value, _, of_kernel = jax.jit(
        lambda x, k: (lambda y, back: (y, *back(jnp.ones_like(y))))(
            *jax.vjp(lambda x, k: fast(x, k, (1, 1), [(0, 0)] * 2), x, k)
        )
    )(x, kernel)
    assert value.dtype == of_kernel.dtype == jnp.bfloat16
    assert np.asarray(of_kernel, np.float32).ravel().tolist() == [1600.0, 1600.0]
    given = arrays(jnp.bfloat16, (2, 12, 12, 3), (3, 3, 3, 5))
    single = [a.astype(jnp.float32) for a in given]
    wanted = outcome(stock, *single, (1, 1), [(1, 1)] * 2)
    found = outcome(fast, *given, (1, 1), [(1, 1)] * 2)
    assert_same([f.astype(w.dtype) for f, w in zip(found, wanted, strict=True)], wanted, 2e-2)


@pytest.mark.numerics
def test_vmapped_over_images_and_over_kernels():
    x, kernels = arrays(jnp.float32, (3, 2, 8, 8, 4), (3, 3, 3, 4, 5))
    pads = [(1, 1)] * 2

    def slopes(function, x, kernel):
        y, back = jax.vjp(lambda x, k: function(x, k, (1, 1), pads), x, kernel)
        return y, *back(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    for axes, both in (((0, 0), (x, kernels)), ((None, 0), (x[0], kernels))):
        found, wanted = (jax.vmap(partial(slopes, f), axes)(*both) for f in (fast, stock))
        assert_same(found, wanted, 1e-6)


def test_what_it_does_not_know_goes_to_the_stock_one():
    x, kernel = arrays(jnp.float32, (1, 6, 6, 4), (3, 3, 4, 8))
    for how in (
        {"rhs_dilation": (2, 2)},
        {"lhs_dilation": (2, 2)},
        {"precision": lax.Precision.HIGHEST},
        {"preferred_element_type": jnp.float32},
    ):
        found = fast(x, kernel, (1, 1), [(1, 1)] * 2, **how)
        wanted = stock(x, kernel, (1, 1), [(1, 1)] * 2, **how)
        np.testing.assert_array_equal(found, wanted)
    grouped = kernel[:, :, :2]
    found = fast(x, grouped, (1, 1), "SAME", feature_group_count=2)
    assert_same([found] * 3, [stock(x, grouped, (1, 1), "SAME", feature_group_count=2)] * 3, 1e-6)
    # Wider pads than the kernel, and channels first.
    wide = [(4, 4), (4, 4)]
    np.testing.assert_array_equal(fast(x, kernel, (1, 1), wide), stock(x, kernel, (1, 1), wide))
    first = jnp.moveaxis(x, -1, 1)
    numbers = ("NCHW", "HWIO", "NCHW")
    assert convolve(first, kernel, (1, 1), "SAME", dimension_numbers=numbers).shape == (1, 8, 6, 6)


def test_other_platforms_get_the_stock_one():
    def slopes(function):
        def loss(x, kernel):
            return jnp.sum(jnp.sin(function(x, kernel, (1, 1), [(1, 1)] * 2)))

        given = (jnp.ones((2, 160, 160, 8)), jnp.ones((3, 3, 8, 8)))
        traced = jax.jit(jax.grad(loss, (0, 1))).trace(*given)
        return {to: traced.lower(lowering_platforms=(to,)).as_text() for to in ("cpu", "cuda")}

    found, plain = slopes(fast), slopes(stock)
    assert "while" in found["cpu"]
    assert "while" not in found["cuda"]
    count = [text.count("stablehlo.convolution") for text in (found["cuda"], plain["cuda"])]
    assert count[0] == count[1] == 3


@pytest.mark.parametrize("dims", [2, 3])
def test_networks_use_it_and_learn_the_same(dims):
    net = build(
        "modular-unet", channels=1, classes=2, width=2, depth=1, dims=dims, dropout=0.0, noise=0.0
    )
    shape = (2, *(8,) * dims, 1)
    images = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    graph, params, rest = nnx.split(net, nnx.Param, ...)
    net.set_attributes(conv_general_dilated=lax.conv_general_dilated)
    plain = nnx.split(net, nnx.Param, ...)[0]
    assert graph != plain

    def slopes(graph):
        def loss(params):
            return jnp.sum(jnp.sin(nnx.merge(graph, params, rest, copy=True)(images)))

        return jax.jit(jax.grad(loss))(params)

    found, wanted = jax.tree.leaves(slopes(graph)), jax.tree.leaves(slopes(plain))
    largest = max(float(jnp.abs(w).max()) for w in wanted)
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * largest, rtol=0)


def test_devices_that_share_a_batch_get_the_stock_one(monkeypatch):
    monkeypatch.setattr(fast_convolution, "_BLOCK_BYTES", 2**8)
    # A size of its own: what another test has traced is not traced again, with other blocks.
    recipe = Recipe("unet", 2, patch=(12, 20), batch=2)
    batch = [np.zeros((2, 12, 20, *rest), d) for rest, d in (((1,), np.float32), ((), np.uint8))]
    batch.append(np.zeros((2, 0), np.float32))
    for devices in (1, 2):
        net = build("unet", channels=1, classes=2, width=3, depth=1)
        found = Stepper(net, recipe, mesh_for(2, recipe.patch, 2, devices))
        text = found._learn.lower(found.state, *found._placed(batch), jnp.float32(1)).as_text()
        assert ("stablehlo.while" in text) == (devices == 1)
