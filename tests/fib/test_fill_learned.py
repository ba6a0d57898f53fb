"""Networks that fill gaps: what they see, what they know, and how they are read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from bimmjax import InputError
from bimmjax.fib import (
    InpaintNetwork,
    SliceNetwork,
    fill,
    fill_distance,
    fill_learned,
    load_inpainting,
)
from bimmjax.fib._fill import learned, trained
from bimmjax.nets import count_parameters
from bimmjax.sim import hierarchical_wave, levelled_wave, structure_labels


@pytest.fixture
def small_tiles() -> Iterator[None]:
    """Small tiles, of which small slices have several too."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learned, "TILE", 16)
        patched.setattr("bimmjax.fib._fill.article.TILE", 16)
        yield


def hierarchy(edge: int, seed: int) -> np.ndarray:
    """Hierarchical ligaments as in Article II, uint8."""
    made = hierarchical_wave(jax.random.key(seed), (edge, edge, edge), 0.12, (67.0, 9.25))
    return np.asarray(made.labels)


def uneven(depth: int, seed: int, mean: float = 4.06, std: float = 1.25) -> np.ndarray:
    """Places of slices of drawn thickness, the first at 0."""
    drawn = np.random.default_rng(seed).gamma((mean / std) ** 2, std**2 / mean, depth)
    places = np.concatenate([[0], np.cumsum(np.maximum(np.rint(drawn), 1))]).astype(np.int64)
    return places[places < depth]


def test_what_ships_is_better_than_splines_where_it_has_not_learned():
    body = hierarchy(72, 4001)
    places = uneven(72, 1)
    truth = body[: places[-1] + 1]
    spline = (fill_distance(body[places], places) != truth).mean()
    assert (fill_learned(body[places], places) != truth).mean() < 0.8 * spline
    # Ligaments of the finer kind alone.
    wave = levelled_wave(jax.random.key(4002), (64, 64, 64), 0.35, 9.3)
    body = np.asarray(structure_labels(wave)).astype(np.uint8)
    places = uneven(64, 2, 4.0, 1.2)
    truth = body[: places[-1] + 1]
    spline = (fill_distance(body[places], places) != truth).mean()
    assert (fill_learned(body[places], places) != truth).mean() < 0.8 * spline


def test_three_labels_are_filled_as_two_of_them_would_be(small_tiles: None):
    wave = np.asarray(structure_labels(levelled_wave(jax.random.key(5), (32, 32, 32), 0.4, 14.0)))
    places = np.arange(0, 32, 4)
    two = wave.astype(np.uint8)
    three = two.copy()
    # A third phase that no gap comes near.
    three[:, :2] = 2
    found = fill_learned(three[places], places)
    assert set(np.unique(found)) == {0, 1, 2}
    assert (found[:, :2] == 2).mean() > 0.95
    same = (found[:, 12:] == fill_learned(two[places], places)[:, 12:]).mean()
    assert same > 0.97


def test_nothing_becomes_something_only_where_there_is_some(small_tiles: None):
    for label in (0, 1, 7):
        slices = np.full((3, 9, 9), label, np.uint8)
        assert (fill_learned(slices, [0, 4, 9]) == label).all()


@pytest.mark.parametrize("width", [8, 64])
def test_the_reach_is_what_an_output_sees(width: int):
    net = SliceNetwork(width, 2, rngs=nnx.Rngs(0))
    far = np.random.default_rng(0).normal(size=(1, 24, 24, 6)).astype(np.float32)
    told = np.array([[-9, -5, -2, 2, 6, 9]], np.float32)
    shares = np.full((1, 6), 1 / 6, np.float32)
    run = jax.jit(net)
    before = np.asarray(run(far, told, shares))
    assert before.shape == (1, 24 - 2 * net.reach, 24 - 2 * net.reach)
    far[0, 11, 11] += 1.0
    changed = np.argwhere(np.asarray(run(far, told, shares))[0] != before[0])
    # Two by two pixels are folded together: 10 and 11, and those that see them.
    assert net.reach == 4
    assert changed.min() == 10 - 2 * net.reach
    assert changed.max() == 11


def test_slices_move_and_the_filling_moves_with_them():
    net = load_inpainting()
    far = np.random.default_rng(1).normal(size=(1, 40, 40, 6)).astype(np.float32)
    told = np.array([[-9, -5, -2, 2, 6, 9]], np.float32)
    shares = np.full((1, 6), 1 / 6, np.float32)
    whole = np.asarray(net(far, told, shares))
    part = np.asarray(net(far[:, 4:, 2:38], told, shares))
    np.testing.assert_allclose(part, whole[:, 4:, 2:-2], atol=2e-5)


def test_filters_are_those_of_table_s1():
    net = InpaintNetwork(rngs=nnx.Rngs(0))
    into = [3, 96, 81, 70, 60, 50, 41, 32]
    extraction = [96, 81, 70, 60, 50, 41, 32, 16]
    weights = sum(9 * a * b + 2 * b for a, b in zip(into, extraction, strict=True))
    for a, b, taps in ((446, 96, 1), (446, 64, 1), (64, 48, 9), (48, 32, 9)):
        weights += taps * a * b + 2 * b
    assert count_parameters(net) == weights + (9 * 128 + 1) + (2 + 1)


def test_the_network_of_the_article_begins_near_the_spline():
    net = InpaintNetwork(rngs=nnx.Rngs(0))
    cubic = np.random.default_rng(0).uniform(size=(1, 16, 16)).astype(np.float32)
    found = np.asarray(net(jnp.asarray(np.rint(cubic)), jnp.ones((1, 16, 16)), cubic))
    assert np.abs(found - cubic).mean() < 0.5


def test_the_network_of_the_article_fills_boxes_alike(small_tiles: None):
    body = np.asarray(structure_labels(levelled_wave(jax.random.key(6), (26, 26, 26), 0.4, 12.0)))
    places = np.array([1, 4, 9, 12, 17])
    slices = body[places].astype(np.uint8)
    volume = fill(slices, places, network="article", depth=19)
    whole = np.asarray(volume)
    np.testing.assert_array_equal(whole[places], slices)
    np.testing.assert_array_equal(whole[0], slices[0])
    np.testing.assert_array_equal(whole[18], slices[-1])
    for box in ((3, 9, 14, 20, 2, 9), (0, 19, 15, 17, 15, 17)):
        part = tuple(slice(a, b) for a, b in zip(box[::2], box[1::2], strict=True))
        np.testing.assert_array_equal(volume.read(*part), whole[part])
    with pytest.raises(InputError, match="slices: got label 2, wants 0 and 1 only"):
        np.asarray(fill(slices * 2, places, network="article"))


def test_what_ships_is_small_and_tells_how_it_was_made():
    files = sorted((Path(trained.__file__).parent / "weights").glob("*.safetensors"))
    assert [f.stem for f in files] == ["inpainting-article", "inpainting-slices"]
    assert sum(f.stat().st_size for f in files) < 1.5e6
    for file in files:
        made = trained.told_of(file)
        assert {"network", "seed", "steps", "batch", "epoch", "wrong"} <= set(made)


def test_files_keep_what_was_learned(tmp_path: Path):
    from bimmjax.nets._train.checkpoint import named_arrays

    net = trained.build("slices", seed=3)
    arrays = named_arrays(nnx.state(net, nnx.Param))
    trained.save(tmp_path / "net.safetensors", arrays, {"network": "slices"})
    again = named_arrays(nnx.state(load_inpainting(tmp_path / "net.safetensors"), nnx.Param))
    assert again.keys() == arrays.keys()
    for name, value in arrays.items():
        assert again[name].dtype == value.dtype
        np.testing.assert_allclose(again[name], value, rtol=1e-3, atol=1e-6)


def _broken(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "net.safetensors"
    from bimmjax.nets._train.checkpoint import named_arrays

    arrays = named_arrays(nnx.state(trained.build("slices"), nnx.Param))
    if kind == "nan":
        arrays["last/bias"][0] = np.nan
    if kind == "shape":
        arrays["last/bias"] = arrays["last/bias"][:2]
    if kind == "lacking":
        del arrays["last/bias"]
    if kind == "other":
        save_file(arrays, path)
    else:
        trained.save(path, arrays, {"network": "slices"})
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("nan", "network: got .* with values in last/bias that are not finite"),
        ("shape", r"got .* with last/bias of shape \(2,\), wants \(4,\)"),
        ("lacking", "got .* without last/bias"),
        ("other", "network: got .*, which is of something else; wants a safetensors file"),
        ("truncated", "network: got .*, which cannot be read"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, kind: str, message: str):
    path = _broken(tmp_path, kind)
    with pytest.raises(InputError, match=message) as refused:
        load_inpainting(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_inpainting("nowhere.safetensors"), "network: got nowhere.safetensors, w"),
        (lambda: trained.build("unet"), "network: got 'unet', wants one of slices, article"),
    ],
)
def test_refusals(call: Callable[[], Any], message: str):
    with pytest.raises(InputError, match=message):
        call()
