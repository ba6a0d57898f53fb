"""The built wheel in empty environments: oldest and newest versions, first example, demo."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from benchmarks._process import run_child
from benchmarks._report import Table, say
from bimmjax.cli._demo_volume import simulated

_ROOT = Path(__file__).parents[1]
_MINORS = range(11, 20)  # of Python 3, looked for on the path
_EXAMPLE = 'import bimmjax\nfit = bimmjax.fit(bimmjax.open_volume("scan.tif"), phases=2)\n'
_LIMIT = 180.0
_TOLD = ("jax", "numpy", "flax")
_ASK = (
    "import importlib.metadata as m, json; "
    f"print(json.dumps({{p: m.version(p) for p in {_TOLD!r}}}))"
)


def run(quick: bool, out: Path, pythons: Sequence[str] | None = None) -> dict[str, Any]:
    """Each Python with the newest versions, the oldest also with the lowest that are allowed."""
    found = _pythons(pythons or [f"python3.{k}" for k in _MINORS])
    if not found:
        raise RuntimeError("no Python of 3.11 or newer found; name some with --python")
    cases = [(found[0], "oldest")]
    cases += [] if quick else [(each, "newest") for each in found]
    rows = []
    with tempfile.TemporaryDirectory(prefix="bimmjax-install-") as name:
        folder = Path(name)
        words = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run([sys.executable, *words], cwd=_ROOT, check=True, capture_output=True)
        wheel = next(folder.glob("*.whl"))
        volume = simulated()
        scan = np.asarray(volume)
        for number, ((version, path), age) in enumerate(cases):
            say(f"Python {version}, {age} versions ...")
            place = folder / str(number)
            place.mkdir()
            tifffile.imwrite(place / "scan.tif", scan)
            rows.append(_case(place, path, version, wheel, age))
            say("  " + ", ".join(str(cell) for cell in rows[-1]))
            shutil.rmtree(place)
        size = wheel.stat().st_size / 1e6
    return {
        "tables": [
            Table(
                f"`{wheel.name}` ({size:.2f} MB) in empty environments, seconds",
                [
                    *("Python", "versions", *_TOLD),
                    *("venv", "download", "install", "import", "example", "sum", "demo"),
                ],
                rows,
            )
        ],
        "notes": [
            "oldest: every dependency at the lower bound in pyproject.toml; newest: what pip picks",
            "download: `pip download --no-cache-dir` of the wheel's dependencies; install: `pip "
            "install` of the wheel from them; both together are what `pip install` does at once",
            "import: the first `import bimmjax` of the environment; example: open, fit 128 cubed "
            "voxels, in a new process, nothing compiled before; sum: venv to example",
            f"wanted: sum below {_LIMIT:.0f} s, most of it download",
            "demo: `bimmjax demo`, its volume fetched through pip",
        ],
    }


def lower_bounds(pyproject: Path = _ROOT / "pyproject.toml") -> list[str]:
    """The run-time dependencies, each held at the lowest version that is allowed."""
    wanted = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    held = [each.replace(">=", "==") for each in wanted]
    return held + [each.replace("jax==", "jaxlib==") for each in held if each.startswith("jax==")]


def _case(place: Path, python: str, version: str, wheel: Path, age: str) -> list[Any]:
    bounds = place / "constraints.txt"
    bounds.write_text("\n".join(lower_bounds() if age == "oldest" else []) + "\n")
    ours = str(place / "venv" / "bin" / "python")
    pip = [ours, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", "--quiet"]
    kept = ["--constraint", str(bounds), str(wheel)]
    got = str(place / "wheels")
    seconds = [
        run_child(words).seconds
        for words in (
            [python, "-m", "venv", str(place / "venv")],
            [*pip, "download", "--only-binary", ":all:", "--dest", got, *kept],
            [*pip, "install", "--no-index", "--find-links", got, *kept],
        )
    ]
    # In the case's own folder, so that neither the checkout nor its volumes are found.
    inside = ["env", "-C", str(place), "-u", "PYTHONPATH", "-u", "JAX_COMPILATION_CACHE_DIR"]
    inside += [f"BIMMJAX_CACHE={place / 'cache'}"]
    seconds.append(run_child([*inside, ours, "-c", "import bimmjax"]).seconds)
    seconds.append(run_child([*inside, ours, "-c", _EXAMPLE]).seconds)
    program = [*inside, str(place / "venv" / "bin" / "bimmjax")]
    last = run_child([*program, "demo", "--out", "demo"]).seconds
    # Not timed: help is drawn by typer and click, which do not go together in all versions.
    run_child([*program, "fit", "--help"])
    run_child([*inside, ours, "-c", "import bimmjax.nets"])
    said = json.loads(subprocess.check_output([ours, "-c", _ASK], text=True))
    return [version, age, *(said[each] for each in _TOLD), *seconds, sum(seconds), last]


def _pythons(names: Sequence[str]) -> list[tuple[str, str]]:
    """Version and path of those that run and are new enough, oldest first, one of each minor."""
    found: dict[tuple[int, ...], str] = {}
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        words = [path, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]
        said = subprocess.run(words, capture_output=True, text=True, check=False)
        if said.returncode == 0:
            version = tuple(int(part) for part in said.stdout.strip().split("."))
            if version >= (3, 11) and not any(known[:2] == version[:2] for known in found):
                found[version] = path
    return [(".".join(map(str, version)), found[version]) for version in sorted(found)]
