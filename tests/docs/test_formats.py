"""The keys of fits, descriptions and scores that docs/formats.md tells are those of the files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import sim
from bimmjax.cli._main import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
# Names of phases and of pairs, which are no keys.
_BY_NAME = re.compile(r"^\d+(-\d+)?$")


def _told(anchor: str) -> set[str]:
    """Keys in the first column of the tables under the heading with the anchor."""
    section = PAGE.read_text().split(f"{{ #{anchor} }}", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row)}


def _keys(values: dict[str, Any], before: str = "") -> set[str]:
    """Dotted names down to what is no group of names."""
    found = set()
    for name, value in values.items():
        numbered = bool(_BY_NAME.match(name))
        inner = before if numbered else f"{before}{name}."
        within = _keys(value, inner) if isinstance(value, dict) else set()
        found |= within or (set() if numbered else {before + name})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    made = sim.artificial_volume(
        jax.random.key(0), (64, 64, 64), blur_std=1.2, feature_length=14.0, with_area=False
    )
    np.save(folder / "scan.npy", np.asarray(made.image))
    np.save(folder / "labels.npy", (np.asarray(made.image) > 0.5).astype(np.uint8))
    return folder


def _run(*words: str) -> None:
    # What a shell would get.
    assert main(list(words)) == 0


@pytest.mark.parametrize("case", ["plain", "auto"])
def test_keys_of_fit_json(folder: Path, case: str):
    out = folder / f"fit-{case}"
    phases = ["--phases", "auto"] if case == "auto" else ["--phases", "2", "--two-scales"]
    _run("fit", str(folder / "scan.npy"), *phases, "--no-pictures", "--quiet", "--out", str(out))
    found = _keys(json.loads((out / "fit.json").read_text()))
    told = _told("fitjson")
    sometimes = {"bic"} | {key for key in told if key.startswith("two_scales.")}
    assert found - told == set()
    assert told - found <= sometimes
    if case == "plain":
        assert told - found == {"bic"}
    else:
        assert "bic" in {key.split(".")[0] for key in found}


def test_keys_of_describe_json(folder: Path):
    out = folder / "described"
    _run("describe", str(folder / "labels.npy"), "--quiet", "--out", str(out))
    assert _keys(json.loads((out / "describe.json").read_text())) == _told("describejson")


def test_keys_of_evaluate_json(folder: Path):
    labels, out = str(folder / "labels.npy"), folder / "evaluated"
    _run("evaluate", labels, labels, "--quiet", "--out", str(out))
    assert _keys(json.loads((out / "evaluate.json").read_text())) == _told("evaluatejson")
