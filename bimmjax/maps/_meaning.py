"""What each map shows, in a few words."""

from __future__ import annotations

_WHOLE = {
    "resolution_10_90": "Distance over which an edge rises from 10 % to 90 %",
    "noise_std": "Standard deviation of the noise",
    "correlation": "Correlation of the noise of voxels two apart",
    "blur_std": "Standard deviation of the blur",
    "interface_halfwidth": "Half the width of the interface regions, in blurs",
    "goodness_of_fit": "Share of voxels that the model misplaces beyond chance; 0 is perfect",
    "voxels": "Voxels that were fitted",
    "steps": "Steps of the optimiser",
    "flags": "What may be wrong with the block: bits that add up",
}
_EACH = {
    "volume_fraction": "Share of the volume of phase {}",
    "interface_area": "Area per volume between phases {}",
    "intensity": "Mean grey value of phase {}",
    "noise_std": "Standard deviation of the noise in phase {}",
    "interior_weight": "Share of voxels inside phase {}",
    "interface_weight": "Share of voxels near the interface of phases {}",
    "interface_tilt": "How many more voxels lie on the brighter side of the interface of phases {}",
    "interface_bend": "How many more voxels lie off the interface of phases {} than on it",
}


def meaning_of(column: str) -> str:
    """What a column shows; "" for a name that is not ours.

    Examples
    --------
    >>> meaning_of("interface_area_0-1_stderr")
    'Standard error: area per volume between phases 0 and 1'
    """
    if column.endswith("_stderr"):
        value = meaning_of(column.removesuffix("_stderr"))
        return value and f"Standard error: {value[0].lower()}{value[1:]}"
    if column in _WHOLE:
        return _WHOLE[column]
    kind, _, which = column.rpartition("_")
    return _EACH.get(kind, "").format(which.replace("-", " and "))
