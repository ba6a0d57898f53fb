"""One step of learning a translation, unpaired or paired: one jitted function of a state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from bimmjax.nets._adapt.critic import PatchCritic
from bimmjax.nets._adapt.losses import apart, least_squares, shape_loss
from bimmjax.nets._adapt.pool import Pool, empty_pool, exchanged
from bimmjax.nets._adapt.recipe import AdaptRecipe, translator
from bimmjax.nets._train.step import all_finite, divided

_BETA1 = 0.5
LOSSES = {
    "unpaired": ("critics", "adversarial", "cycle", "identity", "shape"),
    "paired": ("pixel", "critics", "adversarial"),
}
"""What is logged of each kind, beside the generators' whole loss."""


class State(NamedTuple):
    """All that a step changes, by the name of the network: pytrees of arrays."""

    params: dict[str, Any]
    rest: dict[str, Any]
    """Running averages."""
    optimiser: dict[str, Any]
    """Of the generators, and of the critics."""
    pools: dict[str, Pool]


Losses = dict[str, Array]
Learn = Callable[[State, tuple[np.ndarray, ...], int, float], tuple[State, Losses]]


def learner(recipe: AdaptRecipe) -> tuple[State, Learn]:
    """The state at the start, and the compiled step `(state, batches, number, rate)`.

    Batches are those of simulated and real images, or of inputs and targets, (batch, side, side,
    channels). A loss is NaN where the slope of any network is no number.
    """
    unpaired = recipe.kind == "unpaired"
    made: dict[str, nnx.Module] = {"there": translator(recipe)}
    seeds = np.random.SeedSequence(recipe.seed).generate_state(2).tolist()
    critic = partial(PatchCritic, width=recipe.critic_width, layers=recipe.critic_layers)
    if unpaired:
        made["back"] = translator(recipe, back=True)
        made["real"] = critic(1, rngs=nnx.Rngs(seeds[0]))
        made["simulated"] = critic(1, rngs=nnx.Rngs(seeds[1]))
    elif recipe.adversarial:
        made["real"] = critic(1 + recipe.channels, rngs=nnx.Rngs(seeds[0]))
    graphs, params, rest = {}, {}, {}
    for name, net in made.items():
        net.train()
        graphs[name], params[name], rest[name] = divided(net)
    rule = optax.scale_by_adam(b1=_BETA1)
    optimiser = {
        one: rule.init({name: params[name] for name in names(params)})
        for one, names in (("generators", _generators), ("critics", _critics))
    }
    pools = {}
    if unpaired:
        shape = (recipe.patch, recipe.patch, 1)
        pools = {name: empty_pool(recipe.buffer, shape) for name in ("real", "simulated")}
    step = jax.jit(partial(_learn, graphs, unpaired, rule), donate_argnums=0)
    # Given to the compiled step rather than built into it: other weights are no other code.
    names = ("cycle", "identity", "shape", "pixel", "adversarial")
    weights = {name: jnp.float32(getattr(recipe, name)) for name in names}
    if unpaired:
        weights["adversarial"] = jnp.float32(1.0)
    key = jax.random.key(recipe.seed)
    state = jax.tree.map(jnp.asarray, State(params, rest, optimiser, pools))

    def learn(
        state: State, batches: tuple[np.ndarray, ...], number: int, rate: float
    ) -> tuple[State, Losses]:
        return step(state, weights, key, *batches, jnp.int32(number), jnp.float32(rate))

    return state, learn


class _Nets:
    """The networks of a trace: what they are called with, and the averages they leave."""

    def __init__(self, graphs: Any, params: Any, rest: Any) -> None:
        self.judged = "real" in graphs
        self._made = {n: nnx.merge(graphs[n], params[n], rest[n], copy=True) for n in graphs}

    def __call__(self, name: str, images: Array) -> Array:
        return self._made[name](images)

    def rest(self) -> dict[str, Any]:
        return {name: divided(net)[2] for name, net in self._made.items()}


def _generators(params: Any) -> list[str]:
    return [name for name in params if name in ("there", "back")]


def _critics(params: Any) -> list[str]:
    return [name for name in params if name not in ("there", "back")]


def _learn(
    graphs: Any,
    unpaired: bool,
    rule: optax.GradientTransformation,
    state: State,
    weights: dict[str, Array],
    key: Array,
    first: Array,
    second: Array,
    number: Array,
    rate: Array,
) -> tuple[State, Losses]:
    translate, judge = (_unpaired, _judge_unpaired) if unpaired else (_paired, _judge_paired)

    def generators(own: Any) -> tuple[Array, Any]:
        nets = _Nets(graphs, state.params | own, state.rest)
        terms, made = translate(nets, first, second)
        total = sum((weights[name] * value for name, value in terms.items()), jnp.float32(0.0))
        return total, (terms, made, nets.rest())

    own = {name: state.params[name] for name in _generators(state.params)}
    (total, (terms, made, rest)), slope = jax.value_and_grad(generators, has_aux=True)(own)
    params, optimiser = dict(state.params), dict(state.optimiser)
    changed, optimiser["generators"] = _moved(rule, own, slope, optimiser["generators"], rate)
    params |= changed
    sound = all_finite(slope)
    pools, losses = dict(state.pools), {"generators": total, **terms}

    own = {name: state.params[name] for name in _critics(state.params)}
    if own:
        keys, shown = jax.random.split(jax.random.fold_in(key, number)), {}
        for own_key, (name, image) in zip(keys, made.items(), strict=False):
            if name in pools:
                pools[name], image = exchanged(pools[name], image, own_key)
            shown[name] = jax.lax.stop_gradient(image)

        def critics(own: Any) -> Array:
            return judge(_Nets(graphs, state.params | own, state.rest), shown, first, second)

        losses["critics"], slope = jax.value_and_grad(critics)(own)
        changed, optimiser["critics"] = _moved(rule, own, slope, optimiser["critics"], rate)
        params |= changed
        sound &= all_finite(slope)
    losses = {name: jnp.where(sound, value, jnp.nan) for name, value in losses.items()}
    return State(params, rest, optimiser, pools), losses


def _moved(rule: Any, params: Any, slope: Any, kept: Any, rate: Array) -> tuple[Any, Any]:
    change, kept = rule.update(slope, kept, params)
    return jax.tree.map(lambda p, c: p - rate * c, params, change), kept


def _unpaired(nets: _Nets, simulated: Array, real: Array) -> tuple[Losses, dict[str, Array]]:
    # Both in one batch: instance norms keep them apart.
    made_real, same_real = jnp.split(nets("there", jnp.concatenate([simulated, real])), 2)
    made_simulated, same_simulated = jnp.split(nets("back", jnp.concatenate([real, simulated])), 2)
    again_simulated, again_real = nets("back", made_real), nets("there", made_simulated)
    terms = {
        "adversarial": least_squares(nets("real", made_real), 1.0)
        + least_squares(nets("simulated", made_simulated), 1.0),
        "cycle": apart(again_simulated, simulated) + apart(again_real, real),
        "identity": apart(same_real, real) + apart(same_simulated, simulated),
        "shape": shape_loss(simulated, made_real) + shape_loss(real, made_simulated),
    }
    return terms, {"real": made_real, "simulated": made_simulated}


def _judge_unpaired(nets: _Nets, made: dict[str, Array], simulated: Array, real: Array) -> Array:
    """Halved, as in the paper, so that critics learn slowly beside generators."""
    return sum(
        (
            0.5 * (least_squares(nets(name, true), 1.0) + least_squares(nets(name, made[name]), 0))
            for name, true in (("real", real), ("simulated", simulated))
        ),
        jnp.float32(0.0),
    )


def _paired(nets: _Nets, given: Array, target: Array) -> tuple[Losses, dict[str, Array]]:
    made = nets("there", given)
    terms = {"pixel": apart(made, target)}
    seen = jnp.concatenate([given, made], -1)
    if nets.judged:
        terms["adversarial"] = least_squares(nets("real", seen), 1.0)
    return terms, {"real": seen}


def _judge_paired(nets: _Nets, made: dict[str, Array], given: Array, target: Array) -> Array:
    true = jnp.concatenate([given, target], -1)
    return 0.5 * (
        least_squares(nets("real", true), 1.0) + least_squares(nets("real", made["real"]), 0)
    )
