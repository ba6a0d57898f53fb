"""What was learned, on disk: each checkpoint is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError

_FOLDER = "checkpoints"
_DIGEST = "sha256"  # of all arrays, among what is told


def checkpoints(out: Path) -> list[int]:
    """Epochs that have a checkpoint, in order."""
    folder = out / _FOLDER
    if not folder.is_dir():
        return []
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def place(out: Path, epoch: int) -> Path:
    """The folder of a checkpoint."""
    return out / _FOLDER / f"{epoch:06d}"


def save(out: Path, epoch: int, arrays: dict[str, np.ndarray], told: dict[str, Any]) -> None:
    """Write arrays by name (see `named_arrays`), and what is told with them (JSON)."""
    import orbax.checkpoint as ocp

    target = place(out, epoch)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whatever the library does in between: a folder without a number does not count, and is
    # renamed when it is complete.
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    told = told | {_DIGEST: _digest(arrays)}
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as writer:
        writer.save(
            partial.absolute(),
            args=ocp.args.Composite(
                arrays=ocp.args.PyTreeSave(arrays), told=ocp.args.JsonSave(told)
            ),
        )
    partial.rename(target)


def read(out: Path, epoch: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Arrays by name, and what was told with them.

    Raises
    ------
    InputError
        A checkpoint that is not there, or damaged.
    """
    import orbax.checkpoint as ocp

    target = place(out, epoch).absolute()
    if not target.is_dir():
        raise InputError(f"checkpoint: got {target}, which does not exist; wants a folder")
    try:
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
            found = reader.restore(
                target,
                args=ocp.args.Composite(
                    arrays=ocp.args.PyTreeRestore(), told=ocp.args.JsonRestore()
                ),
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"checkpoint: got {target}, which cannot be read ({reason}); wants an undamaged one"
        ) from error
    arrays = {name: np.asarray(value) for name, value in found.arrays.items()}
    # What is compressed need not notice that a disk has changed it.
    if found.told.get(_DIGEST, _digest(arrays)) != _digest(arrays):
        raise InputError(
            f"checkpoint: got {target}, which is not what was written (its SHA-256 differs); wants "
            "an undamaged one"
        )
    return arrays, found.told


def tidy(out: Path, kept: Iterable[int] | None = None) -> None:
    """Remove what an interruption has left, and all checkpoints but those `kept`."""
    folder = out / _FOLDER
    if not folder.is_dir():
        return
    for path in folder.glob(".*.partial*"):
        shutil.rmtree(path, ignore_errors=True)
    if kept is not None:
        for epoch in set(checkpoints(out)) - set(kept):
            shutil.rmtree(place(out, epoch), ignore_errors=True)


def named_arrays(state: Any) -> dict[str, np.ndarray]:
    """Copies of the leaves of a pytree by their paths, on the host; keys as plain numbers."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    # A view, which a CPU could give, would keep the next step from working in their memory.
    found = {_name(path): np.array(_plain(leaf)) for path, leaf in leaves}
    assert len(found) == len(leaves)
    return found


def named_shapes(state: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of leaves by their paths, which takes no copy."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_name(path): leaf.shape for path, leaf in leaves}


def hash_of(net: nnx.Module) -> str:
    """SHA-256 of all that a network has learned, running averages among it."""
    # Keys of dropout and noise have no part in it.
    return _digest(named_arrays(nnx.state(net, nnx.Not(nnx.RngState))))


def restored(state: Any, arrays: dict[str, np.ndarray], where: Path) -> Any:
    """`state` with its leaves replaced by those of a checkpoint.

    Raises
    ------
    InputError
        Leaves of other names or shapes: a checkpoint of another network.
    """
    names = {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
    lacking, more = [n for n in names if n not in arrays], [n for n in arrays if n not in names]
    if lacking or more:
        what = f"without {lacking[0]}" if lacking else f"with {more[0]}"
        raise InputError(
            f"checkpoint: got {where} {what} ({len(lacking)} arrays lacking, {len(more)} too "
            "many); wants one of the same network"
        )

    def put(path: Any, leaf: Any) -> Any:
        name, plain = _name(path), _plain(leaf)
        found = arrays[name]
        if found.shape != plain.shape:
            raise InputError(
                f"checkpoint: got {where} with {name} of shape {found.shape}, wants {plain.shape}: "
                "one of the same network, channels and classes"
            )
        value = found.astype(plain.dtype)
        if _is_key(leaf):
            return jax.random.wrap_key_data(
                jax.numpy.asarray(value), impl=jax.random.key_impl(leaf)
            )
        return jax.numpy.asarray(value)

    return jax.tree_util.tree_map_with_path(put, state)


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A hidden file beside `target` to write; it takes the target's place when all went well."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def unwritable(out: str | os.PathLike[str], error: OSError) -> InputError:
    """A full disk and the like, told as bad output."""
    reason = error.strerror or str(error) or type(error).__name__
    return InputError(f"out: got {os.fspath(out)}, which cannot be written ({reason})")


def _digest(arrays: dict[str, np.ndarray]) -> str:
    hashed = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        hashed.update(f"{name} {array.shape} {array.dtype} ".encode())
        hashed.update(array.tobytes())
    return hashed.hexdigest()


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")


def _is_key(leaf: Any) -> bool:
    return jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
