"""What a model is off on the volume at hand, found on stand-ins of known truth, and taken off.

A mixture of flat interfaces is biased where structures are thin or curved against the blur. How
much depends on the structure; so blocks of the volume are restored to sharp bodies, blurred and
given noise as the fit says, and fitted like the volume. What that fit gives over what is true of
the bodies is the bias. It is taken off, and the stand-ins are made once more with what is left.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.fitting._histogram_fit import HistogramFit, physical
from bimmjax.fitting._reference import Reference, reference
from bimmjax.fitting._scoring import maximise
from bimmjax.fitting._stand_in import sharpened
from bimmjax.fitting._uncertainty import drawn_counts
from bimmjax.models import Params
from bimmjax.properties import Properties, properties

# Draws by round; of small blocks more, so that their noise does not become the bias's.
_DRAWS = 1, 2
_VOXELS = 250_000
_MOST_DRAWS = 24
# A restored body of two phases has lost some of the curvature that it stands for: on bodies of
# known area this much of the bias was missed.
_MISSED = 0.2
# Of all area; a pair that has less hardly touches, and what its bias is nobody can tell.
_TOUCHING = 0.02


class Bias(NamedTuple):
    """What a fit gives over the truth: differences, and logs of ratios."""

    intensities: np.ndarray
    """(N,) differences, in the units of the fit."""
    log_noise: np.ndarray
    correlation: float
    log_blur: float
    volume_fractions: np.ndarray
    """(N,) differences."""
    log_areas: np.ndarray
    """(P,) logs of ratios."""


def without_bias(params: Params, bias: Bias) -> Params:
    """Parameters of the scan (not of the mixture) with a bias taken off, NumPy arrays."""
    assert params.correlation is not None
    assert params.blur_std is not None
    means = params.intensities - bias.intensities
    return params._replace(
        intensities=means if np.all(np.diff(means) > 0) else params.intensities,
        noise_std=params.noise_std * np.exp(-bias.log_noise),
        correlation=np.clip(params.correlation - bias.correlation, -0.99, 0.99),
        blur_std=params.blur_std * np.exp(-bias.log_blur),
    )


class Found(NamedTuple):
    """A bias, and the stand-ins on which it was found."""

    bias: Bias
    unsettled: np.ndarray
    """(P,) change of the logs of the areas' ratios by the last round."""
    stand_ins: list[Reference]
    put_in: Params
    """What the stand-ins were made with, in the units of the fit."""


def find_bias(fit: HistogramFit, blocks: list[np.ndarray], seed: int) -> Found | None:
    """The bias of a fit on blocks (z, y, x) of its volume, in the units of the fit.

    None where the blocks hold no surface that could be restored.
    """
    model = jax.tree.map(lambda x: np.asarray(x, float), physical(fit.outcome.theta))
    rough = [reference(block, model) for block in blocks]
    found = None
    for number in range(len(_DRAWS)):
        put_in = model if found is None else without_bias(model, found.bias)
        stand_ins = [
            sharpened(r, b, put_in, fit.setting.gradient)
            for r, b in zip(rough, blocks, strict=True)
        ]
        key = jax.random.fold_in(jax.random.key(seed), number)
        few = _VOXELS / sum(stand_in.counted for stand_in in stand_ins)
        draws = max(_DRAWS[number], min(round(_DRAWS[number] * few), _MOST_DRAWS))
        bias = _bias(fit, put_in, stand_ins, key, draws)
        if not all(np.all(np.isfinite(x)) for x in bias):
            return None
        before = 0.0 if found is None else found.bias.log_areas
        found = Found(bias, bias.log_areas - before, stand_ins, put_in)
    return found


def corrected(told: Properties, bias: Bias) -> Properties:
    """Properties with a bias taken off; fractions stay within 0 and 1 and sum to 1."""
    assert told.interface_areas is not None
    assert told.resolution_10_90 is not None
    fractions = np.clip(told.volume_fractions - bias.volume_fractions, 0.0, 1.0)
    return Properties(
        fractions / fractions.sum(),
        told.interface_areas * np.exp(-bias.log_areas),
        told.resolution_10_90 * np.exp(-bias.log_blur),
    )


def _bias(
    fit: HistogramFit, put_in: Params, stand_ins: list[Reference], key: jax.Array, draws: int
) -> Bias:
    counts = np.zeros(fit.data.frequencies.size)
    for number, stand_in in enumerate(stand_ins):
        counts += drawn_counts(jax.random.fold_in(key, number), draws, stand_in, fit.data).sum(0)
    frequencies = (counts / counts.sum()).reshape(fit.data.frequencies.shape)
    data = fit.data._replace(frequencies=jnp.asarray(frequencies, float))
    outcome = maximise(fit.outcome.theta, data, fit.prior, 1e-7, 60, fit.setting)
    found = physical(outcome.theta)
    # A fit that did not come to rest tells no bias: not a number is refused by who asked.
    at_rest = 1.0 if bool(outcome.converged) else np.nan
    told = jax.tree.map(lambda x: np.asarray(x, float), properties(found))
    found = jax.tree.map(lambda x: np.asarray(x, float), found)
    weights = np.array([stand_in.counted for stand_in in stand_ins], float)
    weights /= weights.sum()
    fractions, areas, correlation = (
        np.einsum("b,b...->...", weights, np.array([getattr(s, name) for s in stand_ins]))
        for name in ("volume_fractions", "interface_areas", "correlation")
    )
    assert put_in.blur_std is not None
    missed = 1.0 + (_MISSED if len(fractions) == 2 else 0.0)
    touching = np.minimum(areas, told.interface_areas) > _TOUCHING * areas.sum()
    if not touching.any():
        touching = np.ones_like(touching)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Bias(
            intensities=missed * (found.intensities - put_in.intensities),
            log_noise=np.log(found.noise_std / put_in.noise_std),
            correlation=float(found.correlation - correlation),
            log_blur=at_rest * missed * float(np.log(found.blur_std / put_in.blur_std)),
            volume_fractions=missed * (told.volume_fractions - fractions),
            log_areas=missed * np.where(touching, np.log(told.interface_areas / areas), 0.0),
        )
