"""What may be wrong with a block, as bits that add up."""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """Bits of the map `flags` (uint16); 0 is a block without remark.

    `MEANING` says what each means.

    Source: the codes are ours.
    """

    NOT_CONVERGED = 1
    PHASE_ABSENT = 2
    POOR_FIT = 4
    BLUR_UNTOLD = 8
    PARTIAL = 16
    UNREADABLE = 32
    NO_DATA = 64
    FAILED = 128
    UNLIKE_WHOLE = 256
    PENDING = 32768


MEANING: dict[Flag, str] = {
    Flag.NOT_CONVERGED: "The optimiser did not come to rest: do not use the numbers.",
    Flag.PHASE_ABSENT: "A phase is absent, or too rare to tell: its intensity is the prior's.",
    Flag.POOR_FIT: "The model does not describe this block: do not trust the numbers.",
    Flag.BLUR_UNTOLD: "Too few interfaces to tell the blur: it is mostly the prior's.",
    Flag.PARTIAL: "Some voxels were left out (mask, NaN or unreadable); the rest was fitted.",
    Flag.UNREADABLE: "Some voxels could not be read, or their chunk does not exist.",
    Flag.NO_DATA: "Fewer than half of the voxels can be used: nothing was fitted (NaN).",
    Flag.FAILED: "The fit ended in numbers that are not finite (NaN).",
    Flag.UNLIKE_WHOLE: "Intensities, noise or blur are far from the whole's: of another kind.",
    Flag.PENDING: "Not fitted yet: the work was interrupted; the same command goes on.",
}
"""One line a flag, for people."""

UNUSABLE = (
    Flag.NOT_CONVERGED
    | Flag.POOR_FIT
    | Flag.NO_DATA
    | Flag.FAILED
    | Flag.UNLIKE_WHOLE
    | Flag.PENDING
)
"""Blocks whose numbers should not enter a mean."""
