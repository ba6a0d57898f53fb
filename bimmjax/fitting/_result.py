"""What a fit returns, and its face in JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.models import Params, phase_pairs
from bimmjax.models._params import TILT_BOUNDS
from bimmjax.properties import Properties
from bimmjax.volumes import JointHistogram

Interval = tuple[float, float]

_HARDLY_THERE = 0.01
BY_PAIR = ("interface_weights", "interface_tilt", "interface_bend", "interface_areas")

CONVERGED = 0
NOT_CONVERGED = 1
FAILED = 2


class Scan(NamedTuple):
    """What the scan itself is like, as `Params` names it, the model's bias taken off."""

    intensities: np.ndarray
    noise_std: np.ndarray
    correlation: np.ndarray
    blur_std: np.ndarray
    noise_correlation: np.ndarray
    """Of the noise one and two voxels apart, as flat regions have it, (2,)."""


@dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """A fitted model: parameters, what they mean for the sample, and how far to trust them.

    Attributes
    ----------
    model : str
        "gmm", "pvmm", "bimm1d" or "bimm2d".
    phases : int
    method : str
        "histogram" or "minibatch".
    gradient : str
        "central_difference" or "plain": the gradient law of BIMM-2D.
    noise : str
        "shared" or "per_phase".
    interface : str
        "curved" or "flat".
    seed : int
    params : Params
        Of the mixture model, NumPy arrays; grey values, and voxels for the blur.
    properties : Properties
        NumPy arrays; in `length_unit`. Without the model's bias where that was found (see
        `uncorrected`); an area that is refused is NaN (see `refusals`).
    confidence, sampling : dict or None
        95 % intervals by flat name ("volume_fractions", ... as in `fit.json`): `confidence` for
        this volume's own values, `sampling` for the material that the volume samples.
    spacing : tuple of float
        Voxel size (z, y, x) in `length_unit`.
    length_unit, intensity_unit : str
    nll : float
        Mean negative log density per voxel, in the units of the data (bin averages).
    goodness_of_fit : float
        Share of voxels that would have to change bins for the model to be exact, beyond what
        chance explains: 0 is perfect, above 0.1 the model does not describe the volume.
    warnings : tuple of str
        In plain words.
    code : int
        0 converged, 1 not converged, 2 failed (not finite).
    voxels : int
        Voxels counted.
    seconds : dict
        "read", "histogram", "compile", "fit", "correct", "intervals".
    histogram : JointHistogram
    node_count : int
        Gauss-Legendre points across an interface.
    bic : dict or None
        Criterion by number of phases, where the number was chosen by it.
    uncorrected : Properties or None
        The model's own properties, where some of `properties` are corrected or refused.
    scan : Scan or None
        Intensities, noise and blur without the model's bias, where that was found.
    announced : dict or None
        By name of a property, as in `fit.json`: the error that nine in ten corrected values of
        this kind stay below, absolute.
    refusals : dict
        Why there is no number: by name of a property, then by pair; empty if nothing is refused.
    known_blur : bool
        Whether the blur was given instead of fitted: then it and the resolution have no errors.
    two_scales : dict or None
        Area, blur and curvature by moments at two scales, where asked for, as in `fit.json`.
    shape : tuple of int or None
        Voxels along (z, y, x) of the volume.
    """

    model: str
    phases: int
    method: str
    gradient: str
    noise: str
    interface: str
    seed: int
    params: Params
    properties: Properties
    confidence: dict[str, Any] | None
    sampling: dict[str, Any] | None
    spacing: tuple[float, float, float]
    length_unit: str
    intensity_unit: str
    nll: float
    goodness_of_fit: float
    warnings: tuple[str, ...]
    code: int
    voxels: int
    seconds: dict[str, float]
    histogram: JointHistogram
    node_count: int
    bic: dict[int, float] | None = None
    uncorrected: Properties | None = None
    scan: Scan | None = None
    announced: dict[str, Any] | None = None
    refusals: dict[str, dict[str, str]] = field(default_factory=dict)
    known_blur: bool = False
    two_scales: dict[str, Any] | None = None
    shape: tuple[int, int, int] | None = None

    def __repr__(self) -> str:
        """What matters, in some lines; `to_dict` has all."""
        told = self.to_dict()
        bars = told["confidence"] or {}
        rest = "" if self.converged else ", did not come to rest"
        lines = [
            f"Fit of {self.model}, {self.phases} phase{'s' if self.phases > 1 else ''}, lengths in "
            f"{self.length_unit}: goodness of fit {self.goodness_of_fit:.2g}{rest}"
        ]
        for name, value in told["properties"].items():
            lines += _lines(name, value, bars.get(name))
        return "\n".join([*lines, *(f"Warning: {text}" for text in self.warnings)])

    @property
    def mean_curvature(self) -> np.ndarray | None:
        """Mean of H = (κ₁ + κ₂)/2 over each interface, 1/length, (P,); None if it is flat by law.

        Positive where the darker phase is convex; NaN where the interface is hardly there or
        refused, the tilt is at its bound, or there are more than two phases. It is what the tilt
        says of how the voxels lie on either side of an interface.
        """
        # Not the corrected blur: the tilt is per distance in blurs as they were fitted.
        tilt, blur = self.params.interface_tilt, self.params.blur_std
        if tilt is None or blur is None:
            return None
        held = self.refusals.get("interface_areas", {})
        pairs = phase_pairs(self.phases)
        told = np.asarray([f"{i}-{j}" not in held for i, j in pairs])
        told &= np.asarray(self.params.interface_weights) > _HARDLY_THERE
        # Of several phases triple lines tilt it as well: on bodies of three it had a wrong sign.
        told &= (np.abs(tilt) < 0.95 * TILT_BOUNDS[1]) & (self.phases == 2)
        return np.where(told, np.asarray(tilt / (2.0 * blur * self.spacing[0])), np.nan)

    @property
    def feature_size(self) -> float | None:
        """Size of features in blurs, 4 V₁V₂ / (A σ_b h), of two phases whose area is told.

        Five and more is well, and below three areas are refused; h is the edge of a voxel.
        """
        areas = self.properties.interface_areas
        blur = self.params.blur_std if self.scan is None else self.scan.blur_std
        if self.phases != 2 or areas is None or blur is None or not float(areas[0]) > 0.0:
            return None
        room = 4.0 * float(np.prod(self.properties.volume_fractions))
        return room / (float(areas[0]) * float(blur) * self.spacing[0])

    @property
    def converged(self) -> bool:
        """Whether the optimiser came to rest."""
        return self.code == CONVERGED

    def to_dict(self) -> dict[str, Any]:
        """The content of `fit.json`: plain numbers, lists and None; never NaN."""
        return {
            "model": self.model,
            "phases": self.phases,
            "method": self.method,
            "gradient": self.gradient,
            "noise": self.noise,
            "interface": self.interface,
            "seed": self.seed,
            "known_blur": self.known_blur,
            "params": params_dict(self.params),
            "properties": {
                **properties_dict(self.properties, self.phases),
                "mean_curvature": _by_pair(self.mean_curvature, self.phases),
            },
            "corrected": self.scan is not None,
            "uncorrected": None
            if self.uncorrected is None
            else properties_dict(self.uncorrected, self.phases),
            "scan": None
            if self.scan is None
            else {name: _plain(value) for name, value in self.scan._asdict().items()},
            "announced": _plain(self.announced),
            "refusals": self.refusals,
            "units": {"length": self.length_unit, "intensity": self.intensity_unit},
            "spacing": list(self.spacing),
            "shape": None if self.shape is None else list(self.shape),
            "nll": _plain(self.nll),
            "confidence": _complete(self.confidence),
            "sampling": _complete(self.sampling),
            "goodness_of_fit": _plain(self.goodness_of_fit),
            "warnings": list(self.warnings),
            "converged": self.converged,
            "voxels": self.voxels,
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            **({} if self.two_scales is None else {"two_scales": self.two_scales}),
            **({} if self.bic is None else {"bic": {str(k): v for k, v in self.bic.items()}}),
        }


def params_dict(params: Params) -> dict[str, Any]:
    """`params` of `fit.json`; what a model lacks is None."""
    phases = np.shape(params.intensities)[0]
    return {
        name: _by_pair(value, phases) if name in BY_PAIR else _plain(value)
        for name, value in params._asdict().items()
    }


def params_of(values: Mapping[str, Any]) -> Params:
    """Parameters from the entry `params` of `fit.json`, as `fit.params` had them (NumPy).

    What is None or left out stays None.

    Parameters
    ----------
    values : mapping

    Returns
    -------
    Params

    Examples
    --------
    >>> from bimmjax.fitting import params_of
    >>> told = {"intensities": [0.0, 1.0], "noise_std": 0.1, "interior_weights": [0.3, 0.7]}
    >>> params_of(told).intensities
    array([0., 1.])
    """

    def array(name: str) -> np.ndarray | None:
        value = values.get(name)
        if isinstance(value, dict):
            value = list(value.values())
        if value is None:
            return np.zeros(0) if name == "interface_weights" else None
        return np.asarray(value, float)

    return Params(**{name: array(name) for name in Params._fields})  # type: ignore[arg-type]


def properties_dict(properties: Properties, phases: int) -> dict[str, Any]:
    """`properties` of `fit.json`; what a model cannot know is None."""
    return {
        "volume_fractions": _plain(properties.volume_fractions),
        "interface_areas": _by_pair(properties.interface_areas, phases),
        "resolution_10_90": _plain(properties.resolution_10_90),
    }


def check_fit(fit: Any) -> None:
    """Refuse what is no fit as `fit` returns it, for what wants the histogram, too."""
    if not isinstance(fit, Fit):
        raise InputError(
            f"fit: got {type(fit).__name__}, wants the Fit that bimmjax.fit returns: a fit.json "
            "does not hold the histogram"
        )


def _lines(name: str, value: Any, bar: Any) -> list[str]:
    """Name, value and interval of each part of a property; those that are None left out."""
    if isinstance(value, dict | list):
        held = value if isinstance(value, dict) else dict(enumerate(value))
        bars = bar if isinstance(bar, dict) else dict(enumerate(bar or ()))
        return [s for key, x in held.items() for s in _lines(f"{name} {key}", x, bars.get(key))]
    if value is None:
        return []
    interval = "" if bar is None or None in bar else f" ({bar[0]:.4g} to {bar[1]:.4g})"
    return [f"{name}: {value:.4g}{interval}"]


def _complete(bars: dict[str, Any] | None) -> dict[str, Any] | None:
    """Intervals under every name there is; None for what the model does not have."""
    if bars is None:
        return None
    return {
        name: bars.get(name) for name in (*Params._fields, *Properties._fields, "mean_curvature")
    }


def _by_pair(values: Any, phases: int) -> dict[str, Any] | None:
    if values is None or np.size(values) == 0:
        return None
    pairs = phase_pairs(phases)
    return {f"{i}-{j}": _plain(x) for (i, j), x in zip(pairs, np.asarray(values), strict=True)}


def _plain(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if np.ndim(value) > 0:
        return [_plain(x) for x in np.asarray(value)]
    number = float(value)
    return number if math.isfinite(number) else None
