"""The page: plain words, nothing to load, nothing to run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bimmjax.fitting import Fit
from bimmjax.fitting._verdict import undetermined_words
from bimmjax.plot._labels import rounded
from bimmjax.report import (
    page,
    parameter_rows,
    property_rows,
    verdict,
    write_pictures,
    write_report,
)
from bimmjax.report._rows import tried_phases
from bimmjax.volumes import Volume

MakeFit = Callable[..., Fit]

VOID = {"meta", "img", "br", "link", "hr"}


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.tags.append(tag)
        self.loads += [
            v or "" for k, v in attrs if k in ("src", "href", "srcset", "data", "action")
        ]
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


@pytest.mark.parametrize(
    ("phases", "model", "names"),
    [
        (2, "bimm2d", {"slices", "intensity", "joint", "edge"}),
        (1, "bimm2d", {"slices", "intensity", "joint"}),
        (3, "bimm1d", {"slices", "intensity"}),
        (2, "gmm", {"slices", "intensity"}),
    ],
)
def test_pictures_are_what_the_model_can_show(
    make_fit: MakeFit,
    volumes: dict[int, Volume],
    tmp_path: Path,
    phases: int,
    model: str,
    names: set[str],
):
    paths = write_pictures(make_fit(phases, model), volumes[max(phases, 2)], tmp_path)
    assert set(paths) == names
    for path in paths.values():
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert min(image.size) > 300
            assert len(image.convert("RGB").getcolors(2**24) or []) > 50


def test_the_page_needs_nothing_else(make_fit: MakeFit, volumes: dict[int, Volume], tmp_path: Path):
    fit = make_fit(2)
    path = write_report(fit, volumes[2], tmp_path, command="bimmjax fit 'a b.tif'")
    text, page, words = _read(path)
    assert len(page.loads) == 4
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    bare = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?://|@import|url\(|<script|javascript:|<link", bare)
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    for told in ("40 × 44 × 48 voxels", "0.65 µm", "arXiv:2009.07218", "bimmjax fit 'a b.tif'"):
        assert told in words
    assert "0.480 to 0.520" not in words  # fractions are told in percent
    assert "48.0 to 52.0" in words
    assert "fit 0.20" in words


def test_names_and_warnings_are_escaped(
    make_fit: MakeFit, volumes: dict[int, Volume], tmp_path: Path
):
    fit = make_fit(2, warnings=("Beware of <b>&co</b>.",))
    volume = replace(volumes[2], name='<img src="x">')
    path = write_report(fit, volume, tmp_path, command="bimmjax fit '<x>'")
    text, page, words = _read(path)
    assert "Beware of <b>&co</b>." in words
    assert "One warning" in words
    assert page.tags.count("img") == 4
    assert "&lt;x&gt;" in text


def test_rows_tell_value_unit_and_intervals(make_fit: MakeFit):
    rows = {row.name: row for row in property_rows(make_fit(2))}
    share = rows["Share of phase 0"]
    assert (share.value, share.unit, share.confidence) == ("50.0", "%", "48.0 to 52.0")
    assert rows["Share of phase 1"].confidence is None
    assert rows["Interface area 0-1"].unit == "1/µm"
    fit = make_fit(2)
    share, area = fit.properties.volume_fractions[0], fit.properties.interface_areas[0]
    blur = float(fit.params.blur_std) * fit.spacing[0]
    size = 4.0 * float(share) * (1.0 - float(share)) / (float(area) * blur)
    assert rows["Size of features"].value == f"{size:.1f}"
    assert make_fit(3).feature_size is None
    assert rows["Interface area 0-1"].confidence == "0.110 to 0.130"
    assert rows["Resolution 10-90 %"].unit == "µm"
    assert rows["Contrast to noise"].value == "12.5"


def test_digits_of_next_to_nothing_are_not_told(make_fit: MakeFit):
    made = make_fit(2)
    nothing = replace(
        made,
        properties=made.properties._replace(interface_areas=np.array([2e-10])),
        announced={"interface_areas": {"0-1": 0.0014}},
    )
    (row,) = [row for row in property_rows(nothing) if row.name == "Interface area 0-1"]
    assert (row.value, row.confidence, row.sampling) == ("< 0.0014", None, None)


def test_models_without_blur_tell_no_areas(make_fit: MakeFit):
    for model in ("gmm", "pvmm", "bimm1d"):
        names = [row.name for row in property_rows(make_fit(3, model))]
        assert not any("area" in name or "Resolution" in name for name in names)
    names = [row.name for row in parameter_rows(make_fit(2, "gmm"))]
    assert names == [
        "Intensity of phase 0",
        "Intensity of phase 1",
        "Inside phase 0",
        "Inside phase 1",
    ]


@pytest.mark.parametrize(
    ("share", "code", "level"),
    [(0.0, 0, "good"), (0.02, 0, "good"), (0.05, 0, "fair"), (0.3, 0, "poor"), (0.0, 1, "poor"),
     (float("nan"), 0, "poor")],
)  # fmt: skip
def test_the_verdict_follows_the_goodness_of_fit(
    make_fit: MakeFit, share: float, code: int, level: str
):
    said = verdict(make_fit(2, goodness_of_fit=share, code=code))
    assert said.level == level
    assert said.headline
    assert said.words.endswith(".")


@pytest.mark.parametrize(
    ("value", "intervals", "told"),
    [
        (0.5, (), ("0.5000", (), 0)),
        (19.958, ((19.895, 20.021),), ("19.96", ("19.89 to 20.02",), 0)),
        (0.5, ((0.2, 0.8), None), ("0.50", ("0.20 to 0.80", None), 0)),
        (-0.0001, ((-0.01, 0.01),), ("0.000", ("−0.010 to 0.010",), 0)),
        (2e-7, ((1e-7, 3e-7),), ("2.0", ("1.0 to 3.0",), -7)),
        (0.01, ((0.0, 1e300),), ("0.01000", ("not determined",), 0)),
        (0.01, ((0.0, float("inf")),), ("0.01000", ("not determined",), 0)),
        (1e-20, ((0.0, 1e-19),), ("0", ("0 to 0",), 0)),
        (None, (None,), ("-", (None,), 0)),
        (float("nan"), ((1.0, 2.0),), ("-", (None,), 0)),
        (123456.0, ((120000.0, 130000.0),), ("123456", ("120000 to 130000",), 0)),
    ],
)
def test_numbers_are_rounded_by_their_intervals(
    value: float | None, intervals: tuple[tuple[float, float] | None, ...], told: tuple[object, ...]
):
    assert tuple(rounded(value, *intervals)) == told


def test_all_numbers_of_phases_that_were_tried_are_told(make_fit: MakeFit, volumes):
    fit = make_fit(2, bic={1: 30_500.2, 2: 20_000.4, 3: 20_010.0})
    said = "BIC of 1 to 3 phases: 30,500, 20,000, 20,010; lowest for 2."
    assert tried_phases(fit) == said
    assert said in page(fit, volumes[2], {})


def test_a_share_that_may_be_any_is_told_in_the_verdict(make_fit: MakeFit):
    wide = {"volume_fractions": [(0.20, 0.22), (0.2, 0.5), (0.3, 0.6)]}
    said = verdict(make_fit(3, confidence=wide, goodness_of_fit=0.001))
    assert said.level == "fair"
    assert "the numbers of phases 1 and 2 are not determined" in said.headline
    assert undetermined_words([2])[0].startswith("The numbers of phase 2 are not determined: ")
