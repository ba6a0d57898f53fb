"""One step of training and one of validation, each one jitted function of a state."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array, lax
from jax.sharding import Mesh

from bimmjax.nets._data.sampler import Batch
from bimmjax.nets._network import set_compute_dtype
from bimmjax.nets._train.devices import everywhere, shared_out
from bimmjax.nets._train.recipe import Recipe
from bimmjax.nets.losses import IGNORED, Loss, loss_named


class State(NamedTuple):
    """All that a step changes: pytrees of arrays."""

    params: Any
    rest: Any
    """Running averages, the keys and counters of dropout and noise, and parts that are kept."""
    optimiser: Any


class Found(NamedTuple):
    """What validation finds in a batch."""

    loss: Array
    voxels: Array
    """That count."""
    confusion: Array
    """(classes, classes) int32, rows are the truth; voxels that count."""


class Stepper:
    """The compiled steps of a network, and the state that they pass on."""

    def __init__(self, net: nnx.Module, recipe: Recipe, mesh: Mesh) -> None:
        if recipe.precision == "bfloat16":
            set_compute_dtype(net, jnp.bfloat16)
        if mesh.size > 1:
            # The fast ones for CPUs take what devices share block by block.
            net.set_attributes(
                conv_general_dilated=lax.conv_general_dilated, raise_if_not_found=False
            )
        net.train()
        learning, params, rest = divided(net)
        net.eval()
        applied = divided(net)[0]
        rule = optimiser(recipe)
        loss = partial(
            loss_named(recipe.loss),
            class_weights=jnp.asarray(recipe.class_weights) if recipe.class_weights else None,
        )
        same = everywhere(mesh)
        self.mesh = mesh
        self.state = jax.device_put(State(params, rest, rule.init(params)), same)
        self._learn = jax.jit(
            partial(_learn, learning, rule, loss), donate_argnums=0, out_shardings=(same, same)
        )
        self._look = jax.jit(partial(_look, applied, loss), out_shardings=same)
        self._sound = jax.jit(all_finite)

    def learn(self, batch: Batch, rate: float) -> Array:
        """One step; the loss before it, perhaps on its way; NaN if its slope is not finite."""
        self.state, loss = self._learn(self.state, *self._placed(batch), jnp.float32(rate))
        return loss

    def look(self, batch: Batch) -> Found:
        """Validate on a batch."""
        return self._look(self.state, *self._placed(batch))

    def sound(self) -> bool:
        """Whether all parameters and running averages are finite."""
        return bool(self._sound((self.state.params, self.state.rest)))

    def _placed(self, batch: Batch) -> list[Array]:
        return [shared_out(self.mesh, array) for array in batch]


def divided(net: nnx.Module) -> tuple[Any, Any, Any]:
    """The graph of a network, the parameters that learn, and the rest: `fixed` parts, too."""
    fixed = nnx.Any(*(nnx.PathContains(part) for part in getattr(net, "fixed", ())))
    graph, params, rest = nnx.split(net, nnx.All(nnx.Param, nnx.Not(fixed)), ...)
    return graph, params, rest


def optimiser(recipe: Recipe) -> optax.GradientTransformation:
    """The direction of steps, without the learning rate; optax's own constants."""
    rules = {"adam": optax.scale_by_adam, "adabelief": optax.scale_by_belief}
    rule = rules[recipe.optimiser]()
    if recipe.accumulate == 1:
        return rule
    return optax.MultiSteps(rule, recipe.accumulate).gradient_transformation()


def _learn(
    graph: Any,
    rule: optax.GradientTransformation,
    loss: Loss,
    state: State,
    images: Array,
    labels: Array,
    weight: Array,
    rate: Array,
) -> tuple[State, Array]:
    def objective(params: Any) -> tuple[Array, Any]:
        # Copied: what the network writes to must belong to this trace.
        net = nnx.merge(graph, params, state.rest, copy=True)
        heads = net.heads(images) if hasattr(net, "heads") else (net(images),)
        # Each head has its own loss, and the mean of them is learned from; an auxiliary one may
        # count less (PSPNet: 0.4).
        shares = getattr(net, "head_weights", None) or (1.0,) * len(heads)
        each = [loss(head, labels, weight=_given(weight)) for head in heads]
        total = sum((s * one for s, one in zip(shares, each, strict=True)), jnp.float32(0.0))
        return total / sum(shares), divided(net)[2]

    (found, rest), slope = jax.value_and_grad(objective, has_aux=True)(state.params)
    # The vectorised exponential and maximum of some backends lose NaN, so that a loss may look
    # sound where its slope is not.
    found = jnp.where(all_finite(slope), found, jnp.nan)
    change, kept = rule.update(slope, state.optimiser, state.params)
    params = jax.tree.map(lambda p, c: p - (rate * c).astype(p.dtype), state.params, change)
    return State(params, rest, kept), found


def _look(
    graph: Any, loss: Loss, state: State, images: Array, labels: Array, weight: Array
) -> Found:
    logits = nnx.merge(graph, state.params, state.rest)(images)
    classes = logits.shape[-1]
    counts = labels != IGNORED
    if weight.size:
        counts &= weight > 0.0
    truth = jnp.where(counts, labels, 0).astype(jnp.int32)
    pairs = truth * classes + jnp.argmax(logits, -1)
    confusion = jnp.zeros(classes * classes, jnp.int32).at[pairs].add(counts.astype(jnp.int32))
    found = loss(logits, labels, weight=_given(weight))
    return Found(found, jnp.sum(counts), confusion.reshape(classes, classes))


def _given(weight: Array) -> Array | None:
    return weight if weight.size else None


def all_finite(tree: Any) -> Array:
    """Whether all numbers of a pytree are, () bool."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()
