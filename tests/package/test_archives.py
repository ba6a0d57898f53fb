"""Wheel and sdist as they would be published: what they hold, what they weigh, what they say."""

from __future__ import annotations

import configparser
import email.message
import email.parser
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import bimmjax

ROOT = Path(__file__).parents[2]
LARGEST = 5_000_000  # bytes
VERSION = bimmjax.__version__


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both, built here without network."""
    folder = tmp_path_factory.mktemp("dist")
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist"]
    subprocess.run([*words, "-d", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    return built / f"bimmjax-{VERSION}-py3-none-any.whl"


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    return built / f"bimmjax-{VERSION}.tar.gz"


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    text = zipfile.ZipFile(wheel).read(f"bimmjax-{VERSION}.dist-info/METADATA").decode()
    return email.parser.Parser().parsestr(text)


def test_names_and_sizes(built: Path, wheel: Path, sdist: Path) -> None:
    assert {path for path in built.iterdir() if path.name != ".gitignore"} == {wheel, sdist}
    assert wheel.stat().st_size <= LARGEST
    assert sdist.stat().st_size <= LARGEST


def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    info = f"bimmjax-{VERSION}.dist-info"
    wanted = {str(path.relative_to(ROOT)) for path in package_files()}
    extra = {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"}
    assert held == wanted | {f"{info}/{name}" for name in extra}
    # So that the comparison cannot pass because both lack them.
    assert {"bimmjax/py.typed", "bimmjax/report/style.css"} <= held
    assert sum(name.endswith(".safetensors") for name in held) == 2
    assert "bimmjax/sim/_shine/shine_through.json" in held


def test_sdist_holds_what_tests_and_docs_need(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    top = f"bimmjax-{VERSION}/"
    held = {member.name.removeprefix(top) for member in members}
    assert all(member.isfile() and member.name.startswith(top) for member in members)
    folders = {name.partition("/")[0] for name in held if "/" in name}
    assert folders == {"bimmjax", "tests", "docs", "benchmarks"}
    for name in ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "mkdocs.yml"):
        assert name in held
    for folder in ("tests", "docs"):
        wanted = {
            str(path.relative_to(ROOT))
            for suffix in ("py", "md", "png")
            for path in (ROOT / folder).rglob(f"*.{suffix}")
        }
        assert wanted <= held
    assert {str(path.relative_to(ROOT)) for path in package_files()} <= held
    assert not any("__pycache__" in name or name.endswith(".pyc") for name in held)


def test_one_version_everywhere(metadata: email.message.Message) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", changes, re.MULTILINE)
    assert newest is not None
    assert metadata["Version"] == VERSION == citation["version"] == newest[1]
    assert citation["date-released"] == newest[2]


def test_what_the_metadata_say(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "bimmjax"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    assert {"codecs", "nrrd", "parquet"} <= set(metadata.get_all("Provides-Extra", []))


def test_entry_point_is_the_command_line(wheel: Path) -> None:
    text = zipfile.ZipFile(wheel).read(f"bimmjax-{VERSION}.dist-info/entry_points.txt").decode()
    parser = configparser.ConfigParser()
    parser.read_string(text)
    assert dict(parser["console_scripts"]) == {"bimmjax": "bimmjax.cli:main"}


def package_files() -> list[Path]:
    """All that stands in the package's folder, byte code aside."""
    return [
        path
        for path in (ROOT / "bimmjax").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
