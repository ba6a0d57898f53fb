"""NumPy's own file, memory-mapped."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.volumes._arrays import open_array
from bimmjax.volumes._volume import Volume, check_grid, one_line


def open_npy(path: Path) -> Volume:
    """A memory-mapped `.npy`; never unpickled, so object arrays are refused."""
    from dataclasses import replace

    try:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:
        raise InputError(
            f"source: got {path}, which cannot be read as a plain .npy file ({one_line(error)})"
        ) from error
    check_grid(data.shape, data.dtype, str(path))
    return replace(open_array(data, path.name), format="NumPy file")
