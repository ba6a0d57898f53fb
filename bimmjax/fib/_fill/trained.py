"""What the networks that fill gaps have learned, in files; those that ship with the package."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError, choice
from bimmjax.fib._fill.article_network import InpaintNetwork
from bimmjax.fib._fill.slice_network import SliceNetwork
from bimmjax.nets._train import checkpoint

NETWORKS = {"slices": SliceNetwork, "article": InpaintNetwork}
_WANTS = "wants a safetensors file of train_inpainting"
_FOLDER = Path(__file__).parent / "weights"


def build(network: str, seed: int = 0) -> Any:
    """A network by its name, untrained."""
    return NETWORKS[choice("network", network, tuple(NETWORKS))](rngs=nnx.Rngs(seed))


def load_inpainting(path: str | os.PathLike[str] | None = None) -> Any:
    """A trained network that fills gaps.

    Parameters
    ----------
    path : path, optional
        A file of `train_inpainting`; "slices" or "article" are those that ship with the package.
        Default: "slices".

    Returns
    -------
    SliceNetwork or InpaintNetwork

    Raises
    ------
    InputError
        A file that is not there, damaged, or of something else.

    Examples
    --------
    >>> from bimmjax.fib import load_inpainting
    >>> load_inpainting().reach
    10
    """
    if path is None or path in NETWORKS:
        return _shipped(str(path or "slices"))
    return _load(Path(path))


def weights_digest(path: str | os.PathLike[str] | None = None) -> str:
    """What tells the weights of `load_inpainting(path)` from others: their SHA-256."""
    shipped = path is None or path in NETWORKS
    file = _shipped_file(str(path or "slices")) if shipped else Path(str(path))
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"network: got {path}, which cannot be read ({error.strerror})") from None


@cache
def _shipped(network: str) -> Any:
    return _load(_shipped_file(network))


def _shipped_file(network: str) -> Path:
    return _FOLDER / f"inpainting-{network}.safetensors"


def save(path: Path, arrays: Mapping[str, np.ndarray], told: Mapping[str, Any]) -> None:
    """Write arrays by name as float16, whole or not at all, with what is told of their making."""
    from safetensors.numpy import save_file

    half = {name: value.astype(np.float16) for name, value in arrays.items()}
    with checkpoint.new_file(path) as partial:
        save_file(half, partial, metadata={"made": json.dumps(dict(told))})


def told_of(path: Path) -> dict[str, Any]:
    """What a file tells of its making."""
    return _read(path)[1]


def _load(path: Path) -> Any:
    arrays, told = _read(path)
    if told.get("network") not in NETWORKS:
        raise InputError(f"network: got {path}, which is of something else; {_WANTS}")
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise InputError(f"network: got {path} with values in {name} that are not finite")
    net = build(told["network"])
    nnx.update(net, checkpoint.restored(nnx.state(net, nnx.Param), arrays, path))
    return net


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            told = json.loads((file.metadata() or {}).get("made", "{}"))
            return {name: file.get_tensor(name) for name in sorted(file.keys())}, told
    except (SafetensorError, OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"network: got {path}, which cannot be read ({reason}); {_WANTS}"
        ) from None
