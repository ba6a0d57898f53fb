"""Layers, networks, losses and the buffer, each against what it should be."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bimmjax import InputError, nets, open_volume, plot
from bimmjax.nets._adapt.critic import PatchCritic
from bimmjax.nets._adapt.generator import ResnetGenerator, Translator
from bimmjax.nets._adapt.layers import InstanceNorm, ReflectConv, measured
from bimmjax.nets._adapt.losses import gradient_correlation, shape_loss
from bimmjax.nets._adapt.pool import empty_pool, exchanged
from bimmjax.nets._adapt.shapes import middle

RNG = np.random.default_rng(3)


def noise(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.standard_normal(shape), jnp.float32)


def test_a_reflecting_convolution_is_scipys_mirror():
    conv = ReflectConv(1, 1, 5, rngs=nnx.Rngs(0))
    image = noise(1, 9, 12, 1)
    kernel = np.asarray(conv.conv.kernel[..., 0, 0])
    wanted = ndimage.correlate(np.asarray(image[0, ..., 0]), kernel, mode="mirror")
    np.testing.assert_allclose(conv(image)[0, ..., 0], wanted, rtol=1e-5, atol=1e-5)


def test_instance_norm_takes_each_image_in_training_and_all_when_measured():
    norm, images = InstanceNorm(2), 3.0 + 2.0 * noise(3, 8, 8, 2)
    own = np.asarray(norm(images))
    np.testing.assert_allclose(own.mean((1, 2)), 0.0, atol=1e-5)
    np.testing.assert_allclose(own.std((1, 2)), 1.0, atol=1e-4)
    measured(norm, images)
    np.testing.assert_allclose(norm.mean[...], images.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(norm.variance[...], images.var((0, 1, 2)), rtol=1e-5)
    part = norm(images[:1, :4, :4])
    np.testing.assert_array_equal(part, norm(images)[:1, :4, :4])


def test_a_generator_begins_as_the_identity_and_sees_no_farther_than_it_says():
    image = noise(1, 48, 48, 1)
    net = Translator(ResnetGenerator(channels=1, width=2, blocks=1, rngs=nnx.Rngs(0)))
    np.testing.assert_array_equal(net(image), image)
    body = measured(ResnetGenerator(channels=1, width=2, blocks=1, rngs=nnx.Rngs(0)), image)
    (halo, _), seen = body.halo, 0
    period = range(20, 24)  # of its grid
    slopes = jax.jit(jax.jacrev(lambda x: jnp.stack([body(x)[0, n, n, 0] for n in period])))(image)
    for at, slope in zip(period, np.asarray(slopes), strict=True):
        touched = np.flatnonzero(np.abs(slope).sum((0, 2, 3)))
        seen = max(seen, at - touched.min(), touched.max() - at)
    # A ReLU may hide what is farthest.
    assert halo - 3 <= seen <= halo


def test_a_critic_sees_70_pixels_and_has_the_papers_parameters():
    critic = PatchCritic(3, rngs=nnx.Rngs(0))
    norms = 2 * (128 + 256 + 512)
    assert nets.count_parameters(critic) - norms == 2_764_737
    critic = PatchCritic(1, width=2, rngs=nnx.Rngs(0))
    image = noise(1, 128, 128, 1)
    measured(critic, image)
    slope = np.asarray(jax.grad(lambda x: critic(x)[0, 8, 8, 0])(image))
    rows = np.flatnonzero(np.abs(slope).sum((0, 2, 3)))
    assert rows.max() - rows.min() + 1 == 70


def correlation_of(one: np.ndarray, other: np.ndarray) -> float:
    weights = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])
    smooth = [ndimage.correlate(x, weights)[2:-2, 2:-2] for x in (one, other)]
    (ay, ax), (by, bx) = ([np.diff(x, axis=axis) for axis in (0, 1)] for x in smooth)
    top = (ay * by).sum() + (ax * bx).sum()
    return top / np.sqrt(((ay**2).sum() + (ax**2).sum()) * ((by**2).sum() + (bx**2).sum()))


def test_the_correlation_of_gradients_is_that_by_scipy():
    one, other = RNG.standard_normal((2, 12, 15))
    both = one + 0.3 * other
    found = gradient_correlation(
        *(jnp.asarray(x, jnp.float32)[None, ..., None] for x in (one, both))
    )
    assert float(found[0]) == pytest.approx(correlation_of(one, both), abs=1e-4)


@pytest.mark.parametrize("scale", [65535.0, 1e15, 1e-10])
@pytest.mark.parametrize("side", [16, 1536])
def test_shapes_do_not_depend_on_the_scale_of_grey_values(scale, side):
    # Sharp edges of 16 bits: squares of gradients, summed and multiplied, exceed float32.
    blocks = (RNG.random((1, side // 4, side // 4)) < 0.5).astype(np.float32)
    image = np.kron(blocks, np.ones((1, 4, 4), np.float32))
    other = np.where(RNG.random(image.shape) < 0.2, 1.0 - image, image)
    wanted = correlation_of(image[0], other[0])
    for a, b in ((scale, scale), (scale, 1.0)):
        found = nets.shapes_kept(a * image, b * other)
        assert found.gradient_correlation == pytest.approx(wanted, abs=1e-4)
    assert nets.shapes_kept(scale * image, scale * image)[0] == pytest.approx(1.0, abs=1e-4)
    assert nets.shapes_kept(scale * image, np.full_like(image, scale))[0] == 0.0


def test_the_slope_of_the_shape_loss_is_that_of_differences():
    image, made = noise(1, 12, 12, 1), noise(1, 12, 12, 1)
    way = noise(1, 12, 12, 1)
    with jax.enable_x64(True):
        image, made, way = (jnp.asarray(np.asarray(x), jnp.float64) for x in (image, made, way))
        slope_of = jax.jit(jax.grad(shape_loss, 1))
        slope = slope_of(image, made)
        ends = [float(shape_loss(image, made + s * 1e-5 * way)) for s in (1, -1)]
        assert float((slope * way).sum()) == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5)
        # A flat image has no edges, and no slope that is no number.
        assert np.isfinite(slope_of(image, 0.0 * made)).all()


def test_moved_edges_cost_and_contrast_does_not():
    image = noise(2, 24, 24, 1)
    assert float(shape_loss(image, -0.5 * image + 3.0)) == pytest.approx(0.0, abs=1e-4)
    assert float(shape_loss(image, jnp.roll(image, 4, 1))) > 0.5


def test_the_pool_fills_then_shows_earlier_images_half_of_the_time():
    pool, before = empty_pool(3, (1, 1, 1)), set()
    earlier = 0
    for step in range(60):
        made = jnp.full((2, 1, 1, 1), 2.0 * step) + jnp.arange(2.0)[:, None, None, None]
        pool, shown = exchanged(pool, made, jax.random.key(step))
        before |= set(np.asarray(made).ravel().tolist())
        values = np.asarray(shown).ravel()
        assert set(values.tolist()) <= before
        assert set(np.asarray(pool.images).ravel().tolist()) <= before | {0.0}
        if step == 0:
            np.testing.assert_array_equal(shown, made)
        if step > 1:
            earlier += int((values != np.asarray(made).ravel()).sum())
    assert 0.3 < earlier / 116 < 0.7
    image = noise(1, 1, 1, 1)
    assert exchanged(empty_pool(0, (1, 1, 1)), image, jax.random.key(0))[1] is image


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), most=st.integers(1, 9), start=st.integers(0, 5))
def test_depth_below_is_counted_one_by_one_and_in_any_part(seed: int, most: int, start: int):
    labels = (np.random.default_rng(seed).random((7, 3, 2)) < 0.25).astype(np.uint8)
    found = nets.depth_below(labels, most)
    wanted = np.full(labels.shape, most, float)
    for z, y, x in np.ndindex(labels.shape):
        solid = np.flatnonzero(labels[z:, y, x])
        if solid.size:
            wanted[z, y, x] = min(solid[0], most)
    np.testing.assert_array_equal(np.asarray(found), wanted)
    part = found.read(slice(start, start + 2), slice(1, 3), slice(0, 2))
    np.testing.assert_array_equal(part, wanted[start : start + 2, 1:3])


def test_bad_depths_are_refused():
    with pytest.raises(InputError, match=r"labels: got dtype float64, wants whole numbers"):
        nets.depth_below(np.zeros((2, 2, 2)), 3)
    with pytest.raises(InputError, match=r"most: got 0"):
        nets.depth_below(np.zeros((2, 2, 2), np.uint8), 0)


def test_shapes_kept_finds_the_best_threshold_and_moved_edges():
    labels = (ndimage.gaussian_filter(RNG.standard_normal((3, 32, 32)), (0, 2, 2)) > 0.1).astype(
        np.uint8
    )
    grey = labels + 0.4 * RNG.standard_normal(labels.shape)
    moved = np.roll(grey, 5, 2)
    found = nets.shapes_kept(grey, moved, labels)

    def dice(values: np.ndarray) -> float:
        tried = [values > t for t in np.quantile(values, np.linspace(0, 1, 400))]
        right = labels == 1
        return max(2 * (one & right).sum() / (one.sum() + right.sum()) for one in tried)

    assert found.dice_before == pytest.approx(dice(grey), abs=0.01)
    assert found.dice_after == pytest.approx(dice(moved), abs=0.02)
    assert found.gradient_correlation < 0.5
    assert nets.shapes_kept(grey, 7.0 - 2.0 * grey).gradient_correlation == pytest.approx(-1.0)
    with pytest.raises(InputError, match=r"labels: got no voxel of label 3"):
        nets.shapes_kept(grey, grey, labels, solid=3)
    with pytest.raises(InputError, match=r"after: got shape \(2, 32, 32\)"):
        nets.shapes_kept(grey, grey[:2])


def test_the_middle_of_a_volume_is_read_where_it_lies():
    data = np.arange(9 * 12 * 15).reshape(9, 12, 15)
    part = middle(replace(open_volume(data), chunks=(8, 12, 15)), 4, 13)
    assert part.shape == (4, 12, 13)
    assert part.chunks == (4, 12, 13)
    np.testing.assert_array_equal(np.asarray(part), data[2:6, :, 1:14])
    np.testing.assert_array_equal(
        part.read(slice(1, 3), slice(2, 5), slice(3, 4)), data[3:5, 2:5, 4:5]
    )
    np.testing.assert_array_equal(np.asarray(middle(open_volume(data), 20, 20)), data)


def test_pictures_name_each_volume():
    volume = open_volume(RNG.standard_normal((3, 8, 8)))
    titles = [axes.get_title(loc) for axes in plot.adaptation(volume, volume).axes
              for loc in ("left", "center")]  # fmt: skip
    assert [t.split(" (")[0] for t in titles if t] == ["input", "translated"]
    with pytest.raises(InputError, match=r"names: got \('a', 'b'\), wants one for each of 3"):
        plot.adaptation(volume, volume, volume, names=("a", "b"))
