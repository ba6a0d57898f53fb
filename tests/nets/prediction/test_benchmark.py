"""What the benchmark says of seams."""

from __future__ import annotations

import math

from benchmarks.predicting import seam_told


def test_no_seam_is_told_only_of_what_was_compared():
    assert seam_told([5.0, math.nan]) == "yes"
    assert seam_told([3.0, -1.0]) == "no"
    assert seam_told([math.nan, 1.0]) == "no"
    assert seam_told([math.nan, math.nan]) == "not known"
