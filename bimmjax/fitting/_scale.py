"""Between grey values and the units of the fit, in which the bins span the unit interval."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.fitting._flat import flatten
from bimmjax.fitting._scoring import Binned, Prior
from bimmjax.models import Params, Unconstrained
from bimmjax.volumes import Grid, JointHistogram

# Width of the interface regions, in units of the blur. The paper's fits gave 1.8 to 2.15. The
# data hardly tell it: what preference they have comes from curved interfaces, which the model
# lacks, and drags the intensities along. The prior weighs about as much as that.
_HALFWIDTH = 2.1
_HALFWIDTH_PRECISION = 3e-4

# With curved interfaces that reason is gone: the width is held where the tails are spent, and
# tilt and bend are only kept from running off where there is no interface to tell them.
_CURVED_HALFWIDTH = 2.5
_CURVED_HALFWIDTH_PRECISION = 1e-2
_CURVATURE_PRECISION = 3e-4
# Of the log of a blur that is known: a likelihood per voxel moves it by a thousandth at most.
_KNOWN_PRECISION = 1e4


class Scale(NamedTuple):
    """value in the fit = (grey value - origin) / unit."""

    origin: float
    unit: float

    def into(self, params: Params) -> Params:
        """Parameters in grey values to the units of the fit."""
        return params._replace(
            intensities=(np.asarray(params.intensities, float) - self.origin) / self.unit,
            noise_std=np.asarray(params.noise_std, float) / self.unit,
        )

    def out_of(self, params: Params) -> Params:
        """Parameters in the units of the fit to NumPy arrays in grey values."""
        arrays = Params(*(None if x is None else np.asarray(x, float) for x in params))  # type: ignore[arg-type]
        return arrays._replace(
            intensities=self.origin + self.unit * arrays.intensities,
            noise_std=self.unit * arrays.noise_std,
        )


def scale_of(histogram: JointHistogram) -> Scale:
    """The scale that maps the histogram's intensity range to [0, 1]."""
    edges = histogram.grid.u_edges
    return Scale(float(edges[0]), float(edges[-1] - edges[0]))


def binned(
    histogram: JointHistogram, counts: np.ndarray, scale: Scale, *, uses_gradient: bool
) -> Binned:
    """Counts (n_u, n_v) of a histogram as frequencies on scaled bins."""
    share = counts if uses_gradient else counts.sum(1)
    return on_bins(histogram.grid, scale, share / share.sum())


def on_bins(grid: Grid, scale: Scale, frequencies: np.ndarray) -> Binned:
    """Frequencies, with the bins of a grid in the units of the fit."""
    return Binned(
        frequencies=jnp.asarray(frequencies, float),
        u_edges=jnp.asarray((grid.u_edges - scale.origin) / scale.unit, float),
        v_edges=jnp.asarray(grid.v_edges / scale.unit, float),
        rounding=jnp.asarray(grid.step / scale.unit, float),
        lattice=jnp.asarray(grid.lattice, float),
    )


def coarse(data: Binned, factor: int) -> Binned:
    """Neighbouring bins joined along each axis: the likelihood stays exact, and gets cheaper."""
    frequencies = data.frequencies
    for axis in range(frequencies.ndim):
        starts = np.arange(0, frequencies.shape[axis], factor)
        frequencies = np.add.reduceat(np.asarray(frequencies), starts, axis=axis)
    # Over several bins the lattice of integer data is dense enough.
    return data._replace(
        frequencies=jnp.asarray(frequencies),
        u_edges=data.u_edges[::factor],
        v_edges=data.v_edges[::factor],
        lattice=jnp.ones_like(data.lattice[::factor]),
    )


def weak_prior(
    theta: Unconstrained,
    curvature: float = _CURVATURE_PRECISION,
    blur_std: float | None = None,
) -> Prior:
    """Flat, but for weak priors on the width of the interface regions and on their curvature, and
    a strong one on a blur that is known (voxels).
    """
    mean = precision = jax.tree.map(np.zeros_like, theta)
    halfwidth, tilt = theta.log_interface_halfwidth, theta.interface_tilt
    if halfwidth is not None:
        width = _HALFWIDTH if tilt is None else _CURVED_HALFWIDTH
        held = _HALFWIDTH_PRECISION if tilt is None else _CURVED_HALFWIDTH_PRECISION
        mean = mean._replace(log_interface_halfwidth=np.full_like(halfwidth, np.log(width)))
        precision = precision._replace(log_interface_halfwidth=np.full_like(halfwidth, held))
    if tilt is not None:
        held_pairs = np.full_like(tilt, curvature)
        precision = precision._replace(interface_tilt=held_pairs, interface_bend=held_pairs)
    if blur_std is not None and (log_blur := theta.log_blur_std) is not None:
        mean = mean._replace(log_blur_std=np.full_like(log_blur, np.log(blur_std)))
        precision = precision._replace(log_blur_std=np.full_like(log_blur, _KNOWN_PRECISION))
    return Prior(jnp.asarray(flatten(mean)), jnp.asarray(flatten(precision)))
