"""`bimmjax map`: what it leaves, that it goes on, what it refuses, and how it ends."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tifffile

from bimmjax import maps as package
from bimmjax._core.checks import InputError
from bimmjax.cli import _devices, _map_table, main
from bimmjax.cli._interrupted import heeding_ctrl_c
from bimmjax.cli._map_summary import left_over
from bimmjax.maps import Flag, Maps, _processes, open_maps
from bimmjax.maps._columns import all_columns
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Windows
from bimmjax.plot._maps_view import View

Run = Callable[..., Any]
PICTURES = {"maps.png", "profiles.png", "histograms.png", "flags.png"}
BESIDE = {"map.json", "blocks.csv", "maps.html", *PICTURES}
OPTIONS = ("--block", "24", "--no-errors")


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _strict(text: str) -> dict[str, Any]:
    def refuse(word: str) -> NoReturn:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "blocks.csv").open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


def _forget(folder: Path) -> None:
    """Undo the first unit, as if the work had been killed before it."""
    chunks = sorted(path for path in (folder / "flags" / "c").rglob("*") if path.is_file())
    chunks[0].unlink()


@pytest.fixture(scope="module")
def mapped(tiff: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight blocks by the command line, for several tests."""
    out = tmp_path_factory.mktemp("maps") / "deep" / "rock.zarr"
    words = ["map", str(tiff), *OPTIONS, "--spacing", "0.5", "--unit", "um", "--out", str(out)]
    assert main([*words, "--quiet"]) == 0
    return out


@pytest.fixture
def again(mapped: Path, tiff: Path, run: Run, here: Path) -> Callable[..., Any]:
    """The same command on a copy of these maps, in `rock.zarr`."""
    shutil.copytree(mapped, here / "rock.zarr")
    words = ("map", tiff, *OPTIONS, "--spacing", "0.5", "--unit", "um", "--out", "rock.zarr")
    return lambda *more: run(*words, *more)


def test_maps_leave_a_group_a_table_and_a_report(mapped: Path):
    assert _names(mapped.parent) == {"rock.zarr"}
    maps = open_maps(mapped)
    assert maps.complete
    assert _names(mapped) - {"blocks.parquet", "flags.png"} == {
        *maps.columns,
        *(BESIDE - {"flags.png"}),
        "zarr.json",
    }
    assert "2 phases" in (mapped / "maps.html").read_text("utf-8")
    rows = _rows(mapped)
    assert [(row["z"], row["y"], row["x"]) for row in rows[:3]] == [
        ("0", "0", "0"),
        ("0", "0", "24"),
        ("0", "24", "0"),
    ]
    shares = [float(row["volume_fraction_0"]) for row in rows]
    np.testing.assert_allclose(shares, maps["volume_fraction_0"].ravel(), rtol=1e-6)
    assert np.mean(shares) == pytest.approx(0.4, abs=0.03)


def test_the_report_reads_well_in_a_browser(mapped: Path, look_at: Callable[..., None]):
    look_at(mapped / "maps.html")


def test_map_json_tells_all_that_the_table_needs(mapped: Path):
    told = _strict((mapped / "map.json").read_text("utf-8"))
    assert told["options"]["block"] == [24, 24, 24]
    assert told["blocks"]["shape"] == [2, 2, 2]
    assert told["blocks"]["voxels_in_no_block"] == 0
    assert told["units"] == {"length": "um"}
    assert set(told["columns"]) == set(_rows(mapped)[0])
    assert told["columns"]["interface_area_0-1"]["unit"] == "1/um"
    assert told["flags"]["PHASE_ABSENT"]["code"] == int(Flag.PHASE_ABSENT)
    assert told["flags"]["POOR_FIT"]["usable"] is False
    assert told["summary"]["blocks"] == 8
    assert set(told["summary"]["flags"]) == {flag.name for flag in Flag}
    share = told["summary"]["quantities"]["volume_fraction_0"]["mean"]
    whole = told["global_fit"]["properties"]["volume_fractions"][0]
    assert share == pytest.approx(whole, abs=0.02)
    assert told["seconds"]["blocks"] > 0
    assert told["fits_per_second"] == pytest.approx(8 / told["seconds"]["blocks"])


def test_nothing_left_to_do_rewrites_table_and_report(again: Run, here: Path):
    out = here / "rock.zarr"
    before = {name: (out / name).read_bytes() for name in ("blocks.csv", "zarr.json")}
    seconds = _strict((out / "map.json").read_text("utf-8"))["seconds"]
    for name in ("blocks.csv", "map.json", "maps.html"):
        (out / name).unlink()
    ended = again()
    assert (ended.status, ended.error) == (0, "")
    assert {name: (out / name).read_bytes() for name in before} == before
    assert _strict((out / "map.json").read_text("utf-8"))["seconds"] == seconds
    assert (out / "maps.html").is_file()
    for told in ("2 x 2 x 2 blocks of 24 x 24 x 24 voxels", "Share of phase 0", "fits per second"):
        assert told in ended.out
    assert ended.out.splitlines()[-1] == "Written: rock.zarr/maps.html"


def test_the_same_command_goes_on(again: Run, here: Path):
    out = here / "rock.zarr"
    table = (out / "blocks.csv").read_bytes()
    _forget(out)
    assert not open_maps(out).complete
    ended = again("--json", "--no-pictures")
    assert (ended.status, ended.error) == (0, "")
    assert open_maps(out).complete
    assert (out / "blocks.csv").read_bytes() == table
    told = _strict(ended.out)
    assert told == _strict((out / "map.json").read_text("utf-8"))
    assert told["summary"]["pending"] == 0
    assert told["fits_per_second"] == pytest.approx(16 / told["seconds"]["blocks"])


def test_other_options_do_not_mix_into_old_maps(again: Run, here: Path):
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    ended = again("--stride", "12")
    assert ended.status == 2
    assert ended.error.startswith("bimmjax: error: out: got ")
    assert "made with stride=24; wants stride=12 or a new folder" in ended.error
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == before


def test_overwrite_begins_anew(again: Run, here: Path):
    ended = again("--free", "weights", "--overwrite", "--quiet")
    assert tuple(ended) == (0, "", "")
    assert _names(here) == {"rock.zarr"}
    told = _strict((here / "rock.zarr" / "map.json").read_text("utf-8"))
    assert told["options"]["free"] == "weights"
    assert np.ptp(open_maps(here / "rock.zarr")["blur_std"]) == 0


def test_what_is_not_ours_is_never_overwritten(tiff: Path, run: Run, again: Run, here: Path):
    (here / "rock.zarr" / "chapter.tex").write_text("years of work")
    ended = again("--overwrite")
    assert ended.status == 2
    assert "holds chapter.tex" in ended.error
    thesis = here / "thesis"
    thesis.mkdir()
    (thesis / "chapter.tex").write_text("years of work")
    ended = run("map", tiff, *OPTIONS, "--out", "thesis", "--overwrite")
    assert ended.status == 2
    assert "is not a map set" in ended.error
    assert _names(thesis) == {"chapter.tex"}


def test_a_series_has_times(
    tiff: Path, grey: np.ndarray, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    tifffile.imwrite(here / "later.tif", grey[::-1].copy())
    words = ("--times", 0, 1.5, *OPTIONS, "--no-pictures")
    ended = run("map", tiff, "later.tif", *words)
    assert (ended.status, ended.error) == (0, "")
    assert "2 volumes, each 2 x 2 x 2 blocks" in ended.out
    assert "at 1.5" in ended.out
    out = here / "rock-maps.zarr"
    assert [row["time"] for row in _rows(out)] == ["0"] * 8 + ["1.5"] * 8
    told = _strict((out / "map.json").read_text("utf-8"))
    assert [part["time"] for part in told["summary"]["by_time"]] == [0, 1.5]
    assert len(told["global_fit"]) == 2
    assert "time" in told["columns"]
    assert not (out / "maps.html").exists()
    share = open_maps(out)["volume_fraction_0"]
    np.testing.assert_allclose(share[0], share[1, ::-1], atol=0.01)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nope.tif",), "volume: got nope.tif, which does not exist; wants a file or a folder"),
        (("V", "--phases", "1"), "phases: got 1, wants a whole number from 2 to 8"),
        (("V", "--block", "49"), "block: got 49, wants at most the volume's shape (48, 48, 48)"),
        (("V", "--block", "0"), "block: got '0', wants one whole number above 0 or three (z y x)"),
        (
            ("V", "--block", "8", "8"),
            "block: got '8 8', wants one whole number above 0 or three (z y x)",
        ),
        (
            ("V", "--stride", "0"),
            "stride: got '0', wants one whole number above 0 or three (z y x)",
        ),
        (
            ("V", "--block", "24", "--stride", "7"),
            "stride: got 7 with blocks of 24, wants a common divisor of at least 4 (half the "
            "block, say)",
        ),
        (
            ("V", "--free", "blur"),
            "free: got 'blur', wants one of weights, weights,blur,noise, all",
        ),
        (("V", "--noise", "x"), "noise: got 'x', wants one of shared, per_phase"),
        (("V", "--gradient", "x"), "gradient: got 'x', wants one of central_difference, plain"),
        (("V", "--interface", "x"), "interface: got 'x', wants one of curved, flat"),
        (("V", "--seed", "-1"), "seed: got -1, wants a whole number from 0 to 2147483647"),
        (("V", "--times", "x"), "times: got 'x', wants one number for each volume"),
        (
            ("V", "V", "--block", "24", "--times", "1", "2", "3"),
            "times: got 3 times, wants one for each of 2",
        ),
        (
            ("V", "V", "--block", "24", "--times", "2", "1"),
            "times: got [2.0, 1.0], wants them ascending",
        ),
        (("V", "--mask", "m.npy"), "mask: got shape (8, 9, 10), wants the volume's (48, 48, 48)"),
        (("V", "--mask", "no"), "mask: got no, which does not exist; wants a file or a folder"),
        (
            ("V", "--out", "V", "--block", "24"),
            "out: got V, which is a file; wants a folder to make",
        ),
        (("V", "--devices", "0"), "devices: got 0, wants a whole number from 1 to 1024"),
        (
            ("V", "--process", "1"),
            "coordinator: got none, wants --coordinator HOST:PORT, --processes N and --process I "
            "(or --distributed)",
        ),
        (
            ("V", "--coordinator", "localhost:9", "--processes", "2"),
            "process: got none, wants --coordinator HOST:PORT, --processes N and --process I "
            "(or --distributed)",
        ),
    ],
)
def test_bad_input_is_told_in_one_line(
    words: tuple[str, ...], line: str, tiff: Path, run: Run, here: Path
):
    np.save(here / "m.npy", np.ones((8, 9, 10), np.uint8))
    ended = run("map", *(str(tiff) if word == "V" else word for word in words))
    assert ended.status == 2
    assert ended.error == f"bimmjax: error: {line}\n".replace("got V,", f"got {tiff},")
    assert ended.out == ""
    assert _names(here) == {"m.npy"}


def test_unsuitable_volumes_leave_nothing(run: Run, here: Path):
    np.save(here / "constant.npy", np.ones((24, 24, 24), np.uint8))
    ended = run("map", "constant.npy", "--block", "12", "--out", "a/b")
    assert ended.status == 2
    assert ended.error.startswith("bimmjax: error: volume: got ")
    assert ended.error.count("\n") == 1
    assert _names(here) == {"constant.npy"}


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ZeroDivisionError("a bug"), 1, "error: internal error, ZeroDivisionError: a bug (--debug"),
        (KeyboardInterrupt(), 130, "interrupted; what was done is kept, the same command goes on"),
        (OSError(28, "No space left"), 2, "error: out: got rock.zarr, which cannot be written (No"),
    ],
)
def test_a_failure_at_the_end_keeps_the_maps(
    error: BaseException,
    status: int,
    line: str,
    again: Run,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    monkeypatch.setattr("bimmjax.report.write_maps_report", fail)
    ended = again()
    assert ended.status == status
    assert ended.error.startswith(f"bimmjax: {line}")
    assert ended.error.count("\n") == 1
    assert ended.out == ""
    assert open_maps(here / "rock.zarr").complete


def test_the_end_that_a_queue_sends_counts_as_ctrl_c():
    from bimmjax.cli._interrupted import heeding_ctrl_c

    with pytest.raises(KeyboardInterrupt), heeding_ctrl_c():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_interrupted_with_overwrite(tiff: Path, run: Run, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "map_fits", fail)
    ended = run("map", tiff, "--overwrite")
    assert ended.status == 130
    assert "the same command without --overwrite goes on\n" in ended.error


@pytest.fixture
def usual_ctrl_c() -> Iterator[None]:
    """Python's own handler; in the background of a shell there is none."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_ctrl_c")
def test_ctrl_c_that_python_drops_is_heeded():
    with heeding_ctrl_c() as check:
        check()
        with contextlib.suppress(KeyboardInterrupt):  # as in a callback of the garbage collector
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("index", [0, 1])
def test_of_several_processes_the_leader_writes(
    index: int, again: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    joined: list[Any] = []

    def start_team(*told: object) -> _processes.Team:
        joined.append(told)
        team = _processes.Team()
        team.index, team.size = index, 2
        return team

    def map_fits(volume: Any, *, out: str, **_: Any) -> Any:
        return open_maps(out)

    monkeypatch.setattr(_processes, "start_team", start_team)
    monkeypatch.setattr(package, "map_fits", map_fits)
    (here / "rock.zarr" / "blocks.csv").unlink()
    told = ("--coordinator", "localhost:1", "--processes", 2, "--process", index)
    ended = again(*told, "--no-pictures")
    assert (ended.status, ended.error) == (0, "")
    assert joined == [("localhost:1", 2, index)]
    assert bool(ended.out) == (here / "rock.zarr" / "blocks.csv").exists() == (index == 0)


def test_each_core_is_a_device():
    code = (
        "from bimmjax.cli._devices import cores, use_cores; use_cores(); import jax;"
        "assert jax.device_count() == cores(), jax.devices(); use_cores(); use_cores(cores())"
    )
    free = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=free, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_devices_that_the_user_gave_to_xla_are_kept(monkeypatch: pytest.MonkeyPatch):
    import jax

    count = jax.local_device_count("cpu")
    monkeypatch.setattr(jax.config, "update", lambda *_: pytest.fail("changed"))
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
    _devices.use_cores()
    monkeypatch.undo()
    with pytest.raises(InputError, match=f"devices: got {count + 1}, wants {count}: JAX has begun"):
        _devices.use_cores(count + 1)


def test_voxels_in_no_block():
    windows = Windows((70, 64, 64), (32, 32, 32), (40, 32, 32))
    assert windows.shape == (1, 2, 2)
    assert left_over(windows) == 38 * 64 * 64
    apart = Windows((40, 40, 40), (8, 8, 8), (16, 16, 16))
    assert left_over(apart) == 40**3 - (3 * 8) ** 3


@pytest.mark.parametrize(
    ("shape", "block", "words"),
    [
        ((160, 144, 144), 64, "36.8 % {} --block 53 72 72 leaves out 0.6 %."),
        ((96, 100, 100), 64, "72.7 % {} --block 48 50 50 leaves out none."),
        ((100, 96, 96), 32, "4.0 % {}"),
        ((15, 15, 15), 8, "84.8 % {} --block 15 15 15 leaves out none."),
    ],
)
def test_a_block_that_fits_is_named(shape: tuple[int, int, int], block: int, words: str):
    told = _map_table._in_no_block(View(_empty_maps(Windows(shape, (block,) * 3, (block,) * 3))))
    assert told == words.format("of the voxels belong to no block: they lie beyond the last.")


def _empty_maps(windows: Windows) -> Maps:
    columns = all_columns(2, "shared")
    return Maps(
        MapStore.create(
            None, windows, columns=columns, times=None, spacing=(1.0,) * 3, unit="voxel",
            identity={}, attributes={},
        )
    )  # fmt: skip


def test_a_bar_tells_count_speed_and_time_left():
    from io import StringIO

    from rich.console import Console
    from rich.progress import Progress as Display

    from bimmjax.cli._progress import Progress
    from bimmjax.cli._rate import RateColumn

    now = [0.0]
    console = Console(file=StringIO(), width=120, force_terminal=True)
    display = Display(RateColumn(), console=console, auto_refresh=False, get_time=lambda: now[0])
    bars = Progress(display)
    bars.stage("Fitting the whole")
    bars.update("Fitting blocks", 400, 4000, "fits")
    for done in (500, 600, 700):
        now[0] += 1.0
        bars.update("Fitting blocks", done, 4000, "fits")
    first, second = display.tasks
    column = RateColumn()
    assert str(column.render(first)) == ""
    assert str(column.render(second)) == "700/4,000 · 100 fits/s · 0:33 left"
    bars.finish()
    assert all(task.finished for task in display.tasks)


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch):
    from bimmjax.cli import _progress

    now = [0.0]
    monkeypatch.setattr(_progress.time, "monotonic", lambda: now[0])
    said: list[str] = []
    lines = _progress.Progress(_progress.Lines(said.append))
    lines.stage("Fitting the whole")
    lines.update("Fitting blocks", 400, 4000, "fits")
    for done in (500, 600, 700):
        now[0] += 20.0
        lines.update("Fitting blocks", done, 4000, "fits")
    lines.finish()
    assert said == ["Fitting blocks: 600 of 4,000, 5 fits per second, 0:11:20 left"]


def test_the_correction_is_told(tiff: Path, run: Run, here: Path):
    ended = run("map", tiff, "--block", "23", "--no-errors", "--no-pictures", "--out", "told.zarr")
    assert ended.status == 0
    found = json.loads((here / "told.zarr" / "map.json").read_text("utf-8"))
    factor = found["correction"]["factors"]["interface_area_0-1"]
    assert f"the whole: area 0-1 × {factor:.3f}." in ended.out
    ended = run("map", tiff, "--block", "23", "--no-errors", "--no-pictures", "--out", "o.zarr",
                "--no-correct")  # fmt: skip
    assert "bias of the whole" not in ended.out
