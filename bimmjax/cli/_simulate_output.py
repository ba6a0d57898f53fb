"""What every simulated structure leaves on disk: labels, simulate.json and a picture in one."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bimmjax._core.checks import InputError, whole_number
from bimmjax.cli._output import writing_to

if TYPE_CHECKING:
    import jax
    import numpy as np

    from bimmjax.sim import Labelled, LabelledVolume
    from bimmjax.volumes import Volume

Progress = Callable[[int, int], object]
_PHASES = 64
_PACKAGES = ("jax", "jaxlib", "numpy", "scipy")


@dataclass(frozen=True)
class Order:
    """Options that all structures share, and the kind."""

    kind: str
    shape: str | None
    seed: int
    spacing: str | None
    unit: str | None
    out: str | None
    overwrite: bool
    pictures: bool
    quiet: bool

    @property
    def target(self) -> Path:
        """Where the labels go; there is nothing, or it may be replaced."""
        path = zarr_name(f"{self.kind}.zarr" if self.out is None else self.out)
        if path.exists() and not self.overwrite:
            raise InputError(f"out: got {path}, which exists; wants a new name, or --overwrite")
        return path

    @property
    def box(self) -> tuple[int, int, int]:
        """Voxels (z, y, x)."""
        from bimmjax.cli._numbers import box_of

        found = box_of("shape", self.shape)
        assert found is not None
        return found

    @property
    def voxel(self) -> float | None:
        """The edge of a voxel, in the unit; None if it is not told."""
        from bimmjax.cli._numbers import spacing_of

        size = spacing_of(self.spacing)
        if size is not None and len(set(size)) > 1:
            raise InputError(f"spacing: got {self.spacing}, wants one number: voxels are cubes")
        return None if size is None else size[0]

    def voxels(self, length: float) -> float:
        """A length in the unit, in voxels."""
        return length / (self.voxel or 1.0)

    def lengths(self, *voxels: float) -> tuple[float, ...]:
        """Lengths in voxels, in the unit."""
        return tuple(length * (self.voxel or 1.0) for length in voxels)

    def key(self) -> jax.Array:
        """The random key of the seed."""
        import jax

        return jax.random.key(whole_number("seed", self.seed, 0, 2**31 - 1))


_OTHER_FORMATS = (
    ".tif", ".tiff", ".h5", ".hdf5", ".npy", ".npz", ".raw", ".nrrd", ".mrc", ".png", ".json",
)  # fmt: skip


def zarr_name(out: str | Path) -> Path:
    """`out` as a path; names of files of other formats are refused, for what is made is a zarr."""
    path = Path(out)
    if path.suffix.lower() in _OTHER_FORMATS:
        raise InputError(f"out: got {path}, wants a name that ends in .zarr")
    return path


def write_structure(
    order: Order,
    make: Callable[[Progress], Labelled | LabelledVolume],
    names: Sequence[str],
    settings: dict[str, Any],
    words: Sequence[str] = (),
) -> None:
    """Make a structure, write it as OME-Zarr with its truth and picture, and tell of it."""
    from bimmjax.cli._progress import progress_bars
    from bimmjax.cli._text import strict_json
    from bimmjax.sim import LabelledVolume
    from bimmjax.volumes import convert, open_volume

    target, voxel = order.target, order.voxel
    with progress_bars(order.quiet) as bars:
        bars.stage("Making")
        made = make(lambda done, total: bars.update("Finding the level", done, total))
        labels = made.volume if isinstance(made, LabelledVolume) else made.labels
        path = convert(
            labels,
            target,
            spacing=voxel,
            unit=order.unit,
            overwrite=order.overwrite,
            progress=lambda done, total: bars.update("Writing", done, total),
        )
    written = open_volume(path)
    told = _told(order, made, names, settings, written.spacing[0], written.unit, written.shape)
    with writing_to(path):
        text = json.dumps(strict_json(told), indent=2, allow_nan=False)
        (path / "simulate.json").write_text(text + "\n", encoding="utf-8")
        if order.pictures:
            from bimmjax import plot

            plot.structure(written, names).savefig(path / "simulate.png")
    if order.quiet:
        return
    import typer

    for word in words:
        typer.echo(word)
    for phase, (name, share) in enumerate(
        zip(names, told["truth"]["volume_fractions"], strict=True)
    ):
        typer.echo(f"Share of {name} (phase {phase}): {100.0 * share:.4f} %")
    for pair, area in told["truth"]["interface_areas"].items():
        typer.echo(f"Area {pair}: {area:.4g} 1/{written.unit}")
    typer.echo(f"Written: {path}")


def _told(
    order: Order,
    made: Labelled | LabelledVolume,
    names: Sequence[str],
    settings: dict[str, Any],
    voxel: float,
    unit: str,
    shape: tuple[int, int, int],
) -> dict[str, Any]:
    pairs = [f"{i}-{j}" for i, j in itertools.combinations(range(len(names)), 2)]
    return {
        "kind": order.kind,
        "settings": settings,
        "seed": order.seed,
        "shape": shape,
        "spacing": [voxel] * 3,
        "units": {"length": unit},
        "phases": {str(label): name for label, name in enumerate(names)},
        "truth": {
            "volume_fractions": made.fractions,
            "interface_areas": dict(zip(pairs, made.interface_areas / voxel, strict=True)),
            "interface_areas_std": dict(zip(pairs, made.interface_areas_std / voxel, strict=True)),
        },
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of this package and those that numbers may depend on."""
    from importlib.metadata import version

    from bimmjax import __version__

    return {"bimmjax": __version__} | {name: version(name) for name in _PACKAGES}


def label_counts(labels: Volume, progress: Any) -> np.ndarray:
    """Voxels of each label, up to the highest that occurs."""
    import numpy as np

    from bimmjax.volumes import stream

    if labels.dtype.kind not in "iu":
        raise InputError(f"structure: got {labels.name} of {labels.dtype}, wants integer labels")
    counts, done = np.zeros(_PHASES, np.int64), 0
    for block in stream(labels, (64, 512, 512), halo=0):
        low, high = int(block.data.min()), int(block.data.max())
        if low < 0 or high >= _PHASES:
            raise InputError(
                f"structure: got {labels.name} with a label {low if low < 0 else high}, wants "
                f"labels from 0 to {_PHASES - 1}"
            )
        counts += np.bincount(block.data.ravel(), minlength=_PHASES)
        done += block.data.size
        progress(done)
    return counts[: int(np.flatnonzero(counts)[-1]) + 1]
