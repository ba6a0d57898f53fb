"""By what a prediction is known again: what it was made with, of what, and how."""

from __future__ import annotations

import json
from typing import Any

from bimmjax.nets._predict.given import Given
from bimmjax.nets._predict.images import Images
from bimmjax.nets._train.checkpoint import hash_of


def identity_of(
    found: Given,
    images: Images,
    how: str,
    uncertainty: bool,
    consensus: bool,
) -> dict[str, Any]:
    """All that decides about the labels but how they are `blended`, as JSON gives it back."""
    told = {
        "prune": found.prune,
        "network": found.name,
        "weights": hash_of(found.net),
        "normalise": how,
        "image": images.fingerprint(),
        "normalisations": [list(one) for one in images.normalisations],
        "uncertainty": bool(uncertainty),
        "consensus": bool(consensus),
    }
    return json.loads(json.dumps(told))
