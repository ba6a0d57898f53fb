"""Options that take one number or several: `--spacing 0.5` and `--spacing 1 0.5 0.5`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bimmjax._core.checks import InputError

_MOST = 3
_ANY = 2**31
# How many numbers may follow.
_SEVERAL = {
    "--spacing": _MOST,
    "--chunk": _MOST,
    "--shard": _MOST,
    "--block": _MOST,
    "--stride": _MOST,
    "--times": _ANY,
    "--shape": _MOST,
    "--direction": _MOST,
    "--diameter": 2,
    "--wavelength": 2,
    "--ligament": 2,
    "--scales": _ANY,
    "--kv": _ANY,
    "--intensities": _ANY,
    "--fringes": 2,
    "--centre": 2,
    "--thickness": _ANY,
    "--solid-fraction": 2,
    "--slices": _ANY,
    "--drift": 2,
    "--brightness": 2,
    "--levels": 2,
    "--split": 3,
    "--patch": _MOST,
    "--tile": _MOST,
    "--class-weights": _ANY,
    "--crop": 4,
    "--region": 4,
    "--ruler": 4,
}
# How a material is called: a name, or a formula with a density.
_MATERIAL = re.compile(r"[A-Za-z]+|[A-Za-z0-9.]+@[0-9.]+")


def join_numbers(arguments: Sequence[str]) -> list[str]:
    """Join the numbers that follow `--spacing` and its like into one word, `1,0.5,0.5`.

    So are the materials that follow `--materials`.

    Examples
    --------
    >>> join_numbers(["fit", "a.tif", "--spacing", "1", "0.5", "0.5", "--phases", "2"])
    ['fit', 'a.tif', '--spacing=1,0.5,0.5', '--phases', '2']
    >>> join_numbers(["--materials", "epoxy", "Al2O3@3.95", "a.zarr"])
    ['--materials=epoxy,Al2O3@3.95', 'a.zarr']
    """
    words = list(arguments)
    joined: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return [*joined, word, *words[at:]]
        if word == "--materials":
            most, belongs = _ANY, _is_material
        elif word in _SEVERAL:
            most, belongs = _SEVERAL[word], _is_number
        else:
            joined.append(word)
            continue
        numbers: list[str] = []
        while at < len(words) and len(numbers) < most and belongs(words[at]):
            numbers.append(words[at])
            at += 1
        # One word with the option's name: a minus sign then makes no option of a number.
        joined.append(f"{word}={','.join(numbers)}" if numbers else word)
    return joined


def spacing_of(text: str | None) -> tuple[float, ...] | None:
    """The voxel size from "0.5" or "1,0.5,0.5", (z, y, x); three numbers, or None."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if len(words) not in (1, _MOST) or not all(map(_is_number, words)):
        raise InputError(
            f"spacing: got {' '.join(words) or 'nothing'!r}, wants one number or three (z y x)"
        )
    sizes = tuple(float(word) for word in words)
    return sizes * _MOST if len(sizes) == 1 else sizes


def box_of(name: str, text: str | None) -> tuple[int, int, int] | None:
    """A box of voxels from "64" or "64,128,128", (z, y, x), or None."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if len(words) not in (1, _MOST) or not all(map(_is_count, words)):
        raise InputError(
            f"{name}: got {' '.join(words) or 'nothing'!r}, wants one whole number above 0 or "
            "three (z y x)"
        )
    z, y, x = words * _MOST if len(words) == 1 else words
    return int(z), int(y), int(x)


def sizes_of(name: str, text: str | None) -> tuple[int, ...] | None:
    """Two or three sizes of an image from "64,64", or None."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if len(words) not in (2, 3) or not all(word.isdecimal() for word in words):
        raise InputError(f"{name}: got {' '.join(words) or 'nothing'!r}, wants two sizes or three")
    return tuple(map(int, words))


def numbers_of(name: str, text: str | None, count: int | None = None) -> list[float] | None:
    """Numbers from "1,2,4", as many as `count` if given, or None."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(map(_is_number, words)) or len(words) != (count or len(words)):
        wants = f"{count} number{'s' * (count > 1)}" if count else "one number or several"
        raise InputError(f"{name}: got {' '.join(words) or 'nothing'!r}, wants {wants}")
    return [float(word) for word in words]


def times_of(text: str | None) -> list[float] | None:
    """Moments from "0,1.5,3", or None."""
    if text is None:
        return None
    words = text.replace(",", " ").split()
    if not words or not all(map(_is_number, words)):
        raise InputError(
            f"times: got {' '.join(words) or 'nothing'!r}, wants one number for each volume"
        )
    return [float(word) for word in words]


def _is_count(word: str) -> bool:
    return word.isdecimal() and int(word) > 0


def _is_material(word: str) -> bool:
    return _MATERIAL.fullmatch(word) is not None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
