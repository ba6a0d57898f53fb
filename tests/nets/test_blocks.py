"""The layers against torch, flax and loops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bimmjax.nets import build, freeze_norms, set_compute_dtype
from bimmjax.nets._blocks.convolution import Conv, PReLU, SeparableConv, he_normal
from bimmjax.nets._blocks.norms import BatchNorm, GaussianNoise, make_norm
from bimmjax.nets._blocks.pooling import MaxPool, OverlappingMaxPool, averaging, mean_over_bins
from bimmjax.nets._blocks.reach import Step, halo_of, multiple_of
from bimmjax.nets._blocks.upsampling import Linear, Repeat, UpConv, depth_to_space

pytestmark = pytest.mark.numerics


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def to_torch(x: np.ndarray):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(np.moveaxis(np.asarray(x), -1, 1).copy())


def from_torch(x) -> np.ndarray:
    return np.moveaxis(x.detach().numpy(), 1, -1)


def transposed_by_loop(x: np.ndarray, kernel: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """One axis, one sample: every input adds its own copy of the kernel."""
    taps, _, outputs = kernel.shape
    full = np.zeros((stride * len(x) + taps + stride, outputs))
    for j, value in enumerate(x):
        for t in range(taps):
            full[stride * j + t] += value @ kernel[t]
    return full[pad : pad + stride * len(x)]


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    size=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_transposed_convolution_equals_adding_up_kernels(kernel, stride, size, seed):
    assume(kernel >= stride)
    up = UpConv(2, 3, (kernel, 1), (stride, 1), rngs=nnx.Rngs(seed))
    x = random(1, size, 1, 2, seed=seed)
    wanted = transposed_by_loop(x[0, :, 0], np.asarray(up.kernel[...])[:, 0], stride, up.pad[0])
    np.testing.assert_allclose(up(jnp.asarray(x))[0, :, 0], wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("kernel", "stride"),
    [((3, 3), (2, 2)), ((2, 2), (2, 2)), ((4, 3), (2, 1)), ((3, 2, 2), (1, 2, 2))],
)
def test_transposed_convolution_and_its_gradient_equal_those_of_torch(kernel, stride):
    torch = pytest.importorskip("torch")
    up = UpConv(3, 2, kernel, stride, rngs=nnx.Rngs(1))
    up.bias[...] = jnp.asarray([0.3, -0.2], jnp.float32)
    x = random(2, *(4, 3, 5)[: len(kernel)], 3)
    layer = (torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)[len(kernel) - 2](
        3,
        2,
        kernel,
        stride,
        padding=up.pad,
        output_padding=[s - k + 2 * p for k, s, p in zip(kernel, stride, up.pad, strict=True)],
    )
    with torch.no_grad():
        weight = np.moveaxis(np.asarray(up.kernel[...]), (-2, -1), (0, 1))
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        layer.bias.copy_(torch.from_numpy(np.asarray(up.bias[...]).copy()))
    found = up(jnp.asarray(x))
    wanted = layer(to_torch(x))
    np.testing.assert_allclose(found, from_torch(wanted), atol=1e-5)
    side = random(*found.shape, seed=3)
    (wanted * to_torch(side)).sum().backward()
    grads = nnx.grad(lambda up: (up(jnp.asarray(x)) * side).sum())(up)
    slope = np.moveaxis(layer.weight.grad.numpy(), (0, 1), (-2, -1))
    np.testing.assert_allclose(grads["kernel"][...], slope, rtol=1e-5, atol=1e-4)


def test_transposed_convolution_equals_that_of_flax_with_its_kernel_flipped():
    theirs = nnx.ConvTranspose(3, 2, (2, 2), strides=2, padding="VALID", rngs=nnx.Rngs(0))
    up = UpConv(3, 2, (2, 2), (2, 2), rngs=nnx.Rngs(0))
    up.kernel[...] = jnp.flip(theirs.kernel[...], (0, 1))
    x = jnp.asarray(random(1, 3, 4, 3))
    np.testing.assert_allclose(up(x), theirs(x), atol=1e-5)


def test_depth_to_space_puts_each_phase_at_its_place():
    x = random(2, 3, 4, 5, 2 * 1 * 3 * 7)
    y = depth_to_space(jnp.asarray(x), (2, 1, 3))
    phases = x.reshape(2, 3, 4, 5, 2, 1, 3, 7)
    for a in range(2):
        for c in range(3):
            np.testing.assert_array_equal(y[:, a::2, :, c::3], phases[:, :, :, :, a, 0, c])


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups"),
    [((3, 3), 1, 1, 1), ((3, 3), 2, 1, 1), ((7, 7), 2, 1, 1), ((3, 1), 1, 3, 1), ((3, 3), 1, 2, 4)],
)
def test_convolution_equals_that_of_torch(kernel, stride, dilation, groups):
    torch = pytest.importorskip("torch")
    conv = Conv(4, 8, kernel, stride=stride, dilation=dilation, groups=groups, rngs=nnx.Rngs(0))
    x = random(2, 8, 12, 4)
    weight = np.moveaxis(np.asarray(conv.kernel[...]), (-1, -2), (0, 1))
    wanted = torch.nn.functional.conv2d(
        to_torch(x),
        torch.from_numpy(weight.copy()),
        torch.from_numpy(np.asarray(conv.bias[...]).copy()),
        stride,
        [dilation * (k // 2) for k in kernel],
        dilation,
        groups,
    )
    np.testing.assert_allclose(conv(jnp.asarray(x)), from_torch(wanted), atol=1e-5)


def test_separable_convolution_is_a_convolution_with_a_product_kernel():
    conv = SeparableConv(3, 5, (3, 3), rngs=nnx.Rngs(0))
    x = jnp.asarray(random(1, 6, 6, 3))
    whole = Conv(3, 5, (3, 3), rngs=nnx.Rngs(0))
    depthwise = conv.depthwise.kernel[...][:, :, 0]
    whole.kernel[...] = depthwise[..., None] * conv.pointwise.kernel[...][0, 0]
    np.testing.assert_allclose(conv(x), whole(x), atol=1e-5)


def test_pooling_takes_the_largest_of_each_block():
    x = random(2, 4, 6, 8, 3)
    found = MaxPool((1, 2, 4))(jnp.asarray(x))
    wanted = x.reshape(2, 4, 3, 2, 2, 4, 3).max((3, 5))
    np.testing.assert_array_equal(found, wanted)


def test_a_block_has_one_largest_voxel_though_many_are_equal():
    x = jnp.ones((1, 4, 2, 1)).at[0, 3, 1, 0].set(2.0).at[0, 0, 0, 0].set(jnp.nan)
    slope = jax.grad(lambda x: MaxPool((2, 2))(x)[0, 1, 0, 0])(x)
    assert slope[0, 2:, :, 0].tolist() == [[0.0, 0.0], [0.0, 1.0]]
    slope = jax.grad(lambda x: MaxPool((2, 2))(x).sum())(jnp.zeros((1, 4, 6, 2)))
    assert slope.reshape(2, 2, 3, 2, 2).sum((1, 3)).tolist() == np.ones((2, 3, 2)).tolist()
    # What is no number stays so.
    assert jnp.isnan(MaxPool((2, 2))(x)[0, :, 0, 0]).tolist() == [True, False]


def test_pooling_over_overlapping_windows_equals_that_of_torch():
    torch = pytest.importorskip("torch")
    x = random(1, 8, 6, 2)
    wanted = torch.nn.functional.max_pool2d(to_torch(x), 3, 2, 1)
    np.testing.assert_array_equal(OverlappingMaxPool()(jnp.asarray(x)), from_torch(wanted))


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
def test_means_over_bins_equal_those_of_torch(bins):
    torch = pytest.importorskip("torch")
    x = random(2, 5, 13, 3)
    wanted = torch.nn.functional.adaptive_avg_pool2d(to_torch(x), bins)
    np.testing.assert_allclose(mean_over_bins(jnp.asarray(x), bins), from_torch(wanted), atol=1e-6)


@given(size=st.integers(1, 40), bins=st.integers(1, 12))
def test_every_bin_is_a_mean_and_every_voxel_counts(size, bins):
    weights = averaging(size, bins)
    np.testing.assert_allclose(weights.sum(1), 1.0, rtol=1e-5)
    assert (weights.sum(0) > 0).all()


def test_interpolation_equals_that_of_torch():
    torch = pytest.importorskip("torch")
    x = random(1, 3, 5, 2)
    wanted = torch.nn.functional.interpolate(
        to_torch(x), scale_factor=4, mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(Linear((4, 4))(jnp.asarray(x)), from_torch(wanted), atol=1e-5)
    np.testing.assert_array_equal(Repeat((2, 1))(jnp.asarray(x)), np.repeat(x, 2, 1))


def test_parametric_relu_has_its_slope_below_zero():
    layer = PReLU(2)
    layer.slope[...] = jnp.asarray([0.5, 0.0], jnp.float32)
    x = jnp.asarray([[-2.0, -2.0], [3.0, 3.0]], jnp.float32)
    np.testing.assert_array_equal(layer(x), [[-1.0, 0.0], [3.0, 3.0]])


def test_kernels_have_the_spread_that_keeps_activations_and_come_from_the_key_alone():
    key = jax.random.key(3)
    kernel = he_normal(key, (3, 3, 64, 50))
    assert abs(float(kernel.std()) / np.sqrt(2 / (9 * 64)) - 1) < 0.02
    assert abs(float(kernel.mean())) < 1e-3
    np.testing.assert_array_equal(kernel, jax.jit(lambda key: he_normal(key, (3, 3, 64, 50)))(key))
    assert (kernel != he_normal(jax.random.key(4), (3, 3, 64, 50))).any()


@pytest.mark.parametrize("kernel", [2, 3])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_transposed_convolution_keeps_the_spread_that_a_relu_halves(dims, kernel):
    up = UpConv(64, 64, (kernel,) * dims, (2,) * dims, rngs=nnx.Rngs(0))
    x = random(2, *(6,) * dims, 64)
    found = np.asarray(up(jnp.asarray(np.maximum(x, 0.0))))
    # An output meets 1 or 2 entries an axis, kernel / 2 on the average. Faces see zeros beyond.
    inner = found[(slice(None), *(slice(2, -2),) * dims)]
    assert abs(float((inner**2).mean()) - 1) < 0.15


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from(["c", "d", "u"])),
        min_size=1,
        max_size=6,
    )
)
def test_halo_is_the_farthest_input_that_any_output_reads(plan):
    # The plan's ways down are undone at the end, so that outputs and inputs are on one grid.
    down = 0
    layers = []
    for low, high, kind in plan:
        if kind == "u" and down == 0:
            continue
        down += {"c": 0, "d": 1, "u": -1}[kind]
        layers.append((Step(low, high, 2 if kind == "d" else 1, 2 if kind == "u" else 1),))
    layers += [(Step(factor=2),)] * down
    assume(layers)
    # Brute force: sets of inputs, followed forwards.
    size = 512
    reads = [{i} for i in range(size)]
    for (step,) in layers:
        count = len(reads) * step.factor // step.stride
        reads = [
            set().union(
                *(
                    reads[j]
                    for j in range(
                        i // step.factor * step.stride - step.low,
                        i // step.factor * step.stride + step.high + 1,
                    )
                    if 0 <= j < len(reads)
                )
            )
            for i in range(count)
        ]
    middle = range(192, 192 + 64)
    wanted = max(max(i - min(reads[i]), max(reads[i]) - i) for i in middle)
    # Reads are intervals here, so the two agree to the voxel.
    assert halo_of(layers) == (wanted,)
    assert multiple_of(layers)[0] <= 64


def test_batch_normalisation_equals_that_of_torch_and_keeps_running_averages():
    torch = pytest.importorskip("torch")
    norm = BatchNorm(3, momentum=0.9, use_fast_variance=False, rngs=nnx.Rngs(0))
    x = random(4, 5, 6, 3) * 2 + 100
    wanted = torch.nn.functional.batch_norm(to_torch(x), None, None, training=True)
    np.testing.assert_allclose(norm(jnp.asarray(x)), from_torch(wanted), atol=1e-4)
    np.testing.assert_allclose(norm.mean[...], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)


def test_frozen_batch_normalisation_neither_uses_nor_changes_statistics():
    net = build("unet", channels=1, classes=2, width=2, depth=1)
    x = jnp.asarray(random(2, 4, 4, 1) + 5)
    net.eval()
    wanted = net(x)
    net.train()
    assert (net(x) != wanted).any()
    net = build("unet", channels=1, classes=2, width=2, depth=1)
    before = jax.tree.leaves(nnx.state(net, nnx.BatchStat))
    assert freeze_norms(net) == 6
    np.testing.assert_array_equal(net(x), wanted)
    for old, new in zip(before, jax.tree.leaves(nnx.state(net, nnx.BatchStat)), strict=True):
        np.testing.assert_array_equal(old, new)
    freeze_norms(net, False)
    assert (net(x) != wanted).any()


@pytest.mark.parametrize("mean_of_all", [0, 1000])
@pytest.mark.parametrize("kind", ["group", "layer"])
def test_group_and_layer_normalisation_by_hand(kind, mean_of_all):
    norm = make_norm(kind, 48, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))
    x = random(2, 3, 4, 48) + np.float32(mean_of_all)
    found = norm(jnp.asarray(x))
    x = x.astype(np.float64)
    # 48 features make 16 groups of 3.
    parts = x.reshape(2, 3, 4, 16, 3) if kind == "group" else x[..., None, :]
    axes = (1, 2, 4) if kind == "group" else (4,)
    mean, var = parts.mean(axes, keepdims=True), parts.var(axes, keepdims=True)
    wanted = ((parts - mean) / np.sqrt(var + 1e-5)).reshape(x.shape)
    # 1000 has a rounding of 6e-5. That of its square, 0.06, would be in a fast variance.
    np.testing.assert_allclose(found, wanted, atol=1e-3 if mean_of_all else 1e-5)


def test_noise_is_there_in_training_only_and_never_twice_the_same():
    noise = GaussianNoise(0.5, rngs=nnx.Rngs(0))
    x = jnp.zeros((1, 64, 64, 1), jnp.float32)
    first, second = noise(x), noise(x)
    assert abs(float(first.std()) - 0.5) < 0.02
    assert (first != second).all()
    noise.set_attributes(deterministic=True)
    np.testing.assert_array_equal(noise(x), x)


def test_half_precision_computes_near_the_same_and_keeps_parameters():
    net = build("modular-unet", channels=1, classes=2, width=4, depth=1)
    net.eval()
    x = jnp.asarray(random(1, 8, 8, 1))
    exact = net(x)
    set_compute_dtype(net, jnp.bfloat16)
    found = net(x)
    assert found.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(net, nnx.Param)))
    assert 0 < float(jnp.abs(found - exact).max()) < 0.1 * float(jnp.abs(exact).max())
    set_compute_dtype(net, None)
    np.testing.assert_array_equal(net(x), exact)


def in_half(name, **settings):
    net = build(name, **{"channels": 1, "classes": 3, "width": 2, **settings})
    net.eval()
    set_compute_dtype(net, jnp.bfloat16)
    return net


def half(*shape: int) -> jax.Array:
    return jnp.asarray(random(*shape), jnp.bfloat16)


@pytest.mark.parametrize("name", ["unet++", "pspnet", "deeplabv3+"])
def test_logits_are_interpolated_and_meant_in_single_precision(name, monkeypatch):
    resnet = {"backbone": "resnet152", "layers": (1, 1, 1, 1)}
    if name == "unet++":
        found = [in_half(name, levels=1, **resnet).classifiers[0](half(1, 8, 8, 1))]
        net = in_half(name, levels=2, average=True)
        monkeypatch.setattr(net, "_top", lambda images: [half(1, 8, 8, 2), half(1, 8, 8, 2)])
        found.append(net._forward(half(1, 8, 8, 1)))
    elif name == "pspnet":
        net = in_half(name, **resnet)
        found = [net.classifier(half(1, 4, 4, net.pyramid.outputs))]
    else:
        net = in_half(name, low_level=3, separable=False, **resnet)
        found = [net.decoder(half(1, 4, 4, 8 + 3))]
    for logits in found:
        assert logits.dtype == jnp.float32
        # Bits that half precision does not have.
        assert float((logits != logits.astype(jnp.bfloat16)).mean()) > 0.3


@pytest.mark.parametrize("combine", ["voting", "ensemble"])
def test_probabilities_of_branches_are_taken_in_single_precision(combine, monkeypatch):
    net = in_half("fusion-late", channels=3, depth=1, combine=combine)
    found = net._forward(half(1, 8, 8, 3))
    assert found.dtype == jnp.float32
    assert float((found != found.astype(jnp.bfloat16)).mean()) > 0.3
    logits = [5 * half(1, 8, 8, 3)] * 3
    monkeypatch.setattr(net, "_apply_branches", lambda images: logits)
    seen = []
    if combine == "ensemble":
        monkeypatch.setattr(net, "ensemble", lambda x: seen.append(x) or x[..., :3])
    found = net._forward(half(1, 8, 8, 3))
    joined = seen[0].reshape(1, 8, 8, 3, 3) if seen else jnp.exp(found)
    np.testing.assert_allclose(joined.sum(-1), 1.0, atol=1e-5)
