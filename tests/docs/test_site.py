"""The site, built as for readers and looked at as they would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOOKED_AT = [
    "index.html",
    "choose.html",
    "theory.html",
    "formats.html",
    "messages.html",
    "tutorials/fit.html",
    "guides/networks.html",
    "reference/models.html",
    "reference/commands.html",
]


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; a warning of the build is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    """Where it is served, on this machine only."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("page", LOOKED_AT)
def test_pages_read_well_in_a_browser(page: str, address: str, look_at: Callable[..., None]):
    look_at(f"{address}/{page}", kept_with=address)


def test_words_are_found(address: str, browser: Any):
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{address}/index.html")
    asked = page.get_by_role("textbox", name="Search")
    asked.click()
    asked.press_sequentially("bimm2d")
    page.wait_for_selector(".md-search-result__link", timeout=30_000)
    found = page.locator(".md-search-result__link").evaluate_all("all => all.map(a => a.href)")
    page.close()
    assert any("reference/models.html" in link for link in found)


def test_nothing_is_loaded_from_elsewhere_and_every_formula_is_drawn(site: Path):
    loads = re.compile(r'<(?:script|img|iframe|source)[^>]*src="(?:https?:)?//')
    styles = re.compile(r'<link[^>]*rel="stylesheet"[^>]*href="(?:https?:)?//')
    for path in site.rglob("*.html"):
        text = path.read_text("utf-8")
        assert not loads.search(text), path
        assert not styles.search(text), path
        assert 'class="arithmatex"' not in text, path
    assert "<math" in (site / "theory.html").read_text("utf-8")


def test_every_public_name_is_in_the_reference(site: Path):
    import bimmjax

    for name in bimmjax.__all__:
        if isinstance(getattr(bimmjax, name), type(bimmjax)):
            assert (site / "reference" / f"{name}.html").is_file(), name
    page = (site / "reference" / "bimmjax.html").read_text("utf-8")
    for name in bimmjax.__all__:
        if isinstance(getattr(bimmjax, name), type(bimmjax)) or name.startswith("__"):
            continue
        assert f'id="bimmjax.{name}"' in page, name
