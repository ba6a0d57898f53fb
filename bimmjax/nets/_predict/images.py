"""What a network is applied to: channels of one grid, in the order of training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bimmjax._core.checks import InputError
from bimmjax.nets._data.normalise import Normalisation, normalisation
from bimmjax.nets._data.specimen import check_same
from bimmjax.volumes import Volume, open_volume, sample_blocks

# Blocks, and their edges, by whose voxels a volume is known again.
_FINGERPRINT = 8, 16


class Images(NamedTuple):
    """Volumes of one shape, and what to normalise each of them by."""

    volumes: tuple[Volume, ...]
    normalisations: tuple[Normalisation, ...]
    tables: tuple[np.ndarray | None, ...]
    """What becomes of each grey value, where there are few."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each of its volumes."""
        return self.volumes[0].shape

    def normalised(self, channel: int, grey: np.ndarray) -> np.ndarray:
        """Grey values of a channel as the network takes them, float32."""
        table = self.tables[channel]
        if table is None:
            return self.normalisations[channel](grey)
        return table[grey.view(f"u{grey.itemsize}")]

    def fingerprint(self) -> list[Any]:
        """By what they are known again, wherever they lie."""
        return [
            [
                list(volume.shape),
                str(volume.dtype),
                hashlib.sha256(
                    b"".join(part.tobytes() for part in sample_blocks(volume, *_FINGERPRINT))
                ).hexdigest()[:16],
            ]
            for volume in self.volumes
        ]


def open_images(image: Any, channels: int, how: str) -> Images:
    """One volume or several channels, opened, checked, and looked through once.

    Raises
    ------
    InputError
        Another number of channels, shapes or voxels that differ, a constant volume.
    """
    given = image if isinstance(image, Sequence) and not isinstance(image, str) else [image]
    if len(given) != channels:
        raise InputError(
            f"image: got {len(given)} channel{'s' * (len(given) != 1)}, wants {channels}, as the "
            "network was trained on"
        )
    volumes = tuple(open_volume(one) for one in given)
    for volume in volumes[1:]:
        check_same("image", volume, volumes[0])
    found = tuple(normalisation(volume, how) for volume in volumes)
    tables = tuple(_table(v.dtype, n) for v, n in zip(volumes, found, strict=True))
    return Images(volumes, found, tables)


def _table(dtype: np.dtype[np.generic], normalise: Normalisation) -> np.ndarray | None:
    # Looking up takes a tenth of the time of calculating in double precision, for the same bits.
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    bits = np.arange(2 ** (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    return normalise(bits.view(dtype))


def hull(parts: Sequence[slice]) -> slice:
    """From the first start to the last end."""
    return slice(min(p.start for p in parts), max(p.stop for p in parts))


def read_box(images: Images, box: Sequence[slice]) -> tuple[np.ndarray, ...]:
    """A box of each channel, in its own dtype; beyond the volume its outermost voxels stand."""
    inner = [slice(max(p.start, 0), min(p.stop, n)) for p, n in zip(box, images.shape, strict=True)]
    pads = [(i.start - p.start, p.stop - i.stop) for p, i in zip(box, inner, strict=True)]
    z, y, x = inner
    found = [volume.read(z, y, x) for volume in images.volumes]
    return tuple(np.pad(one, pads, mode="edge") if np.any(pads) else one for one in found)
