"""Maps of small artificial volumes from end to end: truth, flags, devices, resumption, series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bimmjax
from bimmjax import InputError, convert, sim
from bimmjax.maps import Flag, Maps, _windows, open_maps
from bimmjax.maps._fitting import Fitter
from bimmjax.maps._map import map_fits
from bimmjax.sim import artificial_volume, blur

EDGE, BLOCK = 96, 32


class Made:
    def __init__(self, seed: int) -> None:
        made = artificial_volume(
            jax.random.key(seed),
            (EDGE,) * 3,
            fractions=(0.4, 0.6),
            intensities=(1000.0, 1100.0),
            blur_std=1.2,
            noise_std=10.0,
            feature_length=6.0,
            with_area=False,
        )
        self.image, self.labels = np.array(made.image), np.array(made.labels)

    def fractions(self) -> np.ndarray:
        return share_of_0(self.labels)


def share_of_0(labels: np.ndarray) -> np.ndarray:
    """Share of phase 0 in each block, among its voxels with six neighbours."""
    inner = np.zeros(labels.shape, bool)
    inner[1:-1, 1:-1, 1:-1] = True
    cut = (labels.shape[0] // BLOCK, BLOCK) * 3
    zero = (inner & (labels == 0)).reshape(cut).sum((1, 3, 5))
    return zero / inner.reshape(cut).sum((1, 3, 5))


@pytest.fixture(scope="module")
def made() -> Made:
    return Made(0)


@pytest.fixture(scope="module")
def fit(made: Made) -> bimmjax.Fit:
    return bimmjax.fit(made.image, 2, intervals=False)


@pytest.fixture(scope="module")
def plain(made: Made, fit: bimmjax.Fit) -> Maps:
    return map_fits(made.image, block=BLOCK, errors=False, start=fit)


def box(z: int, y: int, x: int) -> tuple[slice, slice, slice]:
    a, b, c = (slice(i * BLOCK, (i + 1) * BLOCK) for i in (z, y, x))
    return a, b, c


def test_every_block_is_near_its_own_truth(made: Made, plain: Maps):
    assert plain["volume_fraction_0"].shape == (3, 3, 3)
    assert plain.complete
    assert not plain.flags.any()
    truth = made.fractions()
    assert np.ptp(truth) > 0.1
    np.testing.assert_allclose(plain["volume_fraction_0"], truth, atol=0.01)
    np.testing.assert_allclose(plain["volume_fraction_1"], 1 - truth, atol=0.01)
    np.testing.assert_allclose(plain["intensity_0"], 1000, atol=3)
    np.testing.assert_allclose(plain["noise_std"], 10, atol=0.5)
    np.testing.assert_allclose(plain["blur_std"], 1.2, atol=0.2)
    ratio = plain["resolution_10_90"] / plain["blur_std"]
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-4)
    assert ratio[0, 0, 0] == pytest.approx(2.5631, rel=0.05)
    assert np.all(plain["volume_fraction_0_stderr"] > 0)
    assert plain["voxels"][1, 1, 1] == BLOCK**3
    assert plain["voxels"][0, 1, 2] == BLOCK * (BLOCK - 1) ** 2
    assert plain.attributes["global_fit"]["params"]["blur_std"] == pytest.approx(1.2, abs=0.05)


def test_the_bias_of_the_whole_is_taken_off_its_blocks():
    body = sim.sphere_body(jax.random.key(3), (96,) * 3, (6.0, 9.0), 0.3, overlap=False)
    volume = scan_of(body, 1.4)
    maps = {c: map_fits(volume, block=49, errors=False, correct=c) for c in (True, False)}
    area, share = body.truth.interface_areas[0], body.truth.fractions[0]
    off = {c: float(m["interface_area_0-1"].mean() / area - 1.0) for c, m in maps.items()}
    assert abs(off[True]) < 0.02 < -off[False]
    assert abs(float(maps[True]["volume_fraction_0"].mean()) - share) < 0.004
    total = maps[True]["volume_fraction_0"] + maps[True]["volume_fraction_1"]
    np.testing.assert_allclose(total, 1.0, atol=1e-6)
    # What was given corrected is so again, and stays as it is if that is not wanted.
    given = maps[True].attributes["global_fit"]
    again = map_fits(volume, block=49, errors=False, start=given)
    np.testing.assert_array_equal(again["interface_area_0-1"], maps[True]["interface_area_0-1"])
    own = map_fits(volume, block=49, errors=False, start=given, correct=False)
    np.testing.assert_array_equal(own["interface_area_0-1"], maps[False]["interface_area_0-1"])


def scan_of(body: sim.Body, blur_std: float, noise_std: float = 0.05) -> np.ndarray:
    seen = sim.add_noise(jax.random.key(4), sim.body_image(body, (0.0, 1.0), blur_std), noise_std)
    return np.pad(np.asarray(seen), 1, mode="wrap")


def test_a_known_blur_is_held_in_all_blocks():
    body = sim.sphere_body(jax.random.key(3), (80,) * 3, (6.0, 9.0), 0.3, overlap=False)
    volume = scan_of(body, 1.4)
    start = bimmjax.fit(volume, 2, blur_std=1.4, intervals=False)
    given = map_fits(volume, block=41, errors=False, start=start)
    own = map_fits(volume, block=41, errors=False, blur_std=1.4)
    for maps in (given, own):
        np.testing.assert_allclose(maps["blur_std"], 1.4, rtol=1e-3)
        np.testing.assert_allclose(maps["resolution_10_90"], 2.5631 * 1.4, rtol=1e-3)
        assert np.isnan(maps["blur_std_stderr"]).all()
        assert not maps.flagged(Flag.BLUR_UNTOLD).any()
        off = maps["interface_area_0-1"].mean() / body.truth.interface_areas[0] - 1.0
        assert abs(off) < 0.02
    with pytest.raises(InputError, match=r"blur_std: got 1\.4 with start, wants one of the two"):
        map_fits(volume, block=41, start=start, blur_std=1.4)
    with pytest.raises(InputError, match="blur_std: got True, wants a number of voxels"):
        map_fits(volume, block=41, blur_std=True)


def test_what_is_refused_is_told_and_a_series_has_one_correction():
    large = sim.field_body(jax.random.key(5), (72,) * 3, (0.4, 0.6), 5.0)
    small = sim.field_body(jax.random.key(6), (72,) * 3, (0.4, 0.6), 2.3)
    series = [scan_of(large, 2.0, 0.08), scan_of(small, 2.0, 0.08)]
    maps = map_fits(series, block=37, errors=False)
    plain = map_fits(series, block=37, errors=False, correct=False)
    assert maps.attributes["global_fit"][1]["refusals"]
    ratio = maps["interface_area_0-1"] / plain["interface_area_0-1"]
    assert ratio[0].min() > 1.02
    np.testing.assert_allclose(ratio, ratio[0, 0, 0, 0], rtol=0.02)  # starts differ
    alone = map_fits(series[1], block=37, errors=False)
    told = alone.attributes["global_fit"]["warnings"]
    assert any("Maps of the area 0-1 hold the model's own values" in text for text in told)


def test_a_round_field_of_view_is_corrected():
    body = sim.field_body(jax.random.key(5), (100,) * 3, (0.4, 0.6), 5.0)
    volume = scan_of(body, 1.4, 0.08)
    _, y, x = np.indices(volume.shape) - 50.5
    mask = (y**2 + x**2 < 50**2).astype(np.uint8)
    maps = map_fits(volume, block=51, errors=False, mask=mask)
    assert maps.attributes["global_fit"]["corrected"]
    gaps = np.where(mask != 0, volume, np.nan)
    assert bimmjax.fit(gaps, 2, ignore_nan=True, intervals=False).scan is not None


def test_flags_where_they_belong_and_nowhere_else(made: Made, fit: bimmjax.Fit, tmp_path: Path):
    random = np.random.default_rng(0)
    # A block lacks a phase, with room around it: what is blurred into it would be seen.
    labels = made.labels.copy()
    labels[BLOCK - 5 : 2 * BLOCK + 5, BLOCK - 5 : 2 * BLOCK + 5, BLOCK - 5 : 2 * BLOCK + 5] = 0
    truth = share_of_0(labels)
    sharp = jnp.asarray(1000.0 + 100.0 * labels, jnp.float32)
    volume = np.asarray(blur(sharp, 1.2)) + random.normal(0, 10, labels.shape).astype(np.float32)
    mask = np.ones(volume.shape, np.uint8)
    odd = 1050 + 20 * random.standard_cauchy((BLOCK,) * 3)
    volume[box(2, 2, 2)] = np.clip(odd, 900, 1200)  # nothing like the rest
    volume[box(0, 0, 0)][8:] = np.nan
    volume[box(0, 0, 2)][10:14, 10:14, 10:14] = np.nan
    mask[box(2, 0, 2)] = 0
    mask[box(2, 2, 0)][4:8, 4:8, 4:8] = 0
    path = convert(volume, tmp_path / "a.zarr", chunk=(16, 16, 16), shard=(16, 16, 16))
    for z, y, x in np.ndindex(2, 2, 2):
        (path / "0" / "c" / str(4 + z) / str(y) / str(x)).unlink()  # block (2, 0, 0)
    (path / "0" / "c" / "1" / "4" / "1").write_bytes(b"no chunk")  # in block (0, 2, 0)
    maps = map_fits(path, block=BLOCK, errors=False, start=fit.to_dict(), mask=mask)

    no_data = np.zeros((3, 3, 3), bool)
    for index in ((0, 0, 0), (2, 0, 0), (2, 0, 2)):
        no_data[index] = True
    np.testing.assert_array_equal(maps.flagged(Flag.NO_DATA), no_data)
    for name in maps.columns:
        if name not in ("voxels", "steps", "flags"):
            np.testing.assert_array_equal(np.isnan(maps[name]), no_data, err_msg=name)
    assert not maps.flagged(Flag.FAILED | Flag.PENDING).any()
    unfinished = maps.flagged(Flag.NOT_CONVERGED)
    unfinished[2, 2, 2] = False  # may well not
    assert not unfinished.any()

    partial = maps.flagged(Flag.PARTIAL)
    for index in ((0, 0, 2), (2, 2, 0), (0, 2, 0)):
        assert partial[index]
    assert not partial[no_data].any()
    unreadable = maps.flagged(Flag.UNREADABLE)
    assert unreadable[2, 0, 0]
    assert unreadable[0, 2, 0]
    assert not unreadable[:, :, 2].any()  # nor any that is two blocks off
    assert not unreadable[0, 0, 0]

    absent, poor = maps.flagged(Flag.PHASE_ABSENT), maps.flagged(Flag.POOR_FIT)
    assert np.argwhere(absent & ~poor).tolist() == [[1, 1, 1]]
    assert np.argwhere(poor).tolist() == [[2, 2, 2]]
    assert maps["volume_fraction_0"][1, 1, 1] > 0.995
    assert maps.flagged(Flag.BLUR_UNTOLD)[1, 1, 1]
    assert not maps.usable[2, 2, 2]
    # Two blocks in one column touch nothing that was changed: they have no remark at all.
    assert maps.flags[1, 0, 1] & ~np.uint16(Flag.PARTIAL | Flag.UNREADABLE) == 0
    sound = maps.usable & ~absent & ~partial
    np.testing.assert_allclose(maps["volume_fraction_0"][sound], truth[sound], atol=0.012)
    partly = partial & maps.usable
    np.testing.assert_allclose(maps["volume_fraction_0"][partly], truth[partly], atol=0.05)


def test_retry_fits_what_could_not_be_read(made: Made, fit: bimmjax.Fit, tmp_path: Path):
    # Half of the voxels, among them some by which a volume is known again.
    path = convert(made.image, tmp_path / "a.zarr", chunk=(48, 96, 96), shard=(48, 96, 96))
    file = path / "0" / "c" / "0" / "0" / "0"
    kept = file.read_bytes()
    file.write_bytes(b"no chunk")
    options: dict[str, Any] = {
        "out": tmp_path / "maps.zarr",
        "block": BLOCK,
        "start": fit.to_dict(),
    }
    damaged = map_fits(path, errors=False, **options)
    assert damaged.flagged(Flag.UNREADABLE).any()
    file.write_bytes(kept)
    same = map_fits(path, errors=False, **options)
    np.testing.assert_array_equal(same.flags, damaged.flags)
    mended = map_fits(path, errors=False, retry=True, **options)
    assert not mended.flagged(Flag.UNREADABLE).any()
    whole = map_fits(made.image, errors=False, block=BLOCK, start=fit.to_dict())
    np.testing.assert_array_equal(mended["voxels"], whole["voxels"])


def test_a_block_of_another_kind_is_flagged(made: Made, fit: bimmjax.Fit):
    volume = np.array(made.image)
    other = box(1, 2, 1)
    volume[other] = 1000.0 + 0.5 * (volume[other] - 1000.0)
    maps = map_fits(volume, block=BLOCK, errors=False, start=fit)
    assert np.argwhere(maps.flagged(Flag.UNLIKE_WHOLE)).tolist() == [[1, 2, 1]]
    assert not maps.usable[1, 2, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_devices_change_nothing(
    count: int, made: Made, fit: bimmjax.Fit, plain: Maps, monkeypatch: pytest.MonkeyPatch
):
    some = jax.local_devices()
    assert len(some) == 8
    monkeypatch.setattr(jax, "local_devices", lambda: some[:count])
    found = map_fits(made.image, block=BLOCK, errors=False, start=fit)
    for name in plain.columns:
        # 1e-5 of the value, or where that is next to nothing a 200th of its standard error.
        slack = 1e-5 * np.maximum(np.abs(plain[name]), 1.0)
        if name in plain.quantities:
            slack = np.maximum(slack, 5e-3 * plain[f"{name}_stderr"])
        off = np.abs(found[name].astype(float) - plain[name])
        assert np.all(off <= slack), (name, off.max(), (off / slack).max())
    np.testing.assert_array_equal(found.flags, plain.flags)


def test_resumed_equals_undisturbed(
    made: Made, fit: bimmjax.Fit, plain: Maps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(_windows, "_FEWEST", 3)  # nine units instead of one
    options: dict[str, Any] = {"block": BLOCK, "errors": False, "start": fit}
    whole = map_fits(made.image, out=tmp_path / "whole.zarr", **options)
    out = tmp_path / "a.zarr"
    told: list[tuple[int, int]] = []

    def stop_at(fits: int) -> Any:
        def progress(done: int, total: int) -> None:
            told.append((done, total))
            if fits <= done < total:
                raise KeyboardInterrupt

        return progress

    with pytest.raises(KeyboardInterrupt):
        map_fits(made.image, out=out, progress=stop_at(7), **options)
    partial = open_maps(out)
    assert not partial.complete
    pending = partial.flagged(Flag.PENDING)
    assert 0 < pending.sum() < 27
    np.testing.assert_array_equal(np.isnan(partial["blur_std"]), pending)
    assert told[0] == (0, 27)
    assert told[-1][0] == 27 - pending.sum()

    for changed, message in (
        ({"block": 48}, "block=32; wants block=48"),
        ({"free": "weights"}, "free=all; wants free=weights"),
        ({"seed": 1}, "seed=0; wants seed=1"),
        ({"mask": np.ones(made.image.shape, bool)}, "mask"),
        ({"start": None}, "start"),
    ):
        with pytest.raises(InputError, match=f"out: got a.zarr, made with {message}"):
            map_fits(made.image, out=out, **{**options, **changed})
    with pytest.raises(InputError, match="volume"):
        map_fits(made.image[:64], out=out, **options)

    told.clear()
    resumed = map_fits(made.image, out=out, progress=stop_at(100), **options)
    assert told[0] == (27 - pending.sum(), 27)
    assert told[-1] == (27, 27)
    assert resumed.complete
    for name in resumed.columns:
        np.testing.assert_array_equal(resumed[name], whole[name], err_msg=name)
    for name in plain.columns:
        np.testing.assert_allclose(resumed[name], plain[name], rtol=1e-5, atol=1e-5, err_msg=name)
    told.clear()
    again = map_fits(made.image, out=out, progress=stop_at(100), **options)
    assert told == [(27, 27)]
    np.testing.assert_array_equal(again["blur_std"], whole["blur_std"])


def test_series(made: Made, fit: bimmjax.Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    later = Made(5)
    begun: list[Any] = []
    run = Fitter.__call__

    def watched(self: Fitter, counts: np.ndarray, starts: Any = None) -> Any:
        begun.append(starts)
        return run(self, counts, starts)

    monkeypatch.setattr(Fitter, "__call__", watched)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(fit.to_dict()))
    maps = map_fits(
        [made.image, later.image],
        block=BLOCK,
        stride=BLOCK,
        errors=False,
        start=path,
        times=[0.5, 12.0],
    )
    assert maps.shape == (2, 3, 3, 3)
    assert maps.times == (0.5, 12.0)
    np.testing.assert_allclose(maps["volume_fraction_0"][0], made.fractions(), atol=0.01)
    np.testing.assert_allclose(maps["volume_fraction_0"][1], later.fractions(), atol=0.01)
    table = maps.table()
    np.testing.assert_array_equal(table["time"], np.repeat([0.5, 12.0], 27))
    assert len(maps.attributes["global_fit"]) == 2
    # Each block starts from where it ended before.
    first, second = begun
    assert first is None
    assert second.shape[0] == 27
    assert np.ptp(second, axis=0).min() > 0
    assert maps["steps"][1].mean() < 20


def test_the_whole_way_with_overlap_and_calibrated_errors(made: Made):
    """No start, so a global fit and a calibration; blocks overlap; integers."""
    grey = np.rint(made.image - 900).astype(np.uint8)
    maps = map_fits(grey[:64, :64, :64], block=32, stride=16, spacing=2.0, unit="um")
    assert maps["blur_std"].shape == (3, 3, 3)
    assert maps.spacing == (2.0, 2.0, 2.0)
    assert maps.step == (32.0, 32.0, 32.0)
    assert maps.usable.all()
    assert maps.attributes["global_fit"]["converged"]
    np.testing.assert_allclose(maps["resolution_10_90"], 2.5631 * 2.0 * maps["blur_std"], rtol=0.05)
    share = np.asarray(made.labels)[16:48, 16:48, 16:48] == 0
    error = maps["volume_fraction_0_stderr"][1, 1, 1]
    assert 5e-4 < error < 0.01
    assert abs(maps["volume_fraction_0"][1, 1, 1] - share.mean()) < 4 * error
    corners = maps["volume_fraction_0"][::2, ::2, ::2]
    np.testing.assert_allclose(corners, share_of_0(made.labels[:64, :64, :64]), atol=0.012)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"block": 100}, r"block: got 100, wants at most the volume's shape \(96, 96, 96\)"),
    ({"block": 4}, "block: got 4, wants a whole number of 8 or more"),
    ({"block": (32, 32)}, "block: got"),
    ({"block": "all"}, "block: got 'all'"),
    ({"stride": 0}, "stride: got 0, wants a whole number of 1 or more"),
    ({"stride": 31}, "stride: got 31 with blocks of 32"),
    ({"phases": 1}, "phases: got 1, wants a whole number from 2 to"),
    ({"phases": 3}, "start: got bimm2d with 2 phases, wants bimm2d with 3"),
    ({"free": "blur"}, "free: got 'blur', wants one of"),
    ({"noise": "pink"}, "noise: got 'pink'"),
    ({"gradient": "sobel"}, "gradient: got 'sobel'"),
    ({"interface": "fractal"}, "interface: got 'fractal'"),
    ({"seed": -1}, "seed: got -1"),
    ({"spacing": (2, 1, 1)}, "spacing: got .*cubic voxels"),
    ({"mask": np.ones((3, 3, 3))}, r"mask: got shape \(3, 3, 3\), wants the volume's"),
    ({"mask": "nothing.tif"}, "mask: got"),
    ({"times": [0.0, 1.0]}, "times: got 2 times for 1 volume"),
    ({"start": 3}, "start: got int, wants a Fit or the path"),
    ({"start": "nothing.json"}, r"start: got nothing\.json, wants a fit\.json"),
    ({"start": {"params": {}}}, "start: got"),
    ({"start": {"params": {"intensities": [1.0]}}}, "start: got"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda x: str(x)[:24])
def test_bad_arguments_are_named(
    options: dict[str, Any], message: str, made: Made, fit: bimmjax.Fit
):
    given = {"block": BLOCK, "errors": False, "start": fit, **options}
    with pytest.raises(InputError, match=message):
        map_fits(made.image, **given)


def test_bad_volumes_are_named(made: Made, fit: bimmjax.Fit, tmp_path: Path):
    two = [made.image, made.image]
    for volume, options, message in (
        ([], {}, "volume: got an empty list"),
        (two, {"times": [2.0, 1.0]}, "times: got .*wants them ascending"),
        (two, {"times": [1.0, float("nan")]}, "times: got .*wants them ascending"),
        (two, {"times": [1.0]}, "times: got 1 times, wants one for each of 2"),
        (two, {"times": ["now", "then"]}, "times: got"),
        (two, {"mask": [np.ones((EDGE,) * 3)] * 3}, "mask: got 3 masks"),
        ([made.image, made.image[:64]], {}, r"volume: got .* of shape \(64, 96, 96\)"),
        (np.full((64, 64, 64), np.nan, np.float32), {}, "finite"),
        (np.zeros((64, 64), np.float32), {}, "three axes|3D|axes"),
        (tmp_path / "none.tif", {}, "none"),
    ):
        with pytest.raises(InputError, match=message):
            map_fits(volume, block=BLOCK, errors=False, start=fit, **options)
    with pytest.raises(InputError, match=r"no voxel to count|no finite voxel"):
        map_fits(made.image, block=BLOCK, errors=False, start=fit, mask=np.zeros((EDGE,) * 3, bool))


def test_what_is_held_in_a_series_is_that_of_its_own_volume():
    first, second = (
        np.asarray(
            artificial_volume(
                jax.random.key(k),
                (48, 48, 48),
                blur_std=width,
                feature_length=6.0,
                with_area=False,
            ).image
        )
        for k, width in enumerate((0.9, 1.6))
    )
    options = {"block": 24, "free": "weights", "errors": False}
    series = map_fits([first, second], **options)
    blurs = [fit["params"]["blur_std"] for fit in series.attributes["global_fit"]]
    assert blurs[1] > 1.3 * blurs[0]
    for time_index, width in enumerate(blurs):
        np.testing.assert_allclose(series["blur_std"][time_index], width, rtol=1e-4)
