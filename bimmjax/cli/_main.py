"""The verbs together, and how they end: 0 well, 2 bad input, 1 our fault, 130 interrupted."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from bimmjax import __version__
from bimmjax._core.checks import InputError
from bimmjax.cli._adapt import adapt
from bimmjax.cli._compare import EXAMPLE as COMPARE_EXAMPLE
from bimmjax.cli._compare import compare
from bimmjax.cli._convert import convert
from bimmjax.cli._cross_check import cross_check
from bimmjax.cli._demo import demo
from bimmjax.cli._describe import describe
from bimmjax.cli._evaluate import evaluate
from bimmjax.cli._example import example
from bimmjax.cli._fit import fit
from bimmjax.cli._info import info
from bimmjax.cli._interrupted import Interrupted
from bimmjax.cli._map import map_
from bimmjax.cli._numbers import join_numbers
from bimmjax.cli._predict import EXAMPLE as PREDICT_EXAMPLE
from bimmjax.cli._predict import predict
from bimmjax.cli._reconstruct import EXAMPLE as RECONSTRUCT_EXAMPLE
from bimmjax.cli._reconstruct import reconstruct
from bimmjax.cli._segment import segment
from bimmjax.cli._simulate import simulate
from bimmjax.cli._train import EXAMPLE as TRAIN_EXAMPLE
from bimmjax.cli._train import train
from bimmjax.cli._train_inpainting import EXAMPLE as INPAINTING_EXAMPLE
from bimmjax.cli._train_inpainting import train_inpainting
from bimmjax.cli._typed import as_typed

_INTERRUPTED = 130

app = typer.Typer(
    name="bimmjax",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bimmjax {__version__}")
        raise typer.Exit


@app.callback(epilog="Example: bimmjax fit scan.tif --phases 2 --out result")
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an internal error show the whole traceback.")
    ] = False,
) -> None:
    """Volume fractions, interface areas, resolution and noise of 3D volumes.

    fit and map segment nothing: they fit a model of phases, blurred interfaces and noise.

    segment, train and predict make labels. Every verb explains itself: bimmjax fit --help
    """


app.command("fit", epilog="Example: bimmjax fit scan.tif --phases 2 --spacing 0.65 --unit um")(fit)
app.command(
    "map",
    epilog="Example: bimmjax map scan.zarr --phases 2 --block 64 --stride 32 --out maps.zarr",
)(map_)
app.command("segment", epilog="Example: bimmjax segment scan.tif --fit scan-fit/fit.json")(segment)
app.command("describe", epilog="Example: bimmjax describe labels.tif --spacing 0.65 --unit um")(
    describe
)
app.command("evaluate", epilog="Example: bimmjax evaluate labels.zarr truth.tif --solid 1")(
    evaluate
)
app.command(
    "cross-check", epilog="Example: bimmjax cross-check labels.zarr --fit scan-fit/fit.json"
)(cross_check)
app.command("info", epilog="Example: bimmjax info scan.h5::/entry/data")(info)
app.command("convert", epilog="Example: bimmjax convert slices/ scan.zarr --spacing 10 --unit nm")(
    convert
)
app.add_typer(simulate)
app.command("train", epilog=f"Example: {TRAIN_EXAMPLE}")(train)
app.command("predict", epilog=f"Example: {PREDICT_EXAMPLE}")(predict)
app.add_typer(adapt)
app.command("compare", epilog=f"Example: {COMPARE_EXAMPLE}")(compare)
app.command("reconstruct", epilog=f"Example: {RECONSTRUCT_EXAMPLE}")(reconstruct)
app.command("train-inpainting", epilog=f"Example: {INPAINTING_EXAMPLE}")(train_inpainting)
app.command("example", epilog="Example: bimmjax example cement")(example)
app.command("demo", epilog="Example: bimmjax demo --out demo")(demo)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after `bimmjax`; those of the process if not given.

    Returns
    -------
    int
        0, or 2 after one line about bad input, 1 after an internal error, 130 after Ctrl-C.
    """
    status = _run(sys.argv[1:] if arguments is None else arguments)
    if status == _INTERRUPTED and arguments is None:
        # Where JAX was compiling, an orderly end of the process may crash, or take half a minute.
        sys.stdout.flush()
        os._exit(status)
    return status


def _run(arguments: Sequence[str]) -> int:
    words = join_numbers(arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    # A cache entry that cannot be read or written costs a compilation, not the user's attention.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation")
    # A damaged file is told in one line, ours.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    try:
        status = app(words, prog_name="bimmjax", standalone_mode=False)
        if status == _INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except InputError as error:
        line = " ".join(str(error).split())
        return _fail(as_typed(line, typer.main.get_command(app), words), 2)
    except Interrupted as interrupted:
        return _fail(str(interrupted), _INTERRUPTED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        # Typer's own exceptions moved between its versions; what they can do has not.
        told = getattr(error, "format_message", None)
        if told is not None and not told():  # no verb: the help has been printed instead
            return 2
        if told is not None:
            verb = getattr(getattr(error, "ctx", None), "command_path", "bimmjax")
            return _fail(f"{told().rstrip('.')} (see {verb} --help)", 2)
        if debug:
            raise
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        return _fail(f"internal error, {what} (--debug shows where)", 1)


def _fail(message: str, status: int) -> int:
    line = " ".join(message.split())
    lead = "bimmjax: " if status == _INTERRUPTED else "bimmjax: error: "
    print(lead + line, file=sys.stderr)
    return status
