"""The user's cache folder: compiled code, and the demo's volume."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Where this user's caches belong on this platform; `BIMMJAX_CACHE` overrides it."""
    chosen = os.environ.get("BIMMJAX_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "bimmjax"


def writable(folder: Path) -> bool:
    """Whether `folder` is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, RuntimeError):
        return False


def keep_compiled_code() -> None:
    """Let JAX keep what it compiles, so that the next process starts at once.

    A folder that JAX has been given already (JAX_COMPILATION_CACHE_DIR) is left as it is; where
    none can be written we go on without.
    """
    import jax

    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    try:
        folder = cache_folder() / "compiled"
    except RuntimeError:  # no home
        return
    if not writable(folder):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
