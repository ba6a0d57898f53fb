"""What every test shares: eight faked devices, one compilation cache, the real volumes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# These must stand before JAX is imported. They are environment variables, so that the commands
# which some tests start as processes of their own inherit them.
if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = (
        os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    ).strip()
# The CPU is where the tests' answers are the same everywhere; JAX_PLATFORMS=cuda tries another.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

# Folders with tests of numbers rather than of files and commands; any other test, or file of tests,
# asks for it by the marker.
NUMERICS = frozenset({"core", "models", "properties"})

# Folders and files whose programs run for longer than they take to be compiled; what runs with x64
# is compiled as users have it.
OPTIMISED = frozenset({"docs", "fitting", "test_mrf.py"})

# Linux gives a process so many mappings (65530 by default); each compiled program takes some, and
# a process that has none left dies in the compiler.
_MAPPINGS = 30_000


def pytest_configure() -> None:
    """Compile as the command line does, which takes less time."""
    from bimmjax.cli._compiler import compile_sooner

    compile_sooner()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the numerics, which run once more with x64."""
    for item in items:
        if not item.path.is_relative_to(ROOT / "tests"):
            continue
        if item.path.relative_to(ROOT / "tests").parts[0] in NUMERICS:
            item.add_marker(pytest.mark.numerics)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real volumes that stands beside some checkouts."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real volumes are not here ({folder} does not exist)")
    return folder


@pytest.fixture(autouse=True, scope="module")
def _little_is_optimised(request: pytest.FixtureRequest) -> None:
    """Programs of most tests run for less time than it takes to optimise them."""
    import jax

    little = OPTIMISED.isdisjoint(request.path.parts) and not jax.config.read("jax_enable_x64")
    if little != jax.config.read("jax_disable_most_optimizations"):
        jax.config.update("jax_disable_most_optimizations", little)
        # What is compiled already would go on being used: files would depend on their order.
        jax.clear_caches()
    # For the commands that run as processes of their own.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(int(little))


@pytest.fixture(autouse=True, scope="module")
def _programs_are_forgotten_before_they_are_too_many() -> Iterator[None]:
    import jax

    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > _MAPPINGS:
        jax.clear_caches()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The system's Chromium, without a window; a person may lack one, CI may not."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        told = f"no browser is here (none of {', '.join(names)})"
        pytest.fail(told) if "CI" in os.environ else pytest.skip(told)
    with sync_playwright() as player:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        opened = player.chromium.launch(executable_path=found, args=quiet)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def look_at(browser: Any) -> Callable[..., None]:
    """`look_at(address)`: open a page on a telephone and on a desk, in daylight and at night.

    Nothing may be complained of, nothing be loaded from elsewhere, nothing stick out at the side,
    and every word be legible. `BIMMJAX_SCREENSHOTS` names a folder for what was seen.
    """

    def look(address: Path | str, *, kept_with: str = "file:") -> None:
        address = address.as_uri() if isinstance(address, Path) else address
        for width in (400, 1600):
            for scheme in ("light", "dark"):
                page = browser.new_page(
                    viewport={"width": width, "height": 900}, color_scheme=scheme
                )
                said: list[str] = []
                asked: list[str] = []
                page.on("console", lambda m, said=said: said.append(f"{m.type}: {m.text}"))
                page.on("pageerror", lambda e, said=said: said.append(str(e)))
                page.on("request", lambda r, asked=asked: asked.append(r.url))
                page.goto(address, wait_until="load")
                page.wait_for_timeout(200)
                folder = os.environ.get("BIMMJAX_SCREENSHOTS")
                if folder:
                    name = address.partition("://")[2].replace("/", "-")[-60:]
                    where = Path(folder) / f"{name}-{width}-{scheme}.png"
                    page.screenshot(path=where, full_page=True)
                faults = page.evaluate((ROOT / "tests" / "faults.js").read_text())
                page.close()
                assert not said, said
                elsewhere = [url for url in asked if not url.startswith((kept_with, "data:"))]
                assert not elsewhere, elsewhere
                assert not faults, f"at {width} px, {scheme}: {faults}"

    return look
