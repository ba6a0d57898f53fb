"""By what inputs are known again when a map is gone on with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.maps._store import UNKNOWN
from bimmjax.volumes import Volume, sample_blocks

# Blocks, and their edges, by whose voxels a volume is known again.
_FINGERPRINT = 8, 16


def told_by(volume: Volume | None) -> list[Any] | None:
    """By what a volume is known again: its name, shape, type, and some of its voxels.

    Of what cannot be read it is only told that it could not: another time it may.
    """
    if volume is None:
        return None
    some = []

    def read(*box: slice) -> np.ndarray:
        try:
            data = volume.read(*box)
        except InputError:
            some.append(UNKNOWN)
            return np.zeros([s.stop - s.start for s in box], volume.dtype)
        some.append(hashlib.sha256(data.tobytes()).hexdigest()[:8])
        return data

    sample_blocks(replace(volume, reader=read), *_FINGERPRINT)
    return [volume.name, list(volume.shape), str(volume.dtype), some]


def digest(params: Any) -> str:
    """Parameters (numbers, lists, arrays) as a short text."""
    text = json.dumps(params, sort_keys=True, default=lambda x: np.asarray(x).tolist())
    return hashlib.sha256(text.encode()).hexdigest()[:16]
