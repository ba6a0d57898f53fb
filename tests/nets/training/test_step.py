"""Steps: accumulated, shared among devices, in half precision; optimisers and schedules."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from bimmjax import InputError
from bimmjax.nets import losses
from bimmjax.nets._build import build
from bimmjax.nets._data.sampler import Batch
from bimmjax.nets._train.checkpoint import named_arrays
from bimmjax.nets._train.devices import mesh_for
from bimmjax.nets._train.recipe import Recipe, recipe_of, recipe_text
from bimmjax.nets._train.schedule import Course, rate
from bimmjax.nets._train.step import Stepper, optimiser

# Without what is drawn at random.
SMALL = {"dims": 3, "width": 2, "depth": 1, "residual": False, "dropout": 0.0, "noise": 0.0}


def batch_of(size: int, shape: tuple[int, ...] = (8, 8), seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(size, *shape, 1)).astype(np.float32)
    labels = (images[..., 0] > 0).astype(np.uint8)
    return Batch(images, labels, np.zeros((size, 0), np.float32))


def stepper(tiny, batch: int = 8, devices: int = 1, dims: int = 2, net=None, **how) -> Stepper:
    recipe = Recipe("tiny", 2, patch=(8,) * dims, batch=batch, **how)
    made = tiny.build(
        channels=1, classes=2, dims=dims, **({"dropout": 0.0} if net is None else net)
    )
    return Stepper(made, recipe, mesh_for(batch, recipe.patch, 2, devices))


def params(found: Stepper) -> dict[str, np.ndarray]:
    return named_arrays(found.state.params)


def assert_close(one: Stepper, other: Stepper, atol: float) -> None:
    for (name, a), b in zip(params(one).items(), params(other).values(), strict=True):
        # A norm takes off the bias before it: its slope is rounding, which Adam makes steps of.
        if name == "first/bias" and "norm/scale" in params(one):
            continue
        np.testing.assert_allclose(a, b, atol=atol, rtol=0, err_msg=name)


def test_a_step_is_that_of_plain_gradients(tiny):
    found = stepper(
        tiny, optimiser="adam", loss="cross-entropy", net={"dropout": 0.0, "norm": False}
    )
    net = tiny.build(channels=1, classes=2, dropout=0.0, norm=False)
    batch = batch_of(8)

    graph, held = nnx.split(net)

    def loss(kernel):
        state = jax.tree.map(lambda leaf: leaf, held)
        state["early"]["kernel"] = state["early"]["kernel"].replace(kernel)
        heads = nnx.merge(graph, state, copy=True).heads(batch.images)
        return sum(losses.cross_entropy(h, batch.labels) for h in heads) / 2.0

    before = jnp.array(net.early.kernel.get_value())
    value, slope = jax.jit(jax.value_and_grad(loss))(before)
    assert float(found.learn(batch, 0.1)) == pytest.approx(float(value), rel=1e-6)
    # Adam's first step has one size, whatever the slope.
    wanted = before - 0.1 * slope / (jnp.abs(slope) + 1e-8)
    np.testing.assert_allclose(params(found)["early/kernel"], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ["adam", "adabelief"])
def test_accumulated_steps_are_those_of_the_whole_batch(tiny, name):
    how = {"optimiser": name, "loss": "mse", "net": {"dropout": 0.0, "norm": False}}
    whole, parts = stepper(tiny, **how), stepper(tiny, batch=4, accumulate=2, **how)
    for seed in range(3):
        batch = batch_of(8, seed=seed)
        whole.learn(batch, 0.01)
        parts.learn(Batch(*(array[:4] for array in batch)), 0.01)
        parts.learn(Batch(*(array[4:] for array in batch)), 0.01)
    assert_close(whole, parts, 2e-5)


@pytest.mark.parametrize(("batch", "devices", "dims", "mesh"), [
    (8, 8, 2, {"batch": 8, "space": 1}),
    (2, 4, 2, {"batch": 2, "space": 2}),
    (1, 4, 3, {"batch": 1, "space": 4}),
])  # fmt: skip
def test_devices_that_share_a_batch_agree_with_one(tiny, batch, devices, dims, mesh):
    alone, shared = stepper(tiny, batch, 1, dims), stepper(tiny, batch, devices, dims)
    assert dict(shared.mesh.shape) == mesh
    for seed in range(2):
        data = batch_of(batch, (8,) * dims, seed)
        assert float(alone.learn(data, 0.01)) == pytest.approx(
            float(shared.learn(data, 0.01)), rel=1e-5
        )
    assert_close(alone, shared, 1e-4)
    data = batch_of(batch, (8,) * dims, 2)
    one, other = alone.look(data), shared.look(data)
    assert float(one.loss) == pytest.approx(float(other.loss), rel=1e-4)
    assert int(one.voxels) == int(other.voxels) == data.labels.size
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(shared.state))


@pytest.mark.parametrize(("name", "own", "mesh"), [
    ("modular-unet", SMALL, (2, 2)),
    ("unet", {"width": 2, "depth": 1}, (2, 1)),
])  # fmt: skip
def test_real_networks_learn_the_same_on_several_devices(name, own, mesh):
    """By Adam's moments after a step: slopes of 0 but for rounding would move parameters apart."""
    losses_of, moments, data = [], [], batch_of(2, (8,) * own.get("dims", 2))
    for devices in (1, mesh[0] * mesh[1]):
        net = build(name, channels=1, classes=2, seed=0, **own)
        recipe = Recipe(name, 2, patch=data.labels.shape[1:], batch=2, optimiser="adam")
        made = Stepper(net, recipe, mesh_for(2, recipe.patch, net.multiple[0], devices))
        losses_of.append(float(made.learn(data, 0.01)))
        moments.append(named_arrays((made.state.optimiser, made.state.rest)))
    assert tuple(made.mesh.shape.values()) == mesh
    assert losses_of[0] == pytest.approx(losses_of[1], abs=1e-5)
    for key, array in moments[0].items():
        np.testing.assert_allclose(array, moments[1][key], atol=1e-5, rtol=1e-5, err_msg=key)
    assert max(np.abs(array).max() for key, array in moments[0].items() if "/mu/" in key) > 1e-3


def test_devices_that_share_get_stock_convolutions():
    """The fast ones learn the same, but the first network above then passes on four times as much
    between devices, in 209 permutations instead of 50."""
    for devices, stock in ((1, False), (4, True)):
        net = build("modular-unet", channels=1, classes=2, width=1, depth=1)
        Stepper(net, Recipe("modular-unet", 2), mesh_for(4, (8, 8), 2, devices))
        used = {
            module.conv_general_dilated is lax.conv_general_dilated
            for _, module in nnx.iter_modules(net)
            if hasattr(module, "conv_general_dilated")
        }
        assert used == {stock}


def test_devices_that_cannot_share_are_refused():
    assert mesh_for(4, (8, 8), 2).size == 1  # a CPU is one device unless told otherwise
    with pytest.raises(InputError, match="devices: got 9, wants a whole number from 1 to 8"):
        mesh_for(9, (8, 8), 2, 9)
    with pytest.raises(InputError, match="devices: got 8, wants a number that a batch of 1"):
        mesh_for(1, (8, 8), 2, 8)


def test_half_precision_learns_with_parameters_in_single(tiny):
    half, single = (stepper(tiny, precision=p, loss="dice", optimiser="adam")
                    for p in ("bfloat16", "float32"))  # fmt: skip
    first = half.learn(batch_of(8), 0.03)
    assert first.dtype == jnp.float32
    assert float(first) == pytest.approx(float(single.learn(batch_of(8), 0.03)), abs=0.02)
    found = [float(half.learn(batch_of(8), 0.03)) for _ in range(40)]
    assert found[-1] < 0.6 * float(first)
    assert {a.dtype for a in params(half).values()} == {np.dtype(np.float32)}
    text = half._learn.lower(half.state, *half._placed(batch_of(8)), jnp.float32(1)).as_text()
    assert "bf16" in text


def test_a_step_works_in_place_after_its_state_was_copied(tiny):
    made = stepper(tiny)
    made.learn(batch_of(8), 0.01)

    def places():
        return {leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(made.state.params)}

    before, kept = places(), named_arrays(made.state.params)
    values = {name: array.copy() for name, array in kept.items()}
    made.learn(batch_of(8), 0.01)
    assert before & places()
    for name, array in kept.items():
        np.testing.assert_array_equal(array, values[name])


def test_validation_looks_without_dropout_and_counts_what_counts(tiny):
    found = stepper(tiny, 4, net={"dropout": 0.5})
    data = batch_of(4)
    labels = data.labels.copy()
    labels[0] = 255
    weight = np.ones(labels.shape, np.float32)
    weight[1] = 0.0
    seen = found.look(Batch(data.images, labels, weight))
    again = found.look(Batch(data.images, labels, weight))
    assert float(seen.loss) == float(again.loss)
    assert int(seen.voxels) == seen.confusion.sum() == 2 * 64
    np.testing.assert_array_equal(seen.confusion.sum(1), np.bincount(labels[2:].ravel()))
    before = named_arrays(found.state.rest)
    found.learn(data, 0.01)
    after = named_arrays(found.state.rest)
    assert any((before[n] != after[n]).any() for n in before if "norm" in n)
    assert any((before[n] != after[n]).any() for n in before if "dropout" in n)


def test_heads_may_weigh_differently(tiny):
    data = batch_of(8)
    values = []
    for share in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (1.0, 0.25)):
        net = tiny.build(channels=1, classes=2, dropout=0.0, norm=False)
        net.head_weights = share
        made = Stepper(net, Recipe("tiny", 2, patch=(8, 8)), mesh_for(8, (8, 8), 2))
        values.append(float(made.learn(data, 0.0)))
    assert values[0] == pytest.approx((values[1] + values[2]) / 2.0, rel=1e-6)
    assert values[3] == pytest.approx((values[1] + 0.25 * values[2]) / 1.25, rel=1e-6)


def test_optimisers_are_those_of_the_papers():
    """Kingma 2015, algorithm 1; Zhuang 2020, algorithm 2, without rectification."""
    slopes = np.random.default_rng(0).normal(size=(5, 3))
    for name in ("adam", "adabelief"):
        rule = optimiser(Recipe("tiny", 2, optimiser=name))
        state = rule.init(jnp.zeros(3))
        m = s = np.zeros(3)
        for t, g in enumerate(slopes, 1):
            found, state = rule.update(jnp.asarray(g, jnp.float32), state)
            m = 0.9 * m + 0.1 * g
            s = 0.999 * s + 0.001 * (g if name == "adam" else g - m) ** 2
            wanted = m / (1 - 0.9**t) / (np.sqrt(s / (1 - 0.999**t)) + 1e-8)
            np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_the_papers_schedule_is_constant_then_linear():
    recipe = Recipe("tiny", 2, learning_rate=1e-3, epochs=200, steps=10)
    assert rate(recipe, Course(epoch=99), 9) == 1e-3
    assert rate(recipe, Course(epoch=150), 0) == pytest.approx(5.5e-4)
    assert rate(recipe, Course(epoch=199), 9) == pytest.approx(1e-4, rel=0.01)
    constant = Recipe("tiny", 2, schedule="constant", learning_rate=0.5)
    assert {rate(constant, Course(e), 0) for e in range(200)} == {0.5}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.integers(1, 5), st.integers(0, 9))
def test_plateaus_and_early_stopping_against_their_definition(values, patience, stop):
    recipe = Recipe("tiny", 2, schedule="plateau", patience=patience, stop=stop, epochs=100)
    course, wait, rates = Course(), 0, [recipe.learning_rate]
    for epoch, value in enumerate(values, 1):
        course = course.after(value, recipe)
        best = int(np.argmin(values[:epoch])) + 1
        wait = 0 if best == epoch else wait + 1
        if wait == patience:
            rates.append(rates[-1] * recipe.factor)
            wait = 0
        assert (course.best, course.best_epoch) == (min(values[:epoch]), best)
        assert rate(recipe, course, 0) == pytest.approx(rates[-1])
        assert course.over(recipe) == (stop > 0 and epoch - best >= stop)


words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
numbers = st.one_of(
    st.integers(-(2**60), 2**60), st.booleans(), words,
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    words,
    st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True),
                    st.one_of(numbers, st.lists(numbers, max_size=3)), max_size=4),
    st.floats(1e-9, 10.0),
    st.lists(st.lists(words, min_size=1, max_size=2), max_size=2),
)  # fmt: skip
def test_a_recipe_comes_back_from_its_file(tmp_path_factory, name, own, number, paths):
    recipe = recipe_of(
        {"network": name, "classes": 3, "settings": own, "learning_rate": number,
         "images": paths, "patch": [32, 64], "class_weights": [1.0, 0.5, 2.0]}
    )  # fmt: skip
    path = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    path.write_text(recipe_text(recipe), "utf-8")
    assert recipe_of(path) == recipe
