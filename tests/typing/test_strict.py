"""The types of the public interface: all known, and of use to whoever checks strictly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bimmjax

_BIN = Path(sys.executable).parent
_ROOT = Path(bimmjax.__file__).parents[1]
_PYRIGHT = _BIN / "pyright"

pytestmark = pytest.mark.skipif(not _PYRIGHT.exists(), reason="pyright is not beside python")


def _pyright(folder: Path, *arguments: str) -> dict[str, Any]:
    # `--verifytypes` finds other packages by the `python` of the path, and by nothing else.
    path = os.pathsep.join([str(_BIN), os.environ.get("PATH", "")])
    run = subprocess.run(
        [_PYRIGHT, "--outputjson", *arguments],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.startswith("{"), run.stdout + run.stderr
    return json.loads(run.stdout)


def _errors(folder: Path, source: str) -> list[str]:
    script = folder / "user.py"
    script.write_text(source, "utf-8")
    told = _pyright(folder, "--pythonpath", sys.executable, str(script))
    return [
        f"{one['range']['start']['line'] + 1}: {one['message']}"
        for one in told["generalDiagnostics"]
    ]


def test_strict_users_see_no_errors(tmp_path: Path) -> None:
    source = Path(__file__).with_name("strict_user.py").read_text("utf-8")
    assert _errors(tmp_path, source) == []


def test_wrong_calls_are_errors(tmp_path: Path) -> None:
    # Were the package not found, or its names of unknown type, nothing could be wrong.
    source = (
        "import bimmjax\n"
        "bimmjax.fit('a.tif', phases='many')\n"
        "bimmjax.open_maps('a.zarr').porosity\n"
    )
    assert [line.partition(":")[0] for line in _errors(tmp_path, source)] == ["2", "3"]


def test_all_public_types_are_known(tmp_path: Path) -> None:
    told = _pyright(tmp_path, "--verifytypes", "bimmjax", "--ignoreexternal")["typeCompleteness"]
    unknown = [
        symbol["name"]
        for symbol in told["symbols"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ]
    assert unknown == []
    assert told["completenessScore"] == 1.0
    # So many are exported; fewer would mean that a part was not looked at.
    assert told["exportedSymbolCounts"]["withKnownType"] > 350
