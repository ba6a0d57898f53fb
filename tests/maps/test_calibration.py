"""The stand-in's truth against marching cubes, and calibrated errors against real ones."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from bimmjax import sim
from bimmjax.fitting._local import local_model
from bimmjax.maps import _calibration
from bimmjax.maps._calibration import UNCALIBRATED, calibrate
from bimmjax.maps._fitting import Fitter
from bimmjax.maps._stand_in import stand_in
from bimmjax.models import Params, bimm2d
from bimmjax.properties import properties
from bimmjax.volumes import open_volume
from bimmjax.volumes._grid import choose_grid


def params_of(phases: int, **options: float) -> Params:
    pairs = phases * (phases - 1) // 2
    told = bimm2d.init(
        np.linspace(50, 150, phases),
        options.get("noise", 10.0),
        correlation=options.get("correlation", 0.0),
        blur_std=options.get("blur", 1.2),
        interface_halfwidth=2.5,
        interior_weights=np.linspace(0.6, 0.3, phases) / 1.2,
        interface_weights=np.full(pairs, 0.45 / pairs),
    )
    told = told._replace(
        interface_tilt=np.zeros(pairs, np.float32), interface_bend=np.zeros(pairs, np.float32)
    )
    return jax.tree.map(np.asarray, told)


@pytest.mark.parametrize("phases", [2, 3])
def test_the_stand_in_has_the_truth_that_it_tells(phases: int):
    params = params_of(phases, correlation=0.2)
    key = jax.random.key(3)
    made = stand_in(key, params, blocks=(3, 4, 5), edge=24)
    shape = (72, 96, 120)
    assert made.image.shape == shape
    assert made.volume_fractions.shape == (60, phases)
    wanted = np.asarray(properties(params, 1.0).volume_fractions, float)
    np.testing.assert_allclose(made.volume_fractions.mean(0), wanted, atol=2e-3)
    np.testing.assert_allclose(made.volume_fractions.sum(1), 1.0, atol=1e-6)

    # The same structure again, measured on its surfaces.
    areas = np.asarray(properties(params, 1.0).interface_areas)
    length = sim.expected_interface_areas(wanted, 1.0).sum() / areas.sum()
    structure_key, _ = jax.random.split(key)
    structure = sim.gaussian_structure(structure_key, shape, wanted.tolist(), float(length))
    np.testing.assert_allclose(
        made.interface_areas.mean(0), sim.interface_areas(structure), rtol=0.02
    )
    labels = np.asarray(sim.structure_labels(structure))
    cut = labels.reshape(3, 24, 4, 24, 5, 24)
    for i in range(phases):
        share = (cut == i).mean((1, 3, 5)).ravel()
        np.testing.assert_allclose(made.volume_fractions[:, i], share, atol=1e-6)
    # One block by itself, its surface without that of the neighbours.
    fields = np.asarray(structure.fields)[:, :25, :25, :25]
    corner = sim.interface_areas(structure._replace(fields=fields), periodic=False)
    np.testing.assert_allclose(made.interface_areas[0].sum(), corner.sum(), rtol=0.05)
    # It has the noise that it was asked for.
    flat = made.image[labels == 0]
    assert np.quantile(flat, 0.1) < 50 < np.quantile(flat, 0.6)


def test_extremes_of_stand_ins():
    params = params_of(2)
    rare = params._replace(interior_weights=np.array([0.0, 1.0]), interface_weights=np.array([0.0]))
    made = stand_in(jax.random.key(0), rare, blocks=(2, 2, 2), edge=16, step=1.0)
    assert np.isfinite(made.image).all()
    np.testing.assert_array_equal(made.image, np.rint(made.image))
    assert 0 < made.volume_fractions[:, 0].mean() < 0.01
    per_phase = params._replace(noise_std=np.array([4.0, 12.0]))
    both = stand_in(jax.random.key(0), per_phase, blocks=(2, 2, 2), edge=24)
    assert both.image.std() > 10


def test_errors_agree_with_the_scatter_about_the_truth(monkeypatch: pytest.MonkeyPatch):
    """Learnt on 6³ blocks of 24³ voxels, judged on as many of another volume."""
    monkeypatch.setattr(_calibration, "_BLOCKS", 216)
    params = params_of(2, correlation=0.1)
    one = stand_in(jax.random.key(100), params, blocks=(6, 6, 6), edge=24)
    grid = choose_grid(open_volume(one.image))
    local = local_model(params, grid, gradient="central_difference", free="all")
    fitter = Fitter(local, params, 1.0, size=108)
    learnt = calibrate(fitter, params, grid, edge=24, spacing=1.0, seed=0)
    assert (learnt.blocks, learnt.edge) == (216, 24)
    assert 0 <= learnt.misplaced < 0.05
    found = _calibration._fit(one, fitter, grid, 24)
    assert found.converged.mean() > 0.99
    good = found.converged
    values, raw = fitter.columns(found)
    errors = learnt.errors(values, raw, fitter.widths)
    truth = _calibration._truth(one, params, 1.0)
    assert set(truth) <= set(values)
    ratios = {}
    for name in truth:
        off = (values[name] - truth[name])[good]
        ratios[name] = float(np.sqrt(np.mean(off**2) / np.mean(errors[name][good] ** 2)))
    print(ratios)
    # 216 blocks tell a spread to 5 %, twice.
    for name in ("volume_fraction_0", "volume_fraction_1", "interface_area_0-1", "blur_std"):
        assert 0.8 < ratios[name] < 1.2, ratios
    for name in ("noise_std", "correlation", "intensity_0", "intensity_1", "resolution_10_90"):
        assert 0.7 < ratios[name] < 1.4, ratios
    # It was needed, and does not go beyond what it explains.
    plain = UNCALIBRATED.errors(values, raw, fitter.widths)
    off = (values["volume_fraction_0"] - truth["volume_fraction_0"])[good]
    assert np.mean(off**2) > 1.5 * np.mean(plain["volume_fraction_0"][good] ** 2)
    np.testing.assert_allclose(plain["blur_std"], raw["blur_std"], rtol=1e-6)
    same = calibrate(fitter, params, grid, edge=24, spacing=1.0, seed=0)
    assert same == learnt


def test_terms_are_found_again_in_drawn_errors():
    random = np.random.default_rng(0)
    table = np.stack([random.gamma(4, 1e-6, 4000), random.gamma(9, 0.01, 4000), np.ones(4000)], 1)
    for terms in ([1.0, 0.0, 0.0], [0.0, 1e-4, 0.0], [2.0, 3e-5, 1e-6]):
        variance = table @ np.array(terms)
        squares = variance * random.normal(size=4000) ** 2
        squares[:8] *= 1e4  # went astray
        found = _calibration._explain(squares, table)
        ratio = (table @ np.array(found)) / variance
        assert np.abs(np.log(ratio)).max() < 0.7
        assert abs(np.log(ratio)).mean() < 0.2
        assert min(found) >= 0
