"""Pictures: what they must show, checked on the figures themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib import colors
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from bimmjax import InputError, models, plot
from bimmjax.fitting import Fit
from bimmjax.plot import _joint
from bimmjax.plot._expected import arcs, expected
from bimmjax.plot._slices import middle_section
from bimmjax.volumes import Volume, open_volume

MakeFit = Callable[..., Fit]


def _texts(made: Figure) -> str:
    return "\n".join(str(getattr(text, "get_text")()) for text in made.findobj(Text))  # noqa: B009


@pytest.mark.parametrize("model", ["bimm2d", "bimm1d", "pvmm", "gmm"])
def test_components_sum_to_the_model(make_fit: MakeFit, model: str):
    fit = make_fit(3, model)
    shares = expected(fit)
    total = shares.interiors.sum(0) + shares.interfaces.sum(0)
    assert shares.interiors.shape == (3, 128)
    assert shares.interfaces.shape == (0 if model == "gmm" else 3, 128)
    assert total.sum() == pytest.approx(1.0, abs=1e-5)
    if shares.joint is None:
        assert model != "bimm2d"
        family = getattr(models, model)
        edges = fit.histogram.grid.u_edges
        rule = models.gauss_legendre(fit.node_count)
        alone = family.bin_probability(fit.params, np.float32(edges), rule=rule)
        np.testing.assert_allclose(total, alone, atol=1e-5)
    else:
        np.testing.assert_allclose(shares.joint.sum(1), total, atol=1e-6)


def test_the_picture_of_a_true_model_matches_the_volume(make_fit: MakeFit):
    fit = make_fit(2)
    shares = expected(fit)
    observed = fit.histogram.counts / fit.voxels
    assert shares.joint is not None
    assert 0.5 * np.abs(observed - shares.joint).sum() < 0.35


def test_arcs_join_the_phases_and_peak_at_half_the_step(make_fit: MakeFit):
    fit = make_fit(3)
    laws = arcs(fit)
    assert laws.intensity.shape == laws.gradient.shape == (3, 101)
    np.testing.assert_allclose(laws.intensity[1, [0, -1]], [40.0, 190.0], atol=0.1)
    blur_of_gradient = np.sqrt(1.2**2 + 0.2)
    np.testing.assert_allclose(
        laws.gradient[:, 50], np.array([75, 150, 75]) / (blur_of_gradient * np.sqrt(2 * np.pi)),
        rtol=1e-4,
    )  # fmt: skip


def test_plain_arcs_are_the_papers(make_fit: MakeFit):
    laws = arcs(make_fit(2, gradient="plain"))
    assert laws.gradient.max() == pytest.approx(150 / (1.2 * np.sqrt(2 * np.pi)), rel=1e-4)


def test_intensity_draws_every_component_twice(make_fit: MakeFit):
    made = plot.intensity(make_fit(3))
    left, right = made.axes
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    for axes in (left, right):
        assert len(axes.get_lines()) == 3 + 3 + 1
    assert "interface 0-2" in _texts(made)
    assert "grey value" in left.get_xlabel()


def test_joint_has_one_scale_and_a_symmetric_difference(make_fit: MakeFit):
    made = plot.joint(make_fit(2))
    norms: list[Any] = [
        mesh.norm
        for axes in made.axes
        for mesh in axes.collections
        if isinstance(mesh, QuadMesh) and axes.get_title(loc="left")
    ]
    assert len(norms) == 3
    assert all(isinstance(norm, colors.LogNorm) for norm in norms[:2])
    assert (norms[0].vmin, norms[0].vmax) == (norms[1].vmin, norms[1].vmax)
    assert norms[2].vmin == -norms[2].vmax
    assert "voxel" in made.axes[0].get_ylabel()


def test_edge_tells_its_width_in_lengths(make_fit: MakeFit):
    fit = make_fit(2)
    text = _texts(plot.edge(fit))
    width = fit.properties.resolution_10_90
    assert f"10-90 % width: {width:.3f} µm" in text
    assert "1.970 to 2.030" in text


@pytest.mark.parametrize("name", ["joint", "edge"])
def test_pictures_that_a_model_cannot_give_are_refused(make_fit: MakeFit, name: str):
    with pytest.raises(InputError, match="fit: got one of gmm"):
        getattr(plot, name)(make_fit(2, "gmm"))


@pytest.mark.parametrize("name", ["joint", "intensity", "edge"])
def test_a_path_of_fit_json_is_no_fit_to_draw(name: str):
    with pytest.raises(InputError, match="fit: got str, wants the Fit"):
        getattr(plot, name)("fit.json")


def test_a_fit_prints_in_some_lines(make_fit: MakeFit):
    said = repr(make_fit(2, warnings=("Beware.",)))
    assert said.startswith("Fit of bimm2d, 2 phases, lengths in ")
    assert "volume_fractions 0: " in said
    assert said.endswith("\nWarning: Beware.")
    assert len(said) < 1000


def test_one_phase_has_a_joint_picture_without_arcs(make_fit: MakeFit):
    made = plot.joint(make_fit(1))
    assert "phase 0" in _texts(made)


def test_slices_have_one_scale_and_a_bar_with_its_length(volumes: dict[int, Volume]):
    made = plot.slices(volumes[2])
    panels = made.axes[:3]
    inches = [axes.get_position().width * made.get_figwidth() for axes in panels]
    np.testing.assert_allclose(np.array(inches) / inches[0], [1, 1, 44 / 48], rtol=1e-6)
    assert "5 µm" in _texts(made)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_section_is_the_middle_slice(axis: int):
    grey = np.random.default_rng(0).integers(0, 255, (7, 9, 12)).astype(np.uint8)
    section = middle_section(open_volume(grey), axis)
    np.testing.assert_array_equal(section.pixels, grey.take(grey.shape[axis] // 2, axis))
    assert section.size == tuple(n for a, n in enumerate(grey.shape) if a != axis)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_dear_sections_are_read_in_part(monkeypatch: pytest.MonkeyPatch, axis: int):
    grey = np.random.default_rng(0).integers(0, 255, (60, 40, 50)).astype(np.uint8)
    monkeypatch.setattr("bimmjax.plot._slices._BUDGET", 20_000)
    section = middle_section(open_volume(grey), axis)
    assert section.size == tuple(float(n) for a, n in enumerate(grey.shape) if a != axis)
    if axis > 0:
        assert section.pixels.shape[0] < 60
        middle = grey.take(grey.shape[axis] // 2, axis)
        assert all(any((row == other).all() for other in middle) for row in section.pixels)


def test_slices_bear_nan_and_constant_volumes():
    odd = np.ones((8, 9, 10), np.float32)
    odd[4] = np.nan
    for grey in (odd, np.zeros((4, 4, 4), np.uint8), np.full((4, 4, 4), np.nan)):
        made = plot.slices(open_volume(grey))
        made.canvas.draw()


def test_thin_volumes_are_drawn():
    made = plot.slices(open_volume(np.random.default_rng(0).random((3, 300, 200))))
    made.canvas.draw()
    assert made.get_figheight() < 8


def test_ticks_of_one_size_read_alike():
    form = _joint._percent()
    told = [form(x, 0) for x in (-2.5e-5, 0.0, 2.5e-5, 5e-5)]
    assert told == ["−0.0025", "0", "+0.0025", "+0.005"]
