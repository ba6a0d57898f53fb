"""Pictures and page of parameter maps: made by hand, so that what must be shown is known."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from bimmjax import InputError, plot
from bimmjax.cli._map_table import print_map_table
from bimmjax.maps import MEANING, Flag, Maps
from bimmjax.maps._columns import all_columns, value_columns
from bimmjax.maps._store import MapStore
from bimmjax.maps._windows import Windows
from bimmjax.models import phase_pairs
from bimmjax.plot._maps_grid import Frame, _outline
from bimmjax.plot._maps_spread import independent_share, mean_error, spread
from bimmjax.plot._maps_view import Estimates, View
from bimmjax.report import write_maps_report
from bimmjax.report._maps_rows import block_rows, flag_rows, quantity_row
from bimmjax.report._maps_slopes import gradient_words, slope_curves
from bimmjax.report._maps_verdict import verdict_of_whole

VOID = {"meta", "img", "br", "link", "hr"}


def _levels(phases: int, noise: str) -> dict[str, float]:
    """The whole volume's values by column."""
    shares = np.arange(1, phases + 1) / (phases * (phases + 1) / 2)
    pairs = [f"{i}-{j}" for i, j in phase_pairs(phases)]
    values = dict.fromkeys(value_columns(phases, noise), 0.3)
    values |= {f"volume_fraction_{i}": float(shares[i]) for i in range(phases)}
    values |= {f"intensity_{i}": 40.0 + 100.0 * i for i in range(phases)}
    values |= {f"interface_area_{p}": 0.1 / len(pairs) * (k + 1) for k, p in enumerate(pairs)}
    values |= {name: 12.0 for name in values if name.startswith("noise_std")}
    return values | {"resolution_10_90": 2.3, "blur_std": 1.4}


def _global_fit(phases: int, noise: str) -> dict:
    values = _levels(phases, noise)
    pairs = [f"{i}-{j}" for i, j in phase_pairs(phases)]
    each = range(phases)
    return {
        "params": {
            "intensities": [values[f"intensity_{i}"] for i in each],
            "noise_std": 12.0 if noise == "shared" else [12.0] * phases,
            "blur_std": 1.4,
            "correlation": None,
            "interface_tilt": None,
            "interior_weights": [0.3] * phases,
            "interface_weights": dict.fromkeys(pairs, 0.3),
        },
        "properties": {
            "volume_fractions": [values[f"volume_fraction_{i}"] for i in each],
            "interface_areas": {pair: values[f"interface_area_{pair}"] for pair in pairs},
            "resolution_10_90": 2.3,
        },
        "units": {"length": "um", "intensity": "grey value"},
        "goodness_of_fit": 0.01,
        "converged": True,
        "warnings": ["Grey values are <clipped>."],
    }


def make_maps(
    phases: int = 2,
    *,
    shape: tuple[int, int, int] = (96, 64, 80),
    block: int = 16,
    stride: int | None = None,
    times: tuple[float, ...] | None = None,
    noise: str = "shared",
    flags: np.ndarray | int = 0,
    pending: int = 0,
    out: Path | None = None,
    unit: str = "um",
    whole: dict | None = None,
) -> Maps:
    """Fractions and areas grow along z (and with time); the rest scatters by its errors, 2 %."""
    windows = Windows(shape, (block,) * 3, (stride or block,) * 3)
    count = 1 if times is None else len(times)
    fit = _global_fit(phases, noise) | (whole or {})
    store = MapStore.create(
        out,
        windows,
        columns=all_columns(phases, noise),
        times=times,
        spacing=(0.5,) * 3,
        unit=unit,
        identity={"phases": phases, "block": [block] * 3, "free": "all", "errors": True},
        attributes={"global_fit": fit if times is None else [fit] * count},
    )
    rng = np.random.default_rng(0)
    told = np.broadcast_to(np.asarray(flags, np.uint16), (count, *windows.shape))
    empty = (told & int(Flag.NO_DATA | Flag.FAILED)) != 0
    depth = (np.arange(windows.shape[0]) + 0.5) / windows.shape[0] - 0.5
    for time in range(count):
        columns = {}
        for name, level in _levels(phases, noise).items():
            value = level * (1.0 + 0.02 * rng.standard_normal(windows.shape))
            if name.startswith(("volume_fraction", "interface_area")):
                value += level * (0.5 * depth[:, None, None] + 0.1 * time)
            columns[name] = value
            columns[f"{name}_stderr"] = np.full(windows.shape, 0.02 * level)
        columns["goodness_of_fit"] = 0.02 + 0.005 * rng.random(windows.shape)
        for value in columns.values():
            value[empty[time]] = np.nan
        columns["voxels"] = np.full(windows.shape, block**3)
        columns["steps"] = np.full(windows.shape, 5)
        columns["flags"] = told[time]
        units = list(windows.units())
        for unit_ in units[: len(units) - pending]:
            store.write(time, unit_, {name: v[unit_.box] for name, v in columns.items()})
    return Maps(store)


def _flags(shape: tuple[int, ...]) -> np.ndarray:
    flags = np.zeros(shape, np.uint16)
    flags[0, 0, 0] = Flag.NO_DATA
    flags[1, 2, 3] = Flag.POOR_FIT
    flags[1, 2, 4] = Flag.NOT_CONVERGED | Flag.POOR_FIT
    flags[2, 1] = Flag.BLUR_UNTOLD
    flags[3, 0, 0] = Flag.PHASE_ABSENT
    return flags


def _texts(made: Figure) -> str:
    return "\n".join(str(getattr(text, "get_text")()) for text in made.findobj(Text))  # noqa: B009


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.loads += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag

    def handle_data(self, data: str):
        self.text.append(data)


def _read(path: Path) -> tuple[str, _Page, str]:
    text = path.read_text("utf-8")
    page = _Page()
    page.feed(text)
    page.close()
    assert not page.open
    return text, page, " ".join(" ".join(page.text).split())


def test_the_page_needs_nothing_else_and_tells_all(tmp_path: Path):
    folder = tmp_path / "A&B.zarr"
    maps = make_maps(flags=_flags((6, 4, 5)), out=folder)
    path = write_maps_report(maps, folder, command="bimmjax map 'a b.tif'")
    assert path == folder / "maps.html"
    text, page, words = _read(path)
    assert len(page.loads) == 4
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    bare = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|@import|url\(|<script|javascript:|<link", bare)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for told in (
        "A&B.zarr: maps of 2 phases",
        "120 blocks of 16³ voxels",
        "voxel size 0.5 µm",
        "117 of 120 blocks can be used",
        "9 blocks carry a flag",
        "Fit of the whole volume: Grey values are <clipped>.",
        "open_maps('A&B.zarr')",
        "maps.layers()",
        "bimmjax map 'a b.tif'",
        "z 16–31, y 32–47, x 64–79",
        "free all",
    ):
        assert told in words
    for flag in (Flag.NO_DATA, Flag.POOR_FIT, Flag.BLUR_UNTOLD, Flag.PHASE_ABSENT):
        assert MEANING[flag] in words
    assert MEANING[Flag.PENDING] not in words
    assert not (folder / "series.png").exists()
    for name in ("maps", "profiles", "histograms", "flags"):
        with Image.open(folder / f"{name}.png") as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(2**24) or []) > 50
    assert not list(folder.glob(".*partial"))


def test_real_variation_is_told_from_errors():
    view = View(make_maps())
    rows = {row.name: row for row in (quantity_row(view, q) for q in view.quantities)}
    share = rows["Share of phase 0"]
    assert share.unit == "%"
    assert share.whole == "33.33"
    assert share.error == "0.67"
    assert share.variation.startswith("real: ±")
    assert rows["Noise"].variation.startswith("no more than the errors")
    assert rows["Interface area 0-1"].unit == "1/µm"
    assert rows["Misplaced voxels"].variation == "no standard errors to compare with"
    assert rows["Noise correlation"].whole == "–"


def test_the_spread_beyond_the_errors_is_what_was_put_in():
    rng = np.random.default_rng(1)
    size = (1, 20, 20, 20)
    value = 5.0 + 0.3 * rng.standard_normal(size) + 0.4 * rng.standard_normal(size)
    none = np.zeros(size, bool)
    found = spread(Estimates(value, np.full(size, 0.4), none))
    assert found.beyond == pytest.approx(0.3, rel=0.05)
    assert found.ratio == pytest.approx(0.25 / 0.16, rel=0.05)
    assert found.real
    quiet = spread(Estimates(5.0 + 0.4 * rng.standard_normal(size), np.full(size, 0.4), none))
    assert quiet.real is False


@pytest.mark.parametrize("size", [0, 1])
def test_few_blocks_tell_nothing_of_their_spread(size: int):
    value = np.full((1, 1, 1, 4), np.nan)
    value[..., :size] = np.arange(size)
    found = spread(Estimates(value, np.full(value.shape, 0.1), np.zeros(value.shape, bool)))
    assert found.blocks == size
    assert not found.real


def test_borrowed_values_do_not_enter_the_spread():
    view = View(make_maps(flags=_flags((6, 4, 5))))
    by_name = {q.name: q for q in view.quantities}
    resolution = view.read(by_name["Resolution 10-90 %"])
    assert int(resolution.borrowed.sum()) == 5
    assert spread(resolution).blocks == 117 - 5
    # The flag says that a phase is absent; phases with a large share are not the one.
    assert not view.read(by_name["Intensity of phase 1"]).borrowed.any()


def test_overlapping_blocks_count_by_what_is_their_own():
    windows = Windows((64, 64, 64), (32, 32, 32), (16, 32, 32))
    assert independent_share(windows) == 0.5
    assert mean_error(1.0, 8, windows) == pytest.approx(0.5)
    apart = Windows((64, 64, 64), (16, 16, 16), (32, 32, 32))
    assert mean_error(1.0, 4, apart) == pytest.approx(0.5)


def test_pixels_lie_on_their_blocks():
    maps = make_maps(block=32, stride=16, shape=(64, 64, 96))
    frame = Frame.of(maps)
    assert frame.sides == (32.0, 32.0, 48.0)
    for axis in range(3):
        # The pixel's centre counts from the volume's edge, half a voxel before the first centre.
        centre = frame.centre(axis, 1, maps.windows.shape[axis])
        assert centre == pytest.approx(maps.origin[axis] + maps.step[axis] + 0.25)
    made = plot.map_slices(maps)
    image = made.axes[0].get_images()[0]
    assert image.get_extent() == [4.0, 44.0, 28.0, 4.0]
    assert made.axes[0].get_xlim() == (0.0, 48.0)
    np.testing.assert_allclose(image.get_array(), 100 * maps["volume_fraction_0"][1], rtol=1e-6)


def test_marks_cover_the_marked_pixels():
    rng = np.random.default_rng(2)
    where = rng.random((7, 9)) < 0.4
    path = _outline(where, (0.0, 9.0, 7.0, 0.0))
    rows, columns = np.mgrid[:7, :9] + 0.5
    inside = path.contains_points(np.stack([columns.ravel(), rows.ravel()], axis=1))
    np.testing.assert_array_equal(inside.reshape(where.shape), where)


def test_slices_tell_units_places_and_marks():
    maps = make_maps(flags=_flags((6, 4, 5)))
    words = _texts(plot.map_slices(maps))
    for told in (
        "Share of phase 0 (%)",
        "Interface area 0-1 (1/µm)",
        "Noise (grey values)",
        "Resolution 10-90 % (µm)",
        "x (µm)",
        "xy at z = 28 µm (upper)",
        "10 µm",
    ):
        assert told in words
    assert "not fitted yet" not in words


def test_many_phases_show_the_largest(tmp_path: Path):
    maps = make_maps(8, noise="per_phase", shape=(32, 32, 48))
    view = View(maps)
    assert len(view.drawn) == 4 + 6 + 1 + 4 + 4 + 1
    assert [q.name for q in view.drawn[:4]] == [f"Share of phase {i}" for i in (4, 5, 6, 7)]
    assert len(view.drawn) + len(view.left_out) == 8 + 28 + 1 + 8 + 8 + 1
    _, _, words = _read(write_maps_report(maps, tmp_path))
    assert "34 more maps are in the table" in words
    assert "Share of phase 0" in words
    assert "rarer phases and interfaces" in words


def test_a_series_has_curves_and_a_time_column(tmp_path: Path):
    times = (0.0, 1.0, 2.5)
    maps = make_maps(times=times, flags=_flags((6, 4, 5)))
    _, page, words = _read(write_maps_report(maps, tmp_path))
    assert len(page.loads) == 5
    assert "3 volumes, time 0 to 2.5" in words
    assert (tmp_path / "series.png").exists()
    made = plot.map_series(maps)
    line = made.axes[0].lines[0]
    np.testing.assert_allclose(line.get_xdata(), times)
    usable = maps.usable
    means = [100 * maps["volume_fraction_0"][t][usable[t]].mean() for t in range(3)]
    np.testing.assert_allclose(line.get_ydata(), means, rtol=1e-4)
    assert "time 2.5" in _texts(plot.map_slices(maps))
    with pytest.raises(InputError, match="maps: got those of one volume"):
        plot.map_series(make_maps())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"shape": (16, 64, 80)}, "All 20 blocks can be used"),
        ({"shape": (16, 16, 16)}, "All 1 blocks can be used"),
        ({"shape": (320, 16, 16)}, "All 20 blocks can be used"),
        ({"flags": int(Flag.NO_DATA)}, "No block can be used"),
        ({"flags": int(Flag.POOR_FIT)}, "No block can be used"),
        ({"flags": int(Flag.PENDING), "pending": 1}, "120 of 120 blocks are not fitted yet"),
        ({"unit": "voxel"}, "voxel size not given"),
        ({"times": (0.0, 1.0), "flags": int(Flag.NO_DATA)}, "No block can be used"),
        ({"shape": (128, 128, 160), "pending": 3}, "blocks are not fitted yet"),
    ],
)
def test_odd_maps_still_make_a_page(tmp_path: Path, options: dict, told: str):
    _, _, words = _read(write_maps_report(make_maps(**options), tmp_path))
    assert told.replace("All 1 blocks", "The one block") in words


def test_blocks_that_fit_poorly_are_shown_where_most_do(tmp_path: Path):
    poor = make_maps(flags=int(Flag.POOR_FIT))
    _, _, words = _read(write_maps_report(poor, tmp_path))
    assert "Most blocks fit poorly" in words
    assert (tmp_path / "histograms.png").exists()
    assert np.isfinite(View(poor).read(View(poor).drawn[0]).value).all()
    few = View(make_maps(flags=_flags((6, 4, 5))))
    assert not few.mostly_poor
    np.testing.assert_array_equal(few.shown, few.usable)


@pytest.mark.parametrize(
    ("whole", "headline", "blocks"),
    [
        (
            {"converged": False, "goodness_of_fit": 0.4, "warnings": ["It did not come to rest."]},
            "The fit of the whole did not come to rest. Do not use the numbers below",
            "All 120 blocks pass their own checks",
        ),
        (
            {"goodness_of_fit": 0.4, "refusals": {"interface_areas": {"0-1": "it is unlike"}}},
            "The model does not describe the whole. 40 % of its voxels lie where the fit does not "
            "expect them. Blocks may be described better: 120 of 120 blocks are described well",
            "All 120 blocks can be used",
        ),
        (
            {"goodness_of_fit": None},
            "The model does not describe the whole. 100 % of its voxels lie where the fit does not",
            "All 120 blocks can be used",
        ),
        (
            {"refusals": {"interface_areas": {"0-1": "too small to be told from the blur"}}},
            "For the whole the area 0-1 is refused. The maps hold the model's own values",
            "All 120 blocks can be used",
        ),
    ],
)
def test_what_stands_against_the_whole_comes_first(
    whole: dict, headline: str, blocks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    maps = make_maps(whole=whole)
    print_map_table(maps, tmp_path)
    told = " ".join(capsys.readouterr().out.split())
    assert told.index(headline) < told.index("Share of phase 0") < told.index(blocks)
    assert told.count("not come to rest") == (not whole.get("converged", True))
    _, _, words = _read(write_maps_report(maps, tmp_path))
    first = words.index(headline.split(".")[0])
    assert first < words.index(blocks) < words.index("Mean over blocks")


def test_the_verdict_of_a_series_counts_volumes():
    restless = View(make_maps(times=(0.0, 1.0), whole={"converged": False}))
    verdict = verdict_of_whole(restless)
    assert verdict is not None
    assert verdict.headline.endswith("(2 of 2 volumes)")
    assert verdict_of_whole(View(make_maps())) is None


def test_gradients_are_told_with_their_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    maps = make_maps()
    print_map_table(maps, tmp_path)
    # 33.3 % grow by half of that over the 48 µm.
    assert re.search(
        r"Gradient along z \(share of phase [01]: 0\.\d+ ± 0\.\d+ %/µm\)\.",
        " ".join(capsys.readouterr().out.split()),
    )
    text, _, _ = _read(write_maps_report(maps, tmp_path))
    told = text.split("<h2>Gradients</h2>")[1].split("</table>")[0]
    assert re.search(r"<b>0\.34\d\d ± 0\.00\d\d %/µm</b>", told)
    assert re.search(r"<b>\(1\.0\d+ ± 0\.\d+\) × 10⁻³ 1/µm²</b>", told)
    assert told.count("<b>") == 3
    lines = [axes.lines for axes in plot.map_profiles(maps).axes]
    np.testing.assert_allclose(lines[0][0].get_xdata(), 3.75 + 8.0 * np.arange(6))
    assert "z (µm)" in _texts(plot.map_profiles(maps))
    # Of one layer nothing is told; nor where no block can be used.
    for none in (make_maps(shape=(16, 16, 16)), make_maps(flags=int(Flag.NO_DATA))):
        assert gradient_words(View(none), slope_curves(View(none))) == ""
        with pytest.raises(InputError, match="maps: got no two blocks"):
            plot.map_profiles(none)


def test_stale_pictures_go(tmp_path: Path):
    write_maps_report(make_maps(flags=_flags((6, 4, 5))), tmp_path)
    assert (tmp_path / "flags.png").exists()
    write_maps_report(make_maps(), tmp_path)
    assert not (tmp_path / "flags.png").exists()


def test_the_worst_blocks_come_first():
    view = View(make_maps(flags=_flags((6, 4, 5))))
    rows = block_rows(view, 4)
    assert [row.flags for row in rows] == [
        "not converged, poor fit", "poor fit", "phase absent", "blur untold",
    ]  # fmt: skip
    assert block_rows(view, 100)[-1].flags == "no data"
    assert {row.name: row.blocks for row in flag_rows(view)}["blur untold"] == 5
    assert flag_rows(View(make_maps())) == []
