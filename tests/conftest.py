"""What every test shares: eight faked devices, one compilation cache, the real volumes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

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
NUMERICS = frozenset({"core", "models", "fitting", "properties"})

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
def _programs_are_forgotten_before_they_are_too_many() -> Iterator[None]:
    import jax

    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_text().count("\n") > _MAPPINGS:
        jax.clear_caches()
