"""The names of the maps, which are also the columns of the table."""

from __future__ import annotations

from bimmjax.models import phase_pairs

_LENGTHS = frozenset({"resolution_10_90"})
_GREY = ("intensity_", "noise_std")


def value_columns(phases: int, noise: str, interface: str = "curved") -> tuple[str, ...]:
    """Names of the fitted quantities of BIMM-2D, those of `fit.json` in the singular, in order.

    Examples
    --------
    >>> value_columns(2, "shared")[:4]
    ('volume_fraction_0', 'volume_fraction_1', 'interface_area_0-1', 'resolution_10_90')
    """
    pairs = [f"{i}-{j}" for i, j in phase_pairs(phases)]
    each = range(phases)
    return (
        *(f"volume_fraction_{i}" for i in each),
        *(f"interface_area_{pair}" for pair in pairs),
        "resolution_10_90",
        *(f"intensity_{i}" for i in each),
        *(["noise_std"] if noise == "shared" else [f"noise_std_{i}" for i in each]),
        "correlation",
        "blur_std",
        "interface_halfwidth",
        *(f"interior_weight_{i}" for i in each),
        *(f"interface_weight_{pair}" for pair in pairs),
        *(f"interface_tilt_{pair}" for pair in pairs if interface == "curved"),
        *(f"interface_bend_{pair}" for pair in pairs if interface == "curved"),
    )


def all_columns(phases: int, noise: str, interface: str = "curved") -> dict[str, str]:
    """Every map and its dtype: quantities, each with its `_stderr`, then what tells of the fit."""
    values = value_columns(phases, noise, interface)
    floats = [name for value in values for name in (value, f"{value}_stderr")]
    return {
        **dict.fromkeys((*floats, "goodness_of_fit"), "float32"),
        "voxels": "int32",
        "steps": "int32",
        "flags": "uint16",
    }


def unit_of(column: str, length: str, intensity: str = "grey value") -> str:
    """The unit of a column in words; "" for pure numbers.

    Examples
    --------
    >>> unit_of("interface_area_0-1_stderr", "um"), unit_of("blur_std", "um")
    ('1/um', 'voxel')
    """
    if column.startswith("interface_area"):
        return f"1/{length}"
    if column.removesuffix("_stderr") in _LENGTHS:
        return length
    if column.removesuffix("_stderr") == "blur_std":
        return "voxel"
    return intensity if column.startswith(_GREY) else ""
