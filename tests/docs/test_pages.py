"""The pages that a user follows from top to bottom, followed.

Blocks of `sh` and `python` run in their order in a folder of their own; names that one block of
Python makes are there in the next. A comment right above a block tells what is done otherwise here:

    <!-- not run: it wants a Slurm cluster -->
    <!-- run with: `--epochs 40` as `--epochs 1` -->
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from markdown_it import MarkdownIt

from bimmjax.cli import main

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = [DOCS / "index.md", *sorted((DOCS / "tutorials").glob("*.md")), DOCS / "from-torch.md"]
# A call of bimmjax with nothing that only a shell understands.
_PLAIN = re.compile(r"bimmjax [^|&;<>$`*?]*")
_OTHERWISE = re.compile(r"`([^`]+)` as `([^`]*)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_all_that_a_page_tells_to_do_works(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for language, code in _steps(page.read_text()):
        if language == "sh":
            _shell(code)
        else:
            exec(compile(code, str(page), "exec"), names)
    plt.close("all")


def _shell(code: str) -> None:
    """Run commands as a terminal would; those of bimmjax alone in this process, which is faster."""
    lines = [line for line in code.replace("\\\n", " ").splitlines() if line.strip()]
    if all(_PLAIN.fullmatch(line) for line in lines):
        for line in lines:
            assert main(shlex.split(line, comments=True)[1:]) == 0, line
        return
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env={**os.environ, "PATH": path, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def _steps(text: str) -> list[tuple[str, str]]:
    """Language and code of each block that is to run."""
    steps = []
    said = ""
    for token in MarkdownIt().parse(text):
        if token.type == "html_block":
            said = token.content
        elif token.type == "fence":
            language = token.info.split()[0] if token.info else ""
            if language in ("sh", "python") and "<!-- not run:" not in said:
                steps.append((language, _as_here(token.content, said)))
            said = ""
        elif token.type != "inline":
            said = said if token.type.endswith("_close") else ""
    return steps


def _as_here(code: str, said: str) -> str:
    if "<!-- run with:" not in said:
        return code
    for there, here in _OTHERWISE.findall(said):
        assert there in code, f"{there!r} is not in\n{code}"
        code = code.replace(there, here)
    return code


def test_a_step_is_changed_only_by_the_comment_above_it():
    page = """
<!-- run with: `9` as `1` -->
```sh
echo 9
```
<!-- not run: no cluster here -->
```sh
sbatch
```
Words.
```python
a = 9
```
```text
9
```
"""
    assert _steps(page) == [("sh", "echo 1\n"), ("python", "a = 9\n")]
