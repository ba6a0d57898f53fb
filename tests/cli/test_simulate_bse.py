"""`bimmjax simulate bse`, `simulate calibrate`: images on disk, what is told, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from bimmjax import convert, open_volume, plot, sim
from bimmjax.cli import _simulate_followed
from bimmjax.cli._simulate_followed import key_of

Run = Callable[..., Any]
EVERYTHING = (slice(None),) * 3
PLAIN = ("--quiet", "--no-pictures")


@pytest.fixture
def labels(here: Path) -> np.ndarray:
    body = sim.gaussian_structure(jax.random.key(0), (16, 24, 24), (0.6, 0.4), 3.0)
    made = np.asarray(sim.structure_labels(body))
    convert(made, here / "body.zarr", spacing=2.0, unit="nm")
    (here / "body.zarr" / "simulate.json").write_text('{"kind": "body"}', "utf-8")
    return made


def _told(path: Path) -> dict[str, Any]:
    return json.loads((path / "simulate.json").read_text("utf-8"))


def _image(path: Path, name: str = "1kV") -> np.ndarray:
    return open_volume(path, dataset=name).read(*EVERYTHING)


def test_every_voltage_is_an_image(labels: np.ndarray, run: Run, here: Path):
    ended = run("simulate", "bse", "body.zarr", "--kv", "0.8", "1")
    assert (ended.status, ended.error) == (0, "")
    assert ended.out == "Written: body-bse.zarr (0.8kV, 1kV)\n"
    out = here / "body-bse.zarr"
    for energy, name in ((0.8, "0.8kV"), (1.0, "1kV")):
        volume = open_volume(out / name)
        assert (volume.dtype, volume.spacing, volume.unit) == (np.float32, (2.0,) * 3, "nm")
        wanted = sim.backscatter_images(labels, ["epoxy", "gold"], energy, spacing=2.0)
        np.testing.assert_allclose(_image(out, name), wanted, atol=1e-6)
    told = _told(out)
    assert told["settings"]["energies"] == [0.8, 1.0]
    assert [m["name"] for m in told["settings"]["materials"]] == ["epoxy", "gold"]
    assert told["truth"]["volume_fractions"] == pytest.approx([0.6, 0.4], abs=1e-3)
    assert told["truth"]["structure"] == {"kind": "body"}
    assert told["images"]["1kV"]["escape_depth"] == pytest.approx(
        sim.escape_depth(["epoxy", "gold"], 1.0)
    )
    assert (told["slices"], told["warnings"]) == (list(range(16)), [])
    assert (out / "simulate.png").stat().st_size > 10_000
    assert {path.name for path in here.iterdir()} == {"body.zarr", "body-bse.zarr"}
    again = run("simulate", "bse", "body.zarr", "--kv", "1", *PLAIN)
    assert (again.status, again.error.count("\n")) == (2, 1)
    assert "out: got body-bse.zarr, which exists" in again.error
    assert run("simulate", "bse", "body.zarr", "--kv", "1", "--overwrite", *PLAIN).status == 0
    assert open_volume(out).shape == (16, 24, 24)  # the only image


def test_a_shallow_volume_is_told_in_one_line(labels: np.ndarray, run: Run, here: Path):
    words = ("simulate", "bse", "body.zarr", "--method", "montecarlo", "--electrons", "1")
    ended = run(*words, "--kv", "1", "--slices", "12", *PLAIN)
    assert (ended.status, ended.error.count("\n")) == (0, 1)
    assert ended.error.startswith("Warning: body.zarr is 8 nm deep from its first image on, and")
    depth = sim.escape_depth(["epoxy", "gold"], 1.0)
    assert f"come back from {depth:.4g} nm" in ended.error
    assert len(_told(here / "body-bse.zarr")["warnings"]) == 1


def test_more_phases_and_empty_pores(labels: np.ndarray, run: Run, here: Path):
    three = labels.copy()
    three[:, 12:][three[:, 12:] == 1] = 2
    convert(three, here / "three.zarr", spacing=0.002, unit="um")
    words = ("simulate", "bse", "three.zarr", "--kv", "1", *PLAIN)
    ended = run(*words)
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert "materials: got 2 for three.zarr with labels up to 2, wants one for each" in ended.error
    used = ["vacuum", "gold", "Al2O3@3.95"]
    ended = run(*words, "--tilt", "10", "--materials", *used)
    assert ended.status == 0
    wanted = sim.backscatter_images(three, used, 1.0, spacing=2.0, tilt=10.0)
    np.testing.assert_allclose(_image(here / "three-bse.zarr"), wanted, atol=1e-6)


def test_montecarlo_slices_have_keys_of_their_own(labels: np.ndarray, run: Run, here: Path):
    words = ("simulate", "bse", "body.zarr", "--method", "montecarlo", "--kv", "1", *PLAIN)
    few = (*words, "--electrons", "8", "--seed", "2")
    assert run(*few, "--slices", "0", "10", "--out", "a.zarr").status == 0
    assert run(*few, "--every", "5", "--out", "b.zarr").status == 0
    some, more = _image(here / "a.zarr"), _image(here / "b.zarr")
    assert _told(here / "b.zarr")["slices"] == [0, 5, 10, 15]
    assert open_volume(here / "b.zarr").spacing == (10.0, 2.0, 2.0)
    np.testing.assert_array_equal(some, more[::2])
    seen = sim.monte_carlo(
        jax.random.fold_in(key_of(2, 1.0), 10), labels, ["epoxy", "gold"], 1.0, spacing=2.0,
        surface=10, electrons=8,
    )  # fmt: skip
    np.testing.assert_array_equal(some[1], seen.images[0])
    fates = _told(here / "a.zarr")["images"]["1kV"]["montecarlo"]
    assert fates["electrons"] == 2 * 24 * 24 * 8
    assert fates["electrons"] == fates["backscattered"] + fates["absorbed"] + fates["truncated"]


def test_pictures_tell_slices_and_scales(labels: np.ndarray):
    seen, image = open_volume(labels[::5]), open_volume(labels[::5] * np.float32(0.5))
    images = {"1 kV": image, "2 kV": image}
    drawn = plot.backscatter(seen, images, ("pore", "solid"), places=[0, 5, 10, 15])
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles[0] == "truth, z = 10"
    assert len(titles) == 5  # a slice of each, two bars
    (text,) = (t.get_text() for t in drawn.texts)
    assert text == "Grey: electrons seen per electron sent, on a scale for each voltage"


def test_all_slices_are_announced(
    labels: np.ndarray, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    def monte_carlo(key: jax.Array, slab: np.ndarray, *_: Any, **more: Any) -> sim.MonteCarlo:
        total = more["electrons"] * 24 * 24
        return sim.MonteCarlo(np.ones((1, 24, 24)), total, total, 0, 0, *(0.0,) * 5)

    monkeypatch.setattr(sim, "monte_carlo", monte_carlo)
    monkeypatch.setattr(_simulate_followed, "_LONG", 0.0)
    empty = labels.copy()
    empty[12:] = 0
    convert(empty, here / "empty.zarr", spacing=2.0, unit="nm")
    words = ("simulate", "bse", "empty.zarr", "--method", "montecarlo", "--kv", "1")
    ended = run(*words, "--electrons", "1", "--pore", "vacuum", *PLAIN)
    assert ended.status == 0
    assert "Warning: all 16 slices at 1 kV take about 1 minutes; --every and" in ended.error
    seen = _image(here / "empty-bse.zarr")
    assert (seen[:12].all(), seen[12:].any()) == (True, False)
    told = _told(here / "empty-bse.zarr")["images"]["1kV"]["montecarlo"]
    assert told["electrons"] == 12 * 24 * 24


def test_an_instrument_on_top(labels: np.ndarray, run: Run, here: Path):
    words = ("simulate", "bse", "body.zarr", "--kv", "0.8", "1", *PLAIN)
    ended = run(*words, "--dose-current", "20", "--dwell", "10", "--drift", "0", "0.5")
    assert ended.status == 0
    told = _told(here / "body-bse.zarr")
    settings = told["settings"]["instrument"]
    assert (settings["current_pa"], settings["dwell_us"], settings["drift_jitter"]) == (20, 10, 0.5)
    # What is not told is not added.
    assert (settings["curtain_strength"], settings["gaussian_variance"]) == (0.0, 0.0)
    one = told["images"]["1kV"]
    assert (np.shape(one["shifts"]), one["gains"]) == ((16, 2), [1.0] * 16)
    assert one["shifts"] != told["images"]["0.8kV"]["shifts"]
    clean = np.asarray(sim.backscatter_images(labels, ["epoxy", "gold"], 1.0, spacing=2.0))
    moved = np.asarray(sim.shift_slices(clean / one["white"], np.array(one["shifts"])))
    noise = _image(here / "body-bse.zarr") - moved
    # Variance of counting over the white level; a little is clipped.
    dose = sim.dose_electrons(20.0, 10.0)
    kept = moved < 0.9
    wanted = moved[kept] / dose / one["white"]
    assert noise[kept].var() == pytest.approx(wanted.mean(), rel=0.1)
    assert told["units"]["intensity"] == "0 to 1"


def test_a_calibration_of_ones_own(
    labels: np.ndarray, run: Run, here: Path, monkeypatch: pytest.MonkeyPatch
):
    model = sim.ShineThrough(*(0.5 + 0.1 * k for k in range(len(sim.ShineThrough._fields))))
    asked = []

    def calibrate(key: jax.Array, energies: list[float], pore: sim.Material, **more: Any) -> Any:
        more["progress"](1, 1)
        asked.append((energies, pore.name, more["solid"].name, more["electrons"], more["scale"]))
        return dict.fromkeys(energies, sim.Calibration(model, 0.05, 0.02))

    monkeypatch.setattr(sim, "calibrate", calibrate)
    words = ("simulate", "calibrate", "--out", "new/my.json", "--electrons", "50")
    ended = run(*words, "--kv", "1", "--pore", "epoxy")
    assert ended.status == 0
    assert "1 kV: misfit 5.00 % of the range of grey values, 2.00 % of it counting" in ended.out
    assert run(*words, "--kv", "1", "2", "--pore", "vacuum", "--scale", "2").status == 0
    assert asked == [
        ([1.0], "epoxy", "gold", 50, 1.0), ([1.0, 2.0], "vacuum", "gold", 50, 2.0)
    ]  # fmt: skip
    told = json.loads((here / "new" / "my.json").read_text("utf-8"))
    assert (list(told["epoxy"]), list(told["vacuum"])) == (["1"], ["1", "2"])
    assert told["provenance"]["vacuum"]["kv"] == [1.0, 2.0]
    assert "which has numbers for epoxy" in run(*words, "--kv", "4").error
    assert run(*words, "--kv", "4", "--overwrite").status == 0
    bse = ("simulate", "bse", "body.zarr", "--kv", "1", "--calibration", "new/my.json", *PLAIN)
    assert run(*bse).status == 0
    wanted = sim.backscatter_images(labels, ["epoxy", "gold"], 1.0, spacing=2.0, model=model)
    np.testing.assert_allclose(_image(here / "body-bse.zarr"), wanted, atol=1e-6)
    assert "epoxy" in _told(here / "body-bse.zarr")["settings"]["calibration"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--solid unobtainium", "solid: got 'unobtainium', wants one of vacuum, epoxy, carbon"),
        ("--pore Al2O3@heavy", "pore: got 'Al2O3@heavy'"),
        ("--materials epoxy lead gold", "materials: got 'lead', wants one of"),
        ("--kv 0.4", "kv: got 0.4, wants a number from 0.5 to 30"),
        ("--kv 31", "kv: got 31"),
        ("--kv 2 2", "kv: got 2 2, wants different voltages"),
        ("--tilt 53", "tilt: got 53"),
        ("--method guess", "method: got 'guess', wants one of analytic, montecarlo"),
        ("--every 3", "every: got it with --method analytic"),
        ("--method montecarlo --slices 16", "slices: got 16, wants whole numbers from 0 to 15"),
        ("--method montecarlo --slices 1 --every 2", "every: got it beside --slices"),
        ("--method montecarlo --calibration a.json", "calibration: got it with --method monte"),
        ("--calibration no.json", "calibration: got no.json, which cannot be read (No such file"),
        ("--solid vacuum --pore vacuum", "materials: got vacuum only"),
        ("--dose-current 0", "dose-current: got 0"),
        ("--drift 1", "drift: got '1', wants 2 numbers"),
        ("--edge-blur 9", "edge-blur: got 9"),
        ("--levels 0.5 0.1", "levels: got 0.5 0.1"),
        ("--seed -1", "seed: got -1"),
        ("--spacing 5", "spacing: got body.zarr, which tells no voxel size with a unit"),
        ("--out body.zarr", "out: got body.zarr, which exists"),
    ],
)
def test_refusals(words: str, message: str, labels: np.ndarray, run: Run, here: Path):
    ended = run("simulate", "bse", "body.zarr", *words.split(), *PLAIN)
    assert (ended.status, ended.error.count("\n")) == (2, 1)
    assert ended.error.startswith(f"bimmjax: error: {message}")
    assert [path.name for path in here.iterdir()] == ["body.zarr"]


def test_a_calibration_for_other_pores_is_named(labels: np.ndarray, run: Run, here: Path):
    (here / "cal.json").write_text('{"vacuum": {"2": {}}}', "utf-8")
    for verb in (("bse", "body.zarr"), ("dataset", "--volumes", "1")):
        ended = run("simulate", *verb, "--calibration", "cal.json", *PLAIN)
        assert ended.error == (
            "bimmjax: error: calibration: got cal.json with vacuum, wants one for pores with "
            "epoxy\n"
        )


def test_what_is_no_calibration_is_left_alone(run: Run, here: Path):
    (here / "a.json").write_text('{"kind": "fit"}', "utf-8")
    ended = run("simulate", "calibrate", "--out", "a.json")
    assert "out: got a.json, which exists and is no calibration" in ended.error
    assert (here / "a.json").read_text("utf-8") == '{"kind": "fit"}'
