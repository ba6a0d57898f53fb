"""Training, validation and test: blocks along z, apart from each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bimmjax._core.checks import InputError, real_number, whole_number


class Split(NamedTuple):
    """Slices from start to stop; what is not wanted is empty.

    Attributes
    ----------
    train : range
    validation : range
    test : range
    """

    train: range
    validation: range
    test: range


def split(depth: int, shares: Sequence[float] = (0.7, 0.2, 0.1), margin: int = 4) -> Split:
    """Blocks of slices in the order training, validation, test.

    Neighbouring slices are nearly copies of each other: drawn at random they would let a network
    be tested on what it has learned by heart. Between two blocks `margin` slices are left out.

    Parameters
    ----------
    depth : slices along z
    shares
        Of training, validation and test in the slices that remain; they add up to 1.
    margin : slices

    Returns
    -------
    Split

    Raises
    ------
    InputError
        Shares that do not add up to 1, none for training, or too few slices for the blocks.

    Examples
    --------
    >>> from bimmjax.nets import split
    >>> split(100, (0.8, 0.2, 0.0), margin=10)
    Split(train=range(0, 72), validation=range(82, 100), test=range(100, 100))
    """
    wanted = [real_number("split", share, 0.0, 1.0) for share in shares]
    if len(wanted) != 3 or abs(sum(wanted) - 1.0) > 1e-6 or wanted[0] == 0.0:
        raise InputError(
            f"split: got {' '.join(f'{s:g}' for s in wanted)}, wants three shares that add up to "
            "1: of training (more than 0), validation and test"
        )
    whole_number("margin", margin, 0, 2**31 - 1)
    kept = [share > 0.0 for share in wanted]
    slices = depth - margin * (sum(kept) - 1)
    sizes = [max(round(share * slices), 1) if share else 0 for share in wanted]
    if slices > sum(kept[1:]):  # training has a slice of its own, however small its share
        while sizes[1] + sizes[2] >= slices:
            sizes[sizes.index(max(sizes[1:]), 1)] -= 1
    sizes[0] = slices - sizes[1] - sizes[2]
    if sizes[0] < 1:
        raise InputError(
            f"split: got {depth} slices, too few for {sum(kept)} blocks with {margin} slices "
            "between them; wants a smaller margin or fewer blocks"
        )
    blocks, at = [], 0
    for size in sizes:
        if not size:
            blocks.append(range(depth, depth))
            continue
        blocks.append(range(at, at + size))
        at += size + margin
    return Split(*blocks)
