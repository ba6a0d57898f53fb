import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bimmjax._core.checks import InputError
from bimmjax.sim import (
    MATERIALS,
    ShineThrough,
    backscatter_images,
    backscatter_volume,
    levelled_wave,
    monte_carlo,
    shine_through_model,
    structure_labels,
)
from bimmjax.sim._electrons.bulk import bulk_backscatter, electron_range
from bimmjax.sim._lateral import blurred, width_of
from bimmjax.sim._shine.calibrate import Pair, fit_shine_through
from bimmjax.volumes import Volume, open_volume

GOLD = [MATERIALS["epoxy"], MATERIALS["gold"]]


def wave(shape, solid=0.3, wavelength=12.0, seed=0):
    body = levelled_wave(jax.random.key(seed), shape, solid, wavelength)
    return np.asarray(structure_labels(body))


@pytest.mark.numerics
@pytest.mark.parametrize("std", [0.4, 1.3, 3.0, 11.0])
def test_blur_is_a_gaussian_with_mirrored_sides(std):
    # 43 and 50 are no whole multiples of the cells of a coarser grid.
    plane = np.asarray(jax.random.normal(jax.random.key(1), (2, 43, 50)))
    plane = gaussian_filter(plane, (0, 1.5, 1.5), mode="reflect")
    widths = width_of(std), width_of(std)
    got = blurred(jnp.asarray(plane), jnp.full(2, std**2), *widths)
    want = gaussian_filter(plane, (0, std, std), mode="reflect", truncate=6)
    inner = slice(None), slice(4, -8), slice(4, -8)
    assert np.abs(got - want)[inner].max() < 0.03 * np.abs(plane).max()
    assert np.abs(got - want).max() < 0.1 * np.abs(plane).max()


@pytest.mark.filterwarnings("ignore:labels. got 30 slices")
@pytest.mark.parametrize("spacing", [0.4, 2.0])
def test_the_beam_widens_on_its_way_to_an_edge(spacing):
    # Ways out go straight up, and nothing but the edge scatters.
    model = ShineThrough(0.2, 1.5, 1.0, 1.0, 1e-3, 1e-3, 1.0, 1e9, 0.5)
    labels = np.zeros((30, 4, 200), np.uint8)
    labels[10, :, :100] = 1
    images = backscatter_images(labels, ["vacuum", "gold"], 2.0, spacing=spacing, model=model)
    rise = -np.diff(np.asarray(images[:, 2], np.float64), axis=1)
    at = np.arange(rise.shape[1]) - 99
    variance = (rise * at**2).sum(1)[:10] / rise.sum(1)[:10]
    assert np.allclose(-np.diff(variance), model.spread * spacing / spacing**2, rtol=0.02)


@pytest.mark.numerics
def test_a_bulk_has_the_coefficient_that_its_numbers_give():
    energy = 2.0
    model = shine_through_model(GOLD, energy)
    labels = np.ones((60, 8, 8), np.uint8)
    image = backscatter_images(labels, ["epoxy", "gold"], energy, spacing=5.0)[0]
    inward = 1.0 / model.depth
    # In a bulk ways out meet as much everywhere, so no power of a share matters.
    most = max(1.0 / electron_range(m, energy) for m in GOLD)
    gold = 1.0 / electron_range(GOLD[1], energy)
    outward = most / model.exit * (gold / most) ** model.clump
    share = inward * gold / (inward * gold + outward)
    bulk = bulk_backscatter(GOLD[1], energy)
    want = 0.5 * model.emission * (2.0 * bulk) ** model.contrast * share
    assert np.allclose(image, want, rtol=1e-3)


def test_turned_and_mirrored_volumes_give_turned_and_mirrored_images():
    labels = wave((40, 32, 32))
    images = np.asarray(backscatter_images(labels, GOLD, 2.0, spacing=4.0))
    turned = backscatter_images(np.rot90(labels, axes=(1, 2)), GOLD, 2.0, spacing=4.0)
    mirrored = backscatter_images(labels[:, ::-1], GOLD, 2.0, spacing=4.0)
    assert np.abs(turned - np.rot90(images, axes=(1, 2))).max() < 1e-5
    assert np.abs(mirrored - images[:, ::-1]).max() < 1e-5


def test_finer_voxels_of_the_same_bodies_give_much_the_same_image():
    labels = wave((30, 24, 24), wavelength=16.0)
    fine = labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    coarse_image = np.asarray(backscatter_images(labels, GOLD, 4.0, spacing=10.0)[0])
    fine_image = np.asarray(backscatter_images(fine, GOLD, 4.0, spacing=5.0)[0])
    means = fine_image.reshape(24, 2, 24, 2).mean((1, 3))
    assert np.abs(means - coarse_image).mean() < 0.05 * np.ptp(coarse_image)


@pytest.mark.parametrize("pore", ["epoxy", "vacuum"])
def test_what_lies_deeper_is_dimmer_and_shines_through_more_at_higher_voltage(pore):
    labels = np.zeros((150, 16, 16), np.uint8)
    labels[40:] = 1
    with_gold = {}
    for energy in (1.0, 2.0, 4.0):
        images = np.asarray(backscatter_images(labels, [pore, "gold"], energy, spacing=2.0))
        column = images[:41, 8, 8]
        assert np.all(np.diff(column) >= -1e-6)
        with_gold[energy] = column[25] / column[40]
    if pore == "epoxy":
        assert with_gold[1.0] < with_gold[2.0] < with_gold[4.0]


@pytest.mark.parametrize("shape", [(70, 20, 24), (33, 16, 16)])
def test_a_lazy_volume_is_the_same_bit_by_bit_in_any_box(shape):
    labels = wave(shape)
    whole = np.asarray(backscatter_images(labels, GOLD, 2.0, spacing=4.0))
    lazy = backscatter_volume(labels, GOLD, 2.0, spacing=4.0)
    everything = slice(None)
    assert lazy.shape == shape
    # Slabs end at other slices than those of the whole, so sums are taken in another order.
    assert np.abs(lazy.read(everything, everything, everything) - whole).max() < 1e-6
    box = lazy.read(slice(5, 33), slice(3, 9), slice(2, 20))
    assert np.array_equal(box, lazy.read(everything, everything, everything)[5:33, 3:9, 2:20])


def test_materials_that_are_nowhere_change_nothing():
    labels = wave((60, 16, 16))
    two, three = (
        backscatter_images(labels, ["epoxy", "silicon", *more], 1.0, spacing=5.0,
                           model=shine_through_model(GOLD, 1.0))
        for more in ([], ["gold"])
    )  # fmt: skip
    assert np.array_equal(two, three)


@pytest.mark.filterwarnings("ignore:labels. got")
@pytest.mark.parametrize(
    ("pore", "spacing", "energy"), [("epoxy", 0.1, 4.0), ("vacuum", 0.1, 4.0), ("vacuum", 1e3, 0.5)]
)
def test_fine_and_coarse_voxels(pore, spacing, energy):
    labels = wave((8, 8, 8), wavelength=4.0)
    image = np.asarray(backscatter_images(labels, [pore, "gold"], energy, spacing=spacing)[0])
    assert np.all((image >= 0.0) & (image < 1.0))


@pytest.mark.filterwarnings("ignore:labels. got")
@pytest.mark.parametrize("energy", [1.0, 4.0])
def test_a_single_slice_goes_on_as_its_mirror_images(energy):
    one = np.ones((1, 8, 8), np.uint8)
    thin = backscatter_images(one, GOLD, energy, spacing=20.0)[0]
    thick = backscatter_images(np.ones((60, 8, 8), np.uint8), GOLD, energy, spacing=20.0)[0]
    assert np.allclose(thin, thick, rtol=0.01)
    assert np.allclose(thin, bulk_backscatter(GOLD[1], energy), rtol=0.2)


def test_a_tilted_beam_goes_on_in_the_mirror_image():
    labels = wave((40, 24, 16))
    doubled = np.concatenate([labels, labels[:, ::-1]], 1)
    seen = [
        np.asarray(backscatter_images(each, GOLD, 2.0, spacing=5.0, tilt=52.0)[0])
        for each in (labels, doubled)
    ]
    # Only what ways out meet beyond the side, at a coarser grid's rounding, is left.
    assert np.abs(seen[0] - seen[1][:24]).max() < 0.02 * np.ptp(seen[0])


def test_wide_slices_are_read_some_at_a_time():
    wide = np.broadcast_to(np.uint8(1), (64, 8192, 8192))

    def read(z, y, x):
        assert z.stop - z.start <= 16
        raise KeyboardInterrupt

    volume = Volume(wide.shape, np.dtype(np.uint8), read, (5.0,) * 3, "nm", "wide", (16, 64, 64),
                    "simulated")  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        backscatter_volume(volume, GOLD, 2.0).read(slice(0, 1), slice(0, 8), slice(0, 8))


def test_labels_may_be_traced():
    labels = wave((20, 16, 16))

    def images(labels):
        return backscatter_images(labels, GOLD, 1.0, spacing=5.0)

    both = np.stack([labels, labels[:, ::-1]])
    each = np.stack([images(one) for one in both])
    assert np.allclose(jax.jit(jax.vmap(images))(both), each, atol=1e-6)


def test_a_lazy_volume_takes_its_spacing_from_the_source():
    labels = wave((40, 16, 16))
    told = open_volume(labels, spacing=0.005, unit="um")
    lazy = backscatter_volume(told, GOLD, 2.0)
    given = backscatter_volume(labels, GOLD, 2.0, spacing=5.0)
    whole = slice(None), slice(None), slice(None)
    assert np.allclose(lazy.read(*whole), given.read(*whole), atol=1e-6)
    with pytest.raises(InputError, match="spacing: got none"):
        backscatter_volume(labels, GOLD, 2.0)


@pytest.mark.parametrize("tilt", [0.0, 52.0])
def test_images_are_near_those_of_the_monte_carlo(tilt):
    labels = wave((60, 32, 32))
    image = np.asarray(backscatter_images(labels, GOLD, 2.0, spacing=5.0, tilt=tilt)[0])
    seen = monte_carlo(
        jax.random.key(3), labels, GOLD, 2.0, spacing=5.0, tilt=tilt, electrons=400
    ).images[0]
    assert np.corrcoef(image.ravel(), seen.ravel())[0, 1] > (0.95 if tilt == 0.0 else 0.9)
    assert abs(image.mean() / seen.mean() - 1.0) < 0.1


def test_a_calibration_finds_the_model_that_made_the_image():
    true = shine_through_model(GOLD, 1.0)
    labels = wave((12, 24, 24))
    made = backscatter_images(np.repeat(labels, 4, 0), GOLD, 1.0, spacing=5.0, model=true)
    pair = Pair(np.repeat(labels, 4, 0), 5.0, np.asarray(made[0]))
    start = true._replace(depth=1.2 * true.depth, emission=0.9 * true.emission)
    found = fit_shine_through([pair], GOLD, 1.0, 1000, [start], rounds=4)
    far_off = np.asarray(backscatter_images(pair.labels, GOLD, 1.0, spacing=5.0, model=start)[0])
    before = np.sqrt(np.mean((far_off - pair.image) ** 2)) / np.ptp(pair.image)
    assert found.misfit < 0.2 * before


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"materials": ["epoxy"]}, "materials: got 1 for labels 0 to 1"),
        ({"materials": ["epoxy", "unobtainium"]}, "wants one of vacuum, epoxy"),
        ({"energy": 40.0}, "energy: got 40"),
        ({"energy": 0.1}, r"energy: got 0\.1"),
        ({"tilt": 60.0}, "tilt: got 60"),
        ({"materials": ["vacuum", "vacuum"]}, "materials: got nothing but vacuum"),
        ({"model": ShineThrough(*[-1.0] * 9)}, r"model\.depth: got -1"),
        ({"spacing": -1.0}, "spacing: got"),
        ({"labels": np.zeros((4, 4))}, "labels: got an array of shape"),
        ({"labels": np.full((4, 4, 4), np.nan)}, "labels: got float64"),
    ],
)
def test_bad_input_is_told_in_one_line(change, told):
    given = {"labels": wave((40, 16, 16)), "materials": GOLD, "energy": 2.0, "spacing": 5.0}
    given |= change
    with pytest.raises(InputError, match=told):
        backscatter_images(
            given["labels"], given["materials"], given["energy"], spacing=given["spacing"],
            tilt=given.get("tilt", 0.0), model=given.get("model"),
        )  # fmt: skip


def test_shallow_volumes_are_warned_of_with_the_depth():
    with pytest.warns(UserWarning, match=r"come back from 82\.9 nm"):
        backscatter_images(wave((12, 16, 16)), GOLD, 2.0, spacing=2.0)
