"""`bimmjax example`: a real volume to try things on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from bimmjax._core.checks import InputError, choice
from bimmjax.cli._examples import EXAMPLES, find


def example(
    name: Annotated[
        str, typer.Argument(metavar="|".join(EXAMPLES), help="Which volume.", show_default=False)
    ],
    out: Annotated[
        str | None,
        typer.Option(metavar="FILE.tif", help="Default: the name and .tif.", show_default=False),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE.tif if it exists.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not tell what it is.")] = False,
) -> None:
    """Save a real volume as a TIFF, to try things on.

    They are examples of the package qim3d (MIT licence), fetched once through pip and kept.
    No voxel size is recorded for any of them.
    """
    from bimmjax.maps._folder import new_file

    wanted = EXAMPLES[choice("name", name, tuple(EXAMPLES))]
    target = _checked(f"{name}.tif" if out is None else out, overwrite)
    with new_file(target) as partial:
        found = find(wanted, spare=partial)
        if found.path is None:
            raise InputError(
                f"name: got {name}, which cannot be had ({found.how}); wants a package registry "
                "that pip reaches"
            )
        if found.path != partial:
            shutil.copyfile(found.path, partial)
    if not quiet:
        size = " x ".join(map(str, wanted.shape))
        typer.echo(f"{target}: {size} uint8, {wanted.origin}; {found.how}.")


def _checked(out: str, overwrite: bool) -> Path:
    target = Path(out)
    if target.suffix.lower() not in (".tif", ".tiff"):
        raise InputError(f"out: got {out}, wants a name that ends in .tif")
    if target.is_dir():
        raise InputError(f"out: got {out}, which is a folder; wants a file to make")
    if not target.parent.is_dir():
        raise InputError(f"out: got {out}, whose folder does not exist; wants one that does")
    if os.path.lexists(target) and not overwrite:
        raise InputError(f"out: got {out}, which exists; wants a new file, or --overwrite")
    return target
