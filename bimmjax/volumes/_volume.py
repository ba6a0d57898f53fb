"""The one type every source becomes: a lazy volume that reads boxes of voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from mmap import mmap
from threading import Lock

import numpy as np
import numpy.typing as npt

from bimmjax._core.checks import InputError
from bimmjax.volumes._units import Spacing

Shape = tuple[int, int, int]
Reader = Callable[[slice, slice, slice], npt.NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3D volume that stays where it is until a box of it is read.

    Made by `open_volume`; axes are always (z, y, x).

    Attributes
    ----------
    shape : tuple of int
        Voxels along (z, y, x).
    dtype : numpy.dtype
        Integer or floating, native byte order.
    reader : callable
        `reader(z, y, x)` gives the box between the slices' starts and stops. Called from several
        threads at once.
    spacing : tuple of float
        Voxel size along (z, y, x) in `unit`; 1.0 each if unknown.
    unit : str
        "nm", "um", "mm", ...; "voxel" if the voxel size is unknown, "unit" if the size is known
        and its unit is not.
    name : str
        For titles.
    chunks : tuple of int
        Reading is efficient in boxes of this shape (and whole multiples of it).
    format : str
        What the data lie in, in words.
    """

    shape: Shape
    dtype: np.dtype[np.generic]
    reader: Reader = field(repr=False)
    spacing: Spacing = (1.0, 1.0, 1.0)
    unit: str = "voxel"
    name: str = "volume"
    chunks: Shape = (1, 1, 1)
    format: str = "array"

    def read(self, z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        """A box of voxels, as a new array in C order and in the volume's dtype. Thread-safe.

        Parameters
        ----------
        z, y, x : slice
            Within the volume, with step 1; negative indices count from the end as usual.

        Raises
        ------
        InputError
            A slice with a step, or data that cannot be read (a damaged file).

        Examples
        --------
        >>> import numpy as np
        >>> from bimmjax import open_volume
        >>> volume = open_volume(np.arange(60).reshape(3, 4, 5))
        >>> volume.read(slice(1, 2), slice(0, 2), slice(None)).tolist()
        [[[20, 21, 22, 23, 24], [25, 26, 27, 28, 29]]]
        """
        box: list[slice] = []
        for axis, part, size in zip("zyx", (z, y, x), self.shape, strict=True):
            start, stop, step = part.indices(size)
            if step != 1:
                raise InputError(f"{axis}: got {part}, wants a slice with step 1")
            box.append(slice(start, max(start, stop)))
        data = self.reader(*box)
        # A copy even of memory: what is read ahead must not be a promise to read later (memory
        # maps), and a consumer may write into its block.
        owned = data.flags.writeable and not isinstance(data.base, np.ndarray | mmap)
        return np.array(data, dtype=self.dtype, order="C", copy=None if owned else True)

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[np.generic]:
        """All of it, read into memory: what `np.asarray(volume)` gives.

        Raises
        ------
        ValueError
            `copy=False`: voxels that are read are always a copy.

        Examples
        --------
        >>> import numpy as np
        >>> from bimmjax import open_volume
        >>> np.asarray(open_volume(np.arange(8).reshape(2, 2, 2))).tolist()
        [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
        """
        if copy is False:
            raise ValueError("copy: got False, but the voxels of a volume have to be read")
        whole = self.read(slice(None), slice(None), slice(None))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels once read (not as stored)."""
        return self.voxels * self.dtype.itemsize


def check_grid(
    shape: Sequence[int], dtype: npt.DTypeLike, what: str, name: str = "source"
) -> tuple[Shape, np.dtype[np.generic]]:
    """Shape and working dtype of a grey-value volume, or an `InputError`.

    bool becomes uint8 (a mask is a volume too) and the byte order becomes the machine's.

    Parameters
    ----------
    shape, dtype
        As the source tells them.
    what : str
        What was given, for the message: a path, or "a NumPy array".
    name : str
        The argument's name, for the message.
    """
    if len(shape) != 3:
        raise InputError(
            f"{name}: got {what} with {len(shape)} dimensions, shape {tuple(map(int, shape))}; "
            "wants a 3D volume (z, y, x)"
        )
    if min(shape) < 1:
        raise InputError(
            f"{name}: got {what} of shape {tuple(map(int, shape))}; wants at least one voxel "
            "along each axis"
        )
    own = np.dtype(dtype)
    if own.kind == "b":
        own = np.dtype(np.uint8)
    if own.kind not in "iuf" or own.itemsize > 8:
        raise InputError(
            f"{name}: got {what} of dtype {own}; wants grey values: integers or floats of up to "
            "64 bits, or bool"
        )
    z, y, x = (int(n) for n in shape)
    return (z, y, x), own.newbyteorder("=")


def one_line(error: BaseException, limit: int = 200) -> str:
    """The gist of a library's error: its first line, without TensorStore's trailing spec."""
    text = (str(error).strip() or type(error).__name__).split(" [tensorstore_spec=")[0]
    text = text.splitlines()[0]
    return text if len(text) <= limit else text[: limit - 3] + "..."


def guarded(reader: Reader, what: str) -> Reader:
    """A file's reader whose failures (a damaged file, a lost disk) are told as bad input."""

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        try:
            return reader(z, y, x)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            box = ", ".join(f"{s.start}:{s.stop}" for s in (z, y, x))
            raise InputError(
                f"source: got {what}, whose voxels [{box}] cannot be read ({one_line(error)}); "
                "wants an undamaged file"
            ) from error

    return read


def loaded_once(load: Callable[[], npt.NDArray[np.generic]]) -> Reader:
    """A reader over data that can only be had whole: loaded at the first box, then kept."""
    lock = Lock()
    kept: list[npt.NDArray[np.generic]] = []

    def read(z: slice, y: slice, x: slice) -> npt.NDArray[np.generic]:
        with lock:
            if not kept:
                kept.append(load())
        return kept[0][z, y, x]

    return read


def memory_chunks(shape: Shape, strides: Sequence[int]) -> Shape:
    """Efficient granularity of strided memory: a slice across the slowest axis."""
    slowest = int(np.argmax([abs(s) for s in strides])) if any(strides) else 0
    z, y, x = (1 if axis == slowest else size for axis, size in enumerate(shape))
    return (z, y, x)
