"""Importing the package costs next to nothing and shows its whole face."""

from __future__ import annotations

import subprocess
import sys

import pytest

import bimmjax

HEAVY = (
    "jax",
    "flax",
    "scipy",
    "matplotlib",
    "tensorstore",
    "tifffile",
    "h5py",
    "skimage",
    "torch",
)


def test_import_loads_nothing_heavy() -> None:
    code = f"import sys, bimmjax; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == "[]"


def test_a_fit_and_its_report_do_without_networks() -> None:
    unwanted = ("flax", "optax", "orbax", "sklearn", "skimage")
    code = (
        "import sys, bimmjax.fitting, bimmjax.maps, bimmjax.plot, bimmjax.report; "
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.strip() == "[]"


@pytest.mark.parametrize("name", bimmjax.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(bimmjax, name) is not None
    assert name in dir(bimmjax)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bimmjax.nothing  # noqa: B018


def test_eight_devices_are_faked() -> None:
    import jax

    if jax.default_backend() != "cpu":
        pytest.skip("JAX_PLATFORMS chose real devices")
    assert jax.device_count() == 8
