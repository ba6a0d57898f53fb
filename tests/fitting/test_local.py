"""Batched local fits on histograms drawn from the model itself, whose truth is known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from bimmjax._core.quadrature import gauss_legendre
from bimmjax.fitting import _local, _scoring
from bimmjax.fitting._histogram_fit import fit_histogram
from bimmjax.fitting._local import FREE, BlockFits, Local, fit_blocks, local_model
from bimmjax.fitting._quantities import flat_quantities, layout
from bimmjax.fitting._scale import on_bins, weak_prior
from bimmjax.fitting._scoring import Prior, Setting, assess, bin_mass, bin_probability
from bimmjax.models import Params, bimm2d, from_unconstrained, to_unconstrained
from bimmjax.models._nodes import bins_of_components, nodes
from bimmjax.volumes import Grid, JointHistogram

VOXELS = 30_000
COMPILED = jax.jit(fit_blocks, static_argnames=("setting", "lanes"))
# Every call has as many blocks, so that each case is compiled once.
BATCH = 8


class Case(NamedTuple):
    """A global fit with what hangs on it."""

    params: Params
    grid: Grid
    local: Local
    like: Params
    theta: np.ndarray


def even_grid() -> Grid:
    return Grid(np.linspace(0, 200, 129), np.linspace(0, 80, 65), 0.0, np.ones(64), (0.0, 0.0))


@cache
def case(
    *,
    phases: int = 2,
    noise: float | tuple[float, ...] = 14.0,
    interface: str = "curved",
    free: str = "all",
    nodes: int | None = 32,
) -> Case:
    pairs = phases * (phases - 1) // 2
    params = bimm2d.init(
        np.linspace(50, 150, phases),
        np.array(noise),
        correlation=0.2,
        blur_std=1.5,
        interface_halfwidth=2.5,
        interior_weights=np.full(phases, 0.7 / phases),
        interface_weights=np.full(pairs, 0.3 / pairs),
    )
    flat = jnp.full(pairs, 0.02) if interface == "curved" else None
    params = params._replace(interface_tilt=flat, interface_bend=flat)
    params = jax.tree.map(np.asarray, params)
    grid = even_grid()
    local = local_model(params, grid, gradient="central_difference", free=free)
    if nodes is not None:  # fewer than are needed, for speed: the truth is drawn with as many
        local = local._replace(setting=local.setting._replace(nodes=nodes))
    like = jax.tree.map(lambda x: jnp.asarray(x, float), local.scale.into(params))
    return Case(params, grid, local, like, np.asarray(local.plan.start))


def spot(given: Case, name: str) -> np.ndarray:
    """Places of a parameter in the flat vector."""
    theta = to_unconstrained(given.like)
    marked = jax.tree.map(jnp.zeros_like, theta)
    marked = marked._replace(**{name: jnp.ones_like(getattr(theta, name))})
    return np.flatnonzero(ravel_pytree(marked)[0])


def draw(given: Case, thetas: np.ndarray, voxels: int = VOXELS, seed: int = 0) -> np.ndarray:
    """Counts (n, n_u, n_v) of blocks whose truth is thetas (n, p)."""
    random = np.random.default_rng(seed)
    _, unravel = ravel_pytree(to_unconstrained(given.like))
    setting = given.local.setting._replace(free=None)
    counts = []
    for theta in thetas:
        share = shares(unravel(jnp.asarray(theta, float)), given.local.plan.data, setting)
        p = np.asarray(share, float)
        counts.append(random.multinomial(voxels, p.ravel() / p.sum()).reshape(p.shape))
    return np.stack(counts).astype(np.int32)


def fitted(
    given: Case, counts: np.ndarray, starts: np.ndarray | None = None, lanes: int = 1, **plan: Any
) -> BlockFits:
    begin = np.broadcast_to(given.theta, (len(counts), given.theta.size))
    begin = begin if starts is None else starts
    used = given.local.plan._replace(**plan)
    parts = []
    for first in range(0, len(counts), BATCH):
        some = slice(first, first + BATCH)
        n = len(counts[some])
        padding = [(0, BATCH - n), (0, 0)]
        found = COMPILED(
            jnp.asarray(np.pad(counts[some], [*padding, (0, 0)])),
            jnp.asarray(np.pad(begin[some], padding, mode="edge"), float),
            used,
            jnp.asarray(1.0),
            given.like,
            setting=given.local.setting,
            lanes=lanes,
        )
        parts.append(jax.tree.map(lambda x, n=n: np.asarray(x)[:n], found))
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


@partial(jax.jit, static_argnames="setting")
def shares(theta: Any, data: Any, setting: Setting) -> Any:
    return bin_probability(theta, data, setting)


@jax.jit
def told_of(flat: Any, like: Params) -> Any:
    _, unravel = ravel_pytree(to_unconstrained(like))
    return jax.vmap(lambda x: flat_quantities(from_unconstrained(unravel(x)), 1.0))(flat)


def reported(given: Case, thetas: np.ndarray) -> np.ndarray:
    return np.asarray(told_of(jnp.asarray(thetas, float), given.like))


def names(given: Case) -> list[str]:
    return [q.name for q in layout(given.like) for _ in range(int(np.prod(q.shape)))]


def columns(given: Case, name: str) -> list[int]:
    """Places of a quantity among those reported."""
    return [i for i, other in enumerate(names(given)) if other == name]


def with_weights(given: Case, weights: Sequence[Sequence[float]]) -> np.ndarray:
    """thetas (n, p) of the global fit but for all their weights (n, interiors and interfaces)."""
    thetas = []
    for row in np.asarray(weights, float):
        phases = np.size(given.like.intensities)
        share = jnp.asarray(row / row.sum(), float)
        params = given.like._replace(
            interior_weights=share[:phases], interface_weights=share[phases:]
        )
        thetas.append(np.asarray(ravel_pytree(to_unconstrained(params))[0]))
    return np.stack(thetas)


def varied(given: Case, n: int, weights: float = 0.7, seed: int = 1) -> np.ndarray:
    """Truths drawn from the prior, with weights that spare no phase; only what is free varies."""
    random = np.random.default_rng(seed)
    widths = np.asarray(given.local.plan.widths, float).copy()
    widths[spot(given, "weights")] = weights
    still = np.ones(widths.size, bool)
    still[list(given.local.setting.free or range(widths.size))] = False
    widths[still] = 0.0
    return given.theta + widths * random.normal(size=(n, widths.size))


@pytest.mark.numerics
def test_wide_priors_give_the_optimum_of_the_fit_of_a_whole_volume():
    given = case()
    (truth,) = varied(given, 1)
    _, unravel = ravel_pytree(to_unconstrained(given.like))
    fine = on_bins(given.grid, given.local.scale, np.zeros((128, 64)))
    share = np.asarray(shares(unravel(jnp.asarray(truth, float)), fine, given.local.setting), float)
    drawn = np.random.default_rng(2).multinomial(VOXELS, share.ravel() / share.sum())
    histogram = JointHistogram(drawn.reshape(1, 1, 1, 128, 64), given.grid, 0, 0.0)
    model = {"model": "bimm2d", "gradient": "central_difference", "noise": "shared"}
    expected = fit_histogram(histogram, 2, start=given.params, **model)
    assert bool(expected.outcome.converged)
    best = reported(given, np.asarray(ravel_pytree(expected.outcome.theta)[0])[None])
    # The same prior: its precision there counts per voxel.
    weak = weak_prior(to_unconstrained(given.like))
    widths = 1.0 / np.sqrt(np.maximum(np.asarray(weak.precision, float) * VOXELS, 1e-6))
    wide = {"start": weak.mean, "widths": jnp.asarray(widths, float)}
    setting = given.local.setting._replace(nodes=expected.setting.nodes)
    finer = given._replace(local=given.local._replace(setting=setting))
    found = fitted(finer, drawn.reshape(1, 128, 64).astype(np.int32), data=fine, **wide)
    assert found.converged.all()
    # The optimum is sought to a fifth of a standard error.
    off = np.abs((found.values - best) / found.errors)[0]
    assert off.max() < 0.3, dict(zip(names(given), off.tolist(), strict=True))
    assert found.misplaced[0] < 0.01
    # Joined bins tell a little less, so they say a little else.
    join = given.local.join
    counts = drawn.reshape(128 // join, join, 64 // join, join).sum((1, 3))[None].astype(np.int32)
    rough = fitted(given, counts, **wide)
    assert rough.converged.all()
    assert np.abs((rough.values - best) / rough.errors).max() < 1.5
    # The prior that a block usually has matters.
    held = fitted(given, counts)
    assert np.all(held.errors <= rough.errors * 1.05)
    assert held.errors[0, columns(given, "interface_halfwidth")] < 0.03


CASES: dict[str, dict[str, Any]] = {
    "two phases": {},
    "flat interfaces": {"interface": "flat"},
    "noise of each phase": {"noise": (12.0, 16.0)},
    "three phases": {"phases": 3},
    "weights alone": {"free": "weights"},
    "weights, blur and noise": {"free": "weights,blur,noise"},
}


@pytest.mark.parametrize("kind", CASES)
def test_errors_are_those_of_the_posterior(kind: str):
    """Truths drawn from the prior and data from the truths: nothing else is to be expected."""
    given = case(**CASES[kind])
    thetas = varied(given, 48)
    found = fitted(given, draw(given, thetas))
    # The priors are wide: some such blocks are far from where they start.
    least = {"three phases": 0.7, "noise of each phase": 0.9}.get(kind, 1.0)
    assert found.converged.mean() >= least
    truth, good = reported(given, thetas), found.converged
    for name in (q.name for q in layout(given.like)):
        at = columns(given, name)
        z = (found.values - truth)[good][:, at] / np.maximum(found.errors[good][:, at], 1e-7)
        told = found.errors[good][:, at] > 1e-6 * np.abs(truth[good][:, at])
        if not told.any():
            assert kind.startswith("weights")
            assert np.abs(found.values - truth)[:, at].max() < 1e-4
            continue
        # 48 to 144 squared normal numbers; tilt and bend are bounded besides.
        low = 0.5 if name in ("interface_tilt", "interface_bend") else 0.7
        spread = float(np.sqrt(np.mean(z[told] ** 2)))
        assert low < spread < 1.35, (name, spread)
    assert np.quantile(found.misplaced[good], 0.9) < 0.01


@pytest.mark.parametrize("free", FREE)
def test_what_is_not_free_stays_to_the_last_bit(free: str):
    given = case(free=free)
    everything = case()
    counts = draw(everything, varied(everything, 3))
    begin = given.theta + 0.05 * np.random.default_rng(0).normal(size=(3, given.theta.size))
    begin = np.asarray(jnp.asarray(begin, float))
    found = fitted(given, counts, begin)
    still = np.ones(given.theta.size, bool)
    for name in FREE[free]:
        still[spot(given, name)] = False
    if free == "all":
        assert not still.any()
        return
    # Through the model's parameters and back, which rounds.
    np.testing.assert_allclose(found.theta[:, still], begin[:, still], rtol=0, atol=2e-6)
    assert np.abs(found.theta - begin)[:, ~still].min(0).max() > 1e-3
    assert np.all(found.errors[:, columns(given, "intensities")] == 0)
    assert np.all(found.errors[:, columns(given, "volume_fractions")] > 0)
    if free == "weights":
        assert np.all(found.told == 1)
        assert np.all(found.errors[:, columns(given, "blur_std")] == 0)


def test_blocks_that_lack_a_phase_or_nearly():
    given = case()
    truths = [
        [1.0, 1e-9, 1e-9],
        [1e-9, 1.0, 1e-9],
        [1e-3, 0.998, 1e-3],
        [0.9985, 5e-4, 1e-3],
        [1e-6, 0.97, 0.03],
        [0.33, 0.33, 0.34],
    ]
    thetas = with_weights(given, truths)
    counts = draw(given, thetas)
    found = fitted(given, counts)
    assert found.converged.all()
    assert found.steps.max() < 30
    assert np.isfinite(found.errors).all()
    at = columns(given, "volume_fractions")[0]
    truth = reported(given, thetas)
    off = np.abs(found.values - truth)[:, at]
    assert np.all(off < np.maximum(1e-3, 4 * found.errors[:, at])), off
    assert off.max() < 0.01
    # Nobody tells the absent phase's intensity but the prior.
    grey = columns(given, "intensities")[0]
    np.testing.assert_allclose(found.values[1, grey], truth[1, grey], atol=0.01)
    assert found.errors[1, grey] > 5 * found.errors[5, grey]
    # The blur is told where there are interfaces.
    assert np.all(found.told[:2] < 0.2)
    assert found.told[5] > 0.8
    assert np.all((found.told > -1e-3) & (found.told < 1 + 1e-6))


def test_three_phases_of_which_some_are_absent():
    given = case(phases=3)
    truths = [
        [0.5, 0.3, 1e-9, 0.2, 1e-9, 1e-9],
        [1e-9, 1.0, 1e-9, 1e-9, 1e-9, 1e-9],
        [0.5, 1e-9, 0.3, 1e-9, 0.2, 1e-9],
        [0.3, 0.3, 2e-3, 0.396, 1e-3, 1e-3],
    ]
    thetas = with_weights(given, truths)
    found = fitted(given, draw(given, thetas))
    assert found.converged.mean() >= 0.75
    at = columns(given, "volume_fractions")
    truth = reported(given, thetas)
    off = np.abs(found.values - truth)[found.converged][:, at]
    # Phases 0 and 2 blurred together look like phase 1, so that is told less well.
    assert np.all(off < np.maximum(0.003, 4 * found.errors[found.converged][:, at]))
    assert off.max() < 0.03


def test_empty_and_tiny_blocks():
    given = case()
    counts = draw(given, varied(given, 4))
    counts[1] = 0
    counts[2] = 0
    counts[2, 16, 2] = 1
    found = fitted(given, counts)
    for part in found:
        assert np.isfinite(part).all()
    assert found.steps[1] == 1
    alone = fitted(given, counts[[0, 3]])
    same(found, alone, [0, 3], [0, 1])
    few = fitted(given, draw(given, varied(given, 4), voxels=200))
    assert few.converged.all()
    assert np.isfinite(few.errors).all()


def same(a: BlockFits, b: BlockFits, of_a: Any, of_b: Any) -> None:
    for name in BlockFits._fields:
        x, y = getattr(a, name)[of_a], getattr(b, name)[of_b]
        np.testing.assert_array_equal(x, y, err_msg=name)


def test_order_company_and_lanes_change_nothing():
    given = case()
    counts = draw(given, varied(given, 11))
    counts[4] = 0
    found = fitted(given, counts)
    order = np.random.default_rng(3).permutation(11)
    same(fitted(given, counts[order]), found, slice(None), order)
    same(fitted(given, counts[[7]]), found, [0], [7])
    beside = fitted(given, counts, lanes=8)
    # Side by side sums are taken in another order.
    assert np.abs((beside.values - found.values) / found.errors)[counts.any((1, 2))].max() < 0.1
    np.testing.assert_allclose(beside.misplaced, found.misplaced, atol=1e-4)
    np.testing.assert_array_equal(beside.converged, found.converged)


def test_starts_decide_nothing():
    given = case()
    thetas = varied(given, 6)
    counts = draw(given, thetas)
    usual, true = fitted(given, counts), fitted(given, counts, thetas)
    assert true.converged.all()
    assert np.abs((usual.values - true.values) / usual.errors).max() < 0.5
    far = thetas[::-1].copy()
    other = fitted(given, counts, far)
    assert other.converged.all()
    assert np.abs((usual.values - other.values) / usual.errors).max() < 0.5


@pytest.mark.parametrize("phases", [2, 3])
def test_moving_the_weights_never_costs_likelihood(phases: int, monkeypatch: pytest.MonkeyPatch):
    given = case(phases=phases)
    setting = given.local.setting
    random = np.random.default_rng(4)
    truths = np.exp(2 * random.normal(size=(3, given.local.plan.start.size - 1)))
    truths = truths[:, : phases + phases * (phases - 1) // 2]
    free = Prior(jnp.zeros(given.theta.size), jnp.zeros(given.theta.size))
    monkeypatch.setattr(_local, "_REWEIGHTINGS", 1)

    @jax.jit
    def step(params: Params, data: Any) -> Any:
        loss, _ = assess(to_unconstrained(params), data, free, setting)
        return loss, _local._reweighted(params, data, setting)

    for sample in draw(given, with_weights(given, truths)):
        data = given.local.plan.data._replace(frequencies=jnp.asarray(sample / VOXELS, float))
        params, losses = given.like, []
        for _ in range(12):
            loss, moved = step(params, data)
            losses.append(float(loss))
            total = float(moved.interior_weights.sum() + moved.interface_weights.sum())
            assert total == pytest.approx(1.0, abs=1e-5)
            assert moved.blur_std == params.blur_std
            params = moved
        assert np.all(np.diff(losses) < 1e-6), losses
        assert losses[0] - losses[-1] > 0.01


@pytest.mark.numerics
def test_what_the_model_expects_is_linear_in_the_weights():
    given = case(phases=3)

    @jax.jit
    def mass(weights: Any) -> Any:
        params = given.like._replace(interior_weights=weights[:3], interface_weights=weights[3:])
        return bin_mass(params, given.local.plan.data, given.local.setting)

    weights = np.random.default_rng(0).random(6)
    parts = np.stack([mass(jnp.asarray(alone)) for alone in np.eye(6)])
    whole = np.asarray(mass(jnp.asarray(weights)))
    np.testing.assert_allclose(np.tensordot(weights, parts, 1), whole, atol=1e-6)
    np.testing.assert_allclose(parts.sum((1, 2)), 1.0, atol=2e-3)


def test_blocks_of_another_kind_do_not_fit():
    given = case()
    counts = draw(given, varied(given, 2))
    middle = counts[1].copy()
    middle[:] = 0
    middle[15:17, 4:8] = VOXELS // 8  # one grey value between the phases, at steep gradients
    found = fitted(given, np.stack([counts[0], middle]))
    assert found.misplaced[0] < 0.01
    assert found.misplaced[1] > 0.2


def test_bins_are_joined_as_far_as_the_noise_allows():
    loud, quiet = case(nodes=None), case(noise=1.2, nodes=None)
    assert loud.local.join > quiet.local.join
    assert quiet.local.join == 1
    assert loud.local.setting.nodes < quiet.local.setting.nodes
    rows, columns = np.shape(loud.local.plan.data.frequencies)
    assert (rows, columns) == (128 // loud.local.join, 64 // loud.local.join)
    # Bin probabilities with that many nodes are as good as asked for.
    for given in (loud, quiet):
        few, many = (
            shares(
                to_unconstrained(given.like),
                given.local.plan.data,
                given.local.setting._replace(nodes=n),
            )
            for n in (given.local.setting.nodes, 256)
        )
        assert 0.5 * float(jnp.abs(few - many).sum()) < 1e-3


@pytest.mark.numerics
@pytest.mark.parametrize("noise", [14.0, (12.0, 14.0, 16.0)])
@pytest.mark.parametrize("rare", [1e-2, 1e-9])
def test_slopes_and_information_are_those_of_plain_differentiation(noise: Any, rare: float):
    known = case(phases=3, noise=noise)
    weights = np.full(3, 0.2)
    weights[1] = rare
    like = known.like._replace(interior_weights=jnp.asarray(weights / (weights.sum() + 0.3)))
    theta = to_unconstrained(like)
    data, setting = known.local.plan.data, known.local.setting
    data = data._replace(lattice=jnp.linspace(0.5, 1.5, data.lattice.size))
    flat, unravel = ravel_pytree(theta)
    probability = bin_probability(theta, data, setting)
    frequencies = probability * (1.0 + 0.1 * jnp.sin(jnp.arange(probability.size))).reshape(
        probability.shape
    )
    frequencies = frequencies / frequencies.sum()
    found = _scoring._slope_and_information(*_scoring._masses(theta, data, setting), frequencies)
    plain = jax.jacfwd(lambda x: bin_probability(unravel(x), data, setting))(flat)
    ratio = plain / probability[..., None]
    slope = jnp.tensordot(probability - frequencies, ratio, 2)
    information = jnp.einsum("uvf,uvg->fg", plain, ratio)
    np.testing.assert_allclose(found[0], probability, rtol=1e-4, atol=1e-9)
    scale = np.sqrt(np.diag(information))
    np.testing.assert_allclose(found[1] / scale, slope / scale, atol=1e-4)
    unit = np.outer(scale, scale)
    np.testing.assert_allclose(found[2] / unit, information / unit, atol=1e-3)


@pytest.mark.numerics
def test_components_add_up_to_the_mixture():
    known = case(phases=3)
    setting, data = known.local.setting, known.local.plan.data
    at = nodes(known.like, gauss_legendre(setting.nodes), "blurred", setting.gradient)
    parts = bins_of_components(
        at, 3, known.like.correlation, data.u_edges, data.v_edges, data.rounding
    )
    whole = bin_mass(known.like, data._replace(lattice=jnp.ones_like(data.lattice)), setting)
    np.testing.assert_allclose(parts.sum(0), whole, atol=1e-6)
    weights = np.concatenate([known.like.interior_weights, known.like.interface_weights])
    np.testing.assert_allclose(parts.sum((1, 2)), weights, rtol=1e-4)
