"""What `bimmjax train --layers` learns from: every layer, seen from the slices around it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from bimmjax._core.checks import InputError


def layers_of(folder: str | None) -> tuple[Any, Any]:
    """Channels and labels of the pairs in a folder of `simulate dataset --thickness`."""
    from bimmjax.cli._train import volumes_of
    from bimmjax.fib import surroundings
    from bimmjax.volumes import open_volume

    if folder is None:
        raise InputError("layers: got no IMAGE, wants a folder of simulate dataset --thickness")
    images, _, _ = volumes_of(folder, None, [], None)
    channels, labels = [], []
    for stacks in images:
        pair = Path(stacks[0].partition("::")[0])
        if not (pair / "layers").exists():
            raise InputError(
                f"layers: got {pair}, which has none; wants a folder of simulate dataset "
                "--thickness MEAN STD, of this version"
            )
        truth = open_volume(f"{pair}::layers")
        told = json.loads((pair / "simulate.json").read_text("utf-8"))
        places = np.rint(np.asarray(told["positions"]) / truth.spacing[0]).astype(np.int64)
        opened = [open_volume(stack) for stack in stacks]
        channels.append(surroundings(opened, places, spacing=truth.spacing[0]))
        labels.append(f"{pair}::layers")
    return channels, labels
