"""What the networks that fill gaps are trained to make small, and one step of it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from bimmjax.fib._fill.examples import Batch


class Found(NamedTuple):
    """What a batch tells of a network."""

    loss: Array
    wrong: Array
    """Share of missing pixels that get the wrong label."""
    spline_wrong: Array
    """The same of the spline that the network sees."""


class Stepper:
    """The compiled steps of a network, and the state that they pass on."""

    def __init__(self, net: nnx.Module, network: str) -> None:
        graph, params, rest = nnx.split(net, nnx.Param, ...)
        rule = _RULES[network]
        self.state: Any = (params, rule.init(params))
        loss = _LOSSES[network]
        self._learn = jax.jit(partial(_learn, graph, rest, rule, loss), donate_argnums=0)
        self._look = jax.jit(partial(_look, graph, rest, loss))

    @property
    def params(self) -> Any:
        """What is learned."""
        return self.state[0]

    def learn(self, batch: Batch, rate: float) -> float:
        """One step of Adam; the loss before it."""
        self.state, loss = self._learn(self.state, batch, jnp.float32(rate))
        return float(loss)

    def look(self, batch: Batch) -> Found:
        """Validate on a batch."""
        return self._look(self.params, batch)


def _slice_loss(net: Any, batch: Any) -> Found:
    far, offsets, shares, truth = batch
    logits = net(far, offsets, shares)
    kept = slice(net.reach, -net.reach)
    spline = jnp.einsum("byxk,bk->byx", far[:, kept, kept], shares)
    inside = truth > 0.5
    loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logits, truth))
    return Found(loss, jnp.mean((logits > 0) != inside), jnp.mean((spline > 0) != inside))


def _plane_loss(net: Any, batch: Any) -> Found:
    planes, known, cubic, truth = batch
    made = net(planes, known, cubic)
    inside, missing = truth > 0.5, known < 0.5

    def wrong(found: Array) -> Array:
        return jnp.sum(missing & ((found > 0.5) != inside)) / jnp.sum(missing)

    return Found(jnp.mean((made - truth) ** 2), wrong(made), wrong(cubic))


_LOSSES = {"slices": _slice_loss, "article": _plane_loss}
# Some structures cannot be told from their slices; steps that they ask for are cut short.
_RULES = {
    "slices": optax.chain(optax.clip_by_global_norm(1.0), optax.scale_by_adam()),
    "article": optax.scale_by_adam(),
}


def _learn(
    graph: Any, rest: Any, rule: Any, loss: Any, state: Any, batch: Any, speed: Array
) -> tuple[Any, Array]:
    params, kept = state

    def objective(params: Any) -> Array:
        return loss(nnx.merge(graph, params, rest), batch).loss

    found, slope = jax.value_and_grad(objective)(params)
    change, kept = rule.update(slope, kept, params)
    return (jax.tree.map(lambda p, c: p - speed * c, params, change), kept), found


def _look(graph: Any, rest: Any, loss: Any, params: Any, batch: Any) -> Found:
    return loss(nnx.merge(graph, params, rest), batch)
