"""Thicknesses: outliers, the gamma distribution, files, even slices."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bimmjax import InputError
from bimmjax.fib import even_thickness, fit_gamma, read_thickness
from bimmjax.fib._thickness.result import find_outliers, finished
from bimmjax.sim import draw_thickness


@settings(max_examples=25, deadline=None)
@given(shape=st.floats(0.3, 300.0), scale=st.floats(1e-3, 1e3), count=st.integers(5, 400))
def test_gamma_is_scipys(shape: float, scale: float, count: int):
    values = np.random.default_rng(count).gamma(shape, scale, count) + 1e-9 * scale
    ours = fit_gamma(values)
    theirs = scipy.stats.gamma.fit(values, floc=0)
    np.testing.assert_allclose(ours, (theirs[0], theirs[2]), rtol=1e-4)


def test_gamma_of_the_article_comes_back():
    shape, scale = fit_gamma(draw_thickness(jax.random.key(1), 20000))
    assert shape == pytest.approx((10.16 / 3.12) ** 2, rel=0.03)
    assert shape * scale == pytest.approx(10.16, rel=0.01)


def test_gamma_of_even_slices_is_infinitely_narrow():
    assert fit_gamma([7.0, 7.0, 7.0]) == (math.inf, 0.0)
    assert fit_gamma([7.0]) == (math.inf, 0.0)


def test_good_slices_stay_and_the_articles_rule_drops_an_eighth():
    thickness = draw_thickness(jax.random.key(2), 4000)
    none = np.full(thickness.size, np.nan)
    assert find_outliers(thickness, none, "robust", 4.0).mean() < 0.001
    dropped = find_outliers(thickness, none, "article", 1.5)
    assert 0.11 < dropped.mean() < 0.15
    assert thickness[~dropped].std() < 0.75 * thickness.std()


def test_outliers_are_found_and_filled_by_good_neighbours():
    measured = draw_thickness(jax.random.key(3), 60)
    std = np.full(60, 0.1)
    bad = {5: 90.0, 20: -3.0, 21: np.nan, 59: 0.0, 40: 10.0}
    for i, value in bad.items():
        measured[i] = value
    std[40] = 20.0
    found = finished(measured, std, "images", "robust", 4.0, "nothing")
    np.testing.assert_array_equal(np.flatnonzero(found.outliers), sorted(bad))
    assert (found.thickness > 0).all()
    assert found.thickness[20] == np.median(measured[[18, 19, 22, 23]])
    assert found.thickness[59] == np.median(measured[[57, 58]])
    np.testing.assert_array_equal(found.measured, measured)
    good = np.delete(measured, sorted(bad))
    assert found.gamma == fit_gamma(good)
    assert found.positions[0] == 0.0
    np.testing.assert_allclose(np.diff(found.positions), found.thickness)


def test_even_slices_are_no_outliers():
    found = finished(np.full(9, 3.0), np.full(9, np.nan), "ruler", "robust", 4.0, "nothing")
    assert not found.outliers.any()
    assert even_thickness(10, 3.0).positions[-1] == pytest.approx(27.0)
    assert even_thickness(10, 3.0).source == "even"


@pytest.mark.parametrize(
    "text",
    [
        "10\n9.5\n# a remark\n\n12\n",
        "thickness\n10\n9.5\n12",
        "slice;Thickness (nm)\n1;10\n2;9.5\n3;12\n",
        "slice,position_nm\n0,5\n1,15\n2,24.5\n3,36.5\n",
        "slice z\n0 0\n1 10\n2 19.5\n3 31.5\n",
        "slice z (nm)\n0 0\n1 10\n2 19.5\n3 31.5\n",
        "slice thickness\n10\n9.5\n12",
        "no,slice thickness (nm)\n1,10\n2,9.5\n3,12",
        "\ufeffz\r\n0\r\n10\r\n19.5\r\n31.5\r\n",
        json.dumps([10, 9.5, 12]),
    ],
)
def test_files(tmp_path: Path, text: str):
    path = tmp_path / "thickness.txt"
    path.write_text(text, encoding="utf-8")
    found = read_thickness(path, slices=4)
    np.testing.assert_allclose(found.thickness, [10.0, 9.5, 12.0])
    assert found.source == "file"
    assert not found.outliers.any()
    assert np.isnan(found.std).all()


@pytest.mark.parametrize(
    ("name", "unit", "factor"),
    [
        ("thickness (um)", "nm", 1e3),
        ("thickness [µm]", "nm", 1e3),
        ("slice thickness (nm)", "um", 1e-3),
        ("thickness_mm", "micrometer", 1e3),
        ("thickness nm", "nm", 1.0),
        ("thickness (px)", "voxel", 1.0),
        ("thickness", "nm", 1.0),
        ("thickness (um)", None, 1.0),
        ("thickness (um)", "unit", 1.0),
    ],
)
def test_units_are_those_that_are_wanted(
    tmp_path: Path, name: str, unit: str | None, factor: float
):
    path = tmp_path / "thickness.txt"
    path.write_text(f"{name}\n0.010\n0.012\n", encoding="utf-8")
    found = read_thickness(path, unit=unit)
    np.testing.assert_allclose(found.thickness, [0.010 * factor, 0.012 * factor], rtol=1e-12)
    np.testing.assert_array_equal(found.measured, found.thickness)
    assert found.gamma[0] * found.gamma[1] == pytest.approx(0.011 * factor)


@pytest.mark.parametrize(
    ("text", "unit", "message"),
    [
        ("thickness (um)\n1\n2\n", "voxel", "path: got um in .*, wants voxel"),
        ("thickness (px)\n1\n2\n", "nm", "path: got voxel in .*, wants nm"),
        ("thickness (parsec)\n1\n2\n", "nm", "got 'thickness .parsec.' at line 1"),
        ("1\n2\n", "parsec", "unit: got 'parsec', wants one of"),
    ],
)
def test_units_that_do_not_fit(tmp_path: Path, text: str, unit: str, message: str):
    path = tmp_path / "thickness.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_thickness(path, unit=unit)


@pytest.mark.parametrize("slices", ["3", 0, 1, 2.5])
def test_slices_are_a_whole_number(tmp_path: Path, slices: object):
    path = tmp_path / "thickness.txt"
    path.write_text("1\n2\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"slices: got .*, wants a whole number from 2"):
        read_thickness(path, slices=slices)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "without a number"),
        ("thickness\n", "without a number"),
        ("10\nten\n", "got 'ten' at line 2"),
        ("10\nnan\n", "got 'nan' at line 2"),
        ("10\n0\n", "got 0 at line 2 of .*wants a thickness above 0"),
        ("10\n-2\n", "got -2 at line 2"),
        ("z\n0\n10\n10\n", "got 10 at line 4 of .*wants positions that ascend"),
        ("z\n10\n", "single position"),
        ("slice,depth\n1,2\n", "wants numbers, or a header with"),
        ("1,10\n2,9\n", "2 columns and no header"),
        ("slice z of it\n1 10\n2 19\n", "wants numbers, or a header with"),
        ("std of thickness\n1\n", "wants numbers, or a header with"),
        ("a,thickness\n1\n", "got '' at line 2"),
        (
            "10\n9\n11\n400\n",
            "path: got 400 as thickness 4 of 4 in .*, wants at most 20 times the median",
        ),
        ("10\n9\n", "with 2 thicknesses, wants 3 for 4 slices"),
        ("z\n10\n19\n", "with 2 positions, wants 4 for 4 slices"),
        ("[1, null]", "got None at item 2"),
        ("[1, ", "is no JSON"),
        ('{"a": 1}', "JSON dict, wants a list"),
    ],
)
def test_bad_files(tmp_path: Path, text: str, message: str):
    path = tmp_path / "thickness.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message) as told:
        read_thickness(path, slices=4)
    said = str(told.value)
    assert "\n" not in said
    assert said.startswith("path: got ")
    assert ", wants " in said
    assert said.count("path:") == 1


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(InputError, match="does not exist"):
        read_thickness(tmp_path / "none.csv")
    with pytest.raises(InputError, match="path: got"):
        read_thickness(tmp_path)
    (tmp_path / "image").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="is not text"):
        read_thickness(tmp_path / "image")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: even_thickness(1, 10.0), "count: got 1"),
        (lambda: even_thickness(4, 0.0), "value: got 0"),
        (lambda: even_thickness(4, math.nan), "value: got nan"),
        (lambda: fit_gamma([]), "thickness: got an array of shape"),
        (lambda: fit_gamma([1.0, -1.0]), "got -1 as thickness 2 of 2"),
        (lambda: fit_gamma("thick"), "thickness: got 'thick'"),
        (lambda: finished(np.array([-1.0, np.nan]), np.zeros(2), "ruler", "robust", 4.0, "no"),
         "no"),
    ],
)  # fmt: skip
def test_refusals(call: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        call()
