"""The BIMM paper's own fit in torch: what bimmjax is compared with.

The procedure is that of the paper (§3.6, §4, Appendices A.4-A.5), its unstated details those of
the authors' public code: start, free parameters, Adadelta's defaults (learning rate 1.0, decay
0.9, floor 1e-6), one set of fresh draws per interface and step for the whole batch, the Bessel
function I½ by sinh, float32. Each step does the work of theirs, no less and no more: a batch
from a shuffled torch DataLoader, one forward and one backward pass by autograd, one step of
torch.optim, one record of the parameters. Their TensorBoard log and progress line are left out.

    python -m benchmarks.rivals.torch_bimm cement.tif --phases 2 --repeats 5
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Model = Literal["gmm", "pvmm", "bimm1d", "bimm2d"]
Floats = NDArray[np.floating]
Values = dict[str, Floats | float | None]

MODELS: tuple[Model, ...] = ("gmm", "pvmm", "bimm1d", "bimm2d")

# Every component's density of v is proportional to v², so log p needs v > 0; rounded grey
# values do have flat neighbourhoods. The value is on the [0, 1] scale of `prepare`.
GRADIENT_FLOOR = 1e-3

_LOG_2 = math.log(2.0)
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


class RivalFit(NamedTuple):
    """One fit, in the units of the data it was given; what a model does not know is None."""

    params: Values
    nll: float  # mean over the averaged steps of the batch's mean -log p
    seconds: float  # wall clock: shuffling, loading and all steps
    steps: int  # fewer than asked for if the loss became NaN, where the authors stop too


class _Free(NamedTuple):
    """Leaves that Adadelta moves. Only the weights and the correlation are transformed."""

    intensities: Tensor  # (N,)
    noise_std: Tensor  # (), or (N,) for the GMM
    logits: Tensor  # (N + pairs,), weights before the softmax
    halfwidth: Tensor | None = None  # (), units of blur_std
    blur_std: Tensor | None = None  # (), voxels
    fisher_z: Tensor | None = None  # (), artanh of the correlation


def prepare(volume: np.ndarray) -> tuple[Floats, Floats]:
    """Intensity and gradient magnitude of a volume (z, y, x), flat, float64, on a [0, 1] scale.

    The scale is given by the volume's own smallest and largest value. The gradient is that of
    central differences, so the outermost layer of voxels is left out of both.
    """
    grey = np.asarray(volume, np.float64)
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    slopes = np.gradient(grey)
    inside = (slice(1, -1),) * 3
    v = np.sqrt(sum(slope[inside] ** 2 for slope in slopes)).ravel()
    return grey[inside].ravel(), np.maximum(v, GRADIENT_FLOOR)


def fit(
    u: np.ndarray,
    v: np.ndarray | None,
    *,
    model: Model = "bimm2d",
    phases: int = 2,
    iterations: int = 2000,
    batch: int = 50,
    draws: int = 1000,
    average: int = 500,
    seed: int = 0,
    start: Values | None = None,
    threads: int | None = None,
) -> RivalFit:
    """Fit one model as the paper does, to `iterations` x `batch` voxels drawn without repetition.

    Parameters
    ----------
    u, v
        Intensities and gradient magnitudes (> 0) of one shape, on the scale of `prepare`;
        v is used by "bimm2d" alone.
    average
        The result is the mean of the parameters over this many last steps.
    seed
        Decides the sub-sample of voxels and the draws: another seed is an independent repeat.
    start
        Values to start from, named as in `RivalFit.params`; None for the authors' start.
    threads
        Of torch within an operation; None leaves torch's own choice.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    free = _start(model, phases) if start is None else _from_values(start, model)
    leaves = [leaf.requires_grad_() for leaf in free if leaf is not None]
    optimiser = torch.optim.Adadelta(leaves)
    columns = [torch.as_tensor(np.ravel(u))]
    if model == "bimm2d":
        if v is None:
            raise ValueError("v: got None, wants the gradient magnitudes for bimm2d")
        columns.append(torch.as_tensor(np.ravel(v)))

    began = time.perf_counter()
    trace: list[list[Tensor]] = []
    losses: list[Tensor] = []
    for columns_now in _batches(_Voxels(columns), batch, iterations):
        trace.append(_constrained(free))
        loss = -_log_density(free, model, draws, *columns_now).sum() / batch
        losses.append(loss.detach())
        if torch.isnan(loss):
            break
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    seconds = time.perf_counter() - began

    means = [
        torch.stack(values).double().mean(0).numpy()
        for values in zip(*trace[-average:], strict=True)
    ]
    nll = torch.stack(losses[-average:]).double().mean().item()
    return RivalFit(_as_values(means, free, phases), nll, seconds, len(losses))


def log_prob(
    params: Values,
    u: np.ndarray,
    v: np.ndarray | None = None,
    *,
    model: Model = "bimm2d",
    draws: int = 1000,
    seed: int = 0,
    evenly: bool = False,
    dtype: torch.dtype = torch.float64,
) -> Floats:
    """Log density at given parameters, by the code that `fit` differentiates.

    `evenly` puts the draws at the middles of equal intervals instead of at random: a midpoint
    rule, for checks without Monte Carlo noise.
    """
    free = _from_values(params, model, dtype)
    columns = [torch.as_tensor(np.ravel(x), dtype=dtype) for x in (u, v) if x is not None]
    torch.manual_seed(seed)
    points = (torch.arange(draws, dtype=dtype) + 0.5) / draws if evenly else None
    with torch.no_grad():
        density = _log_density(free, model, draws, *columns, points=points)
    return density.numpy().reshape(np.shape(u))


# -- Densities ------------------------------------------------------------------------------


def _log_density(
    free: _Free,
    model: Model,
    draws: int,
    u: Tensor,
    v: Tensor | None = None,
    *,
    points: Tensor | None = None,
) -> Tensor:
    """The mixture at u, v (B,): Eq. 3, or Eq. 13 without v."""
    components = _log_normal(u, free.intensities[:, None], free.noise_std[..., None])
    if model == "bimm2d":
        assert v is not None
        components = components + _log_gradient_inside(v, _spread(free))
    if model != "gmm":
        interfaces = [
            _log_interface(
                free, model, low, high, _draw(draws, u) if points is None else points, u, v
            )
            for low in free.intensities
            for high in free.intensities
            if low < high
        ]
        components = torch.cat([components, torch.stack(interfaces)]) if interfaces else components
    log_weights = torch.log_softmax(free.logits, 0)
    return torch.logsumexp(log_weights[:, None] + components, 0)


def _draw(draws: int, like: Tensor) -> Tensor:
    """Uniform draws (K,) in [0, 1), the same for every voxel of the batch (Appendix A.5)."""
    return torch.rand(draws, dtype=like.dtype)


def _log_interface(
    free: _Free,
    model: Model,
    low: Tensor,
    high: Tensor,
    points: Tensor,
    u: Tensor,
    v: Tensor | None,
) -> Tensor:
    """Mean of p(u|I) p(v|I) over the interface region (Eq. 12), `points` (K,) in (0, 1)."""
    if model == "pvmm":
        expected = low + (high - low) * points
    else:
        assert free.halfwidth is not None
        t = free.halfwidth * (2.0 * points - 1.0)
        expected = low + (high - low) * 0.5 * (1.0 + torch.erf(t / math.sqrt(2.0)))
    expected = expected[:, None]
    logs = _log_normal(u, expected, free.noise_std)
    if model == "bimm2d":
        assert v is not None
        assert free.blur_std is not None
        slope = _slope(expected, low, high, free.blur_std)
        logs = logs + _log_gradient(v, slope, _spread(free))
    return torch.logsumexp(logs, 0) - math.log(len(points))


def _log_normal(u: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Eq. 5."""
    return -0.5 * ((u - mean) / std) ** 2 - torch.log(std) - _HALF_LOG_2PI


def _spread(free: _Free) -> Tensor:
    """σ_n sqrt(1 - ρ), the only way in which the noise enters the gradient's density."""
    assert free.fisher_z is not None
    return free.noise_std * torch.sqrt(1.0 - torch.tanh(free.fisher_z))


def _slope(expected: Tensor, low: Tensor, high: Tensor, blur_std: Tensor) -> Tensor:
    """Gradient magnitude where the expected intensity is `expected`: Eq. 2."""
    quantile = torch.erfinv(2.0 * (expected - low) / (high - low) - 1.0)
    peak = (high - low) / torch.sqrt(2.0 * math.pi * blur_std**2)
    return peak * torch.exp(-(quantile**2))


def _log_gradient(v: Tensor, slope: Tensor, spread: Tensor) -> Tensor:
    """Eq. 6: v given the expected gradient `slope` (K, 1)."""
    variance = spread**2
    bessel = _log_bessel_half(2.0 * v * slope / variance)
    power = 1.5 * torch.log(v) - 0.5 * torch.log(slope)
    return _LOG_2 - torch.log(variance) + power - (v**2 + slope**2) / variance + bessel


def _log_bessel_half(x: Tensor) -> Tensor:
    """log I½(x) = log(sqrt(2 / (πx)) sinh x), the sinh's growth kept out of exp.

    It takes |x| in the sinh, as the authors' does, though x > 0 here: it is part of their cost.
    """
    size = torch.abs(x)
    log_sinh = size + torch.log1p(-torch.exp(-2.0 * size)) - _LOG_2
    return 0.5 * _LOG_2 - 0.5 * torch.log(math.pi * x) + log_sinh


def _log_gradient_inside(v: Tensor, spread: Tensor) -> Tensor:
    """Eq. 11's factor for v: the limit of Eq. 6 without an interface."""
    constant = _LOG_2 - math.lgamma(1.5)
    return constant + 2.0 * torch.log(v) - 3.0 * torch.log(spread) - (v / spread) ** 2


# -- Parameters -----------------------------------------------------------------------------


def _start(model: Model, phases: int) -> _Free:
    """The authors' start, made for data in [0, 1]."""
    pairs = 0 if model == "gmm" else math.comb(phases, 2)
    noise_std = torch.full((phases,), 0.1) if model == "gmm" else torch.tensor(0.1)
    blurred, joint = model in ("bimm1d", "bimm2d"), model == "bimm2d"
    return _Free(
        torch.linspace(0.0, 1.0, phases),
        noise_std,
        torch.zeros(phases + pairs),
        torch.tensor(2.0) if blurred else None,
        torch.tensor(2.0) if joint else None,
        torch.tensor(0.0) if joint else None,
    )


def _from_values(values: Values, model: Model, dtype: torch.dtype = torch.float32) -> _Free:
    """The free parameters that stand for given values."""

    def tensor(name: str) -> Tensor:
        return torch.as_tensor(np.array(values[name], np.float64), dtype=dtype)

    intensities, noise_std = tensor("intensities"), tensor("noise_std")
    weights = tensor("interior_weights")
    if model == "gmm":
        noise_std = noise_std.expand(intensities.shape).clone()
    else:
        weights = torch.cat([weights, tensor("interface_weights")])
    blurred, joint = model in ("bimm1d", "bimm2d"), model == "bimm2d"
    return _Free(
        intensities,
        noise_std,
        torch.log(weights),
        tensor("interface_halfwidth") if blurred else None,
        tensor("blur_std") if joint else None,
        torch.atanh(tensor("correlation")) if joint else None,
    )


@torch.no_grad()
def _constrained(free: _Free) -> list[Tensor]:
    """What is averaged: weights and correlation rather than their free counterparts."""
    values = [free.intensities, free.noise_std, torch.softmax(free.logits, 0)]
    values += [value for value in (free.halfwidth, free.blur_std) if value is not None]
    if free.fisher_z is not None:
        values.append(torch.tanh(free.fisher_z))
    return [value.clone() for value in values]


def _as_values(means: list[Floats], free: _Free, phases: int) -> Values:
    """Means in the order of `_constrained`, by name."""
    rest = iter(means)
    intensities, noise_std, weights = next(rest), next(rest), next(rest)
    absent = (free.halfwidth is None, free.blur_std is None, free.fisher_z is None)
    halfwidth, blur_std, correlation = (None if gone else float(next(rest)) for gone in absent)
    return {
        "intensities": intensities,
        "noise_std": noise_std if noise_std.ndim else float(noise_std),
        "correlation": correlation,
        "blur_std": blur_std,
        "interface_halfwidth": halfwidth,
        "interior_weights": weights[:phases],
        "interface_weights": weights[phases:],
    }


# -- Batches --------------------------------------------------------------------------------


class _Voxels(torch.utils.data.Dataset[tuple[Tensor, ...]]):
    """One item per voxel, float32 of float64, as the authors' data set hands them out."""

    def __init__(self, columns: list[Tensor]):
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(column[index].float() for column in self.columns)


def _batches(voxels: _Voxels, batch: int, count: int) -> Iterator[list[Tensor]]:
    """`count` batches from the shuffled voxels, shuffled again only if they run out."""
    loader = torch.utils.data.DataLoader(voxels, batch_size=batch, shuffle=True, drop_last=True)
    if len(loader) == 0:
        raise ValueError(f"batch: got {batch}, wants at most the {len(voxels)} voxels there are")
    while count > 0:
        for columns in loader:
            yield columns
            count -= 1
            if count == 0:
                return


# -- Command --------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Fit a TIFF volume a few times and print results and seconds as JSON."""
    import tifffile

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rivals.torch_bimm",
        description="Fit a TIFF volume as the BIMM paper does, in torch; print JSON.",
        epilog="example: python -m benchmarks.rivals.torch_bimm cement.tif --repeats 5",
    )
    parser.add_argument("volume", type=Path, help="3D TIFF")
    parser.add_argument("--model", choices=MODELS, default="bimm2d")
    parser.add_argument("--phases", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--average", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=1, help="independent sub-samples")
    parser.add_argument("--seed", type=int, default=0, help="of the first repeat")
    parser.add_argument("--threads", type=int, help="of torch (default: torch's own choice)")
    asked = parser.parse_args(arguments)

    volume = tifffile.imread(asked.volume)
    u, v = prepare(volume)
    fits = [
        fit(
            u,
            v,
            model=asked.model,
            phases=asked.phases,
            iterations=asked.iterations,
            batch=asked.batch,
            draws=asked.draws,
            average=asked.average,
            seed=asked.seed + repeat,
            threads=asked.threads,
        )
        for repeat in range(asked.repeats)
    ]
    report = {
        "volume": asked.volume.name,
        "grey_range": [float(volume.min()), float(volume.max())],
        "model": asked.model,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "median_seconds": statistics.median(found.seconds for found in fits),
        "fits": [found._asdict() for found in fits],
    }
    print(json.dumps(report, indent=2, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
