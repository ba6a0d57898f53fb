"""Electrons through voxels: against small steps in NumPy, formulas, limits and each other."""

import jax
import numpy as np
import pytest

from bimmjax import InputError
from bimmjax.sim import MonteCarlo, Window, backscatter_coefficient, monte_carlo
from bimmjax.sim._electrons import bulk as electrons
from bimmjax.sim._electrons import montecarlo
from bimmjax.sim._electrons.materials import known_material

# One shape, number of lanes, of materials and of windows: compiled once for most of what follows.
SHAPE = (8, 2, 2)
ALL = Window()
NEAR, FAR = Window(angles=(0.0, 30.0)), Window(angles=(30.0, 180.0))


def _seen(labels: np.ndarray, names: tuple[str, str], energy: float, **more) -> MonteCarlo:
    settings = {"spacing": 3.0, "electrons": 1000, "windows": (ALL, NEAR, FAR), "lanes": 256}
    return monte_carlo(jax.random.key(7), labels, names, energy, **{**settings, **more})


def _bulk(name: str, energy: float, **more) -> MonteCarlo:
    return _seen(np.ones(SHAPE, np.uint8), (name, name), energy, **more)


def _share(seen: MonteCarlo) -> float:
    return seen.backscattered / seen.electrons


def _small_steps(
    labels: np.ndarray, names: tuple[str, str], energy: float, tilt: float, sent: int, step: float
) -> tuple[np.ndarray, ...]:
    """Pixels, energies, angles of those that come back; voxels of 1 nm, plain float64 laws."""
    random = np.random.default_rng(0)
    shape = np.array(labels.shape)
    used = [known_material("materials", name) for name in names]
    pixel = np.tile(np.arange(shape[1] * shape[2]), sent)
    n = pixel.size
    place = np.zeros((n, 3))
    place[:, 1:] = np.stack(divmod(pixel, shape[2]), axis=1) + random.random((n, 2))
    beam = np.array([np.cos(np.radians(tilt)), np.sin(np.radians(tilt)), 0.0])
    way, left, energies = np.tile(beam, (n, 1)), random.exponential(size=n), np.full(n, energy)
    out = []
    while pixel.size:
        within = np.floor(place).astype(int) % (2 * shape)
        z, y, x = np.minimum(within, 2 * shape - 1 - within).T
        label = labels[z, y, x]
        free, slowing = np.zeros(label.size), np.zeros(label.size)
        for at, material in enumerate(used):
            for number, _ in material.elements:
                atoms = electrons.atoms_per_volume(material, number)
                rate = atoms * electrons.browning_cross_section(number, energies)
                free += np.where(label == at, rate, 0.0)
            if material.elements:
                lost = electrons.stopping_power(material, energies)
                slowing += np.where(label == at, lost, 0.0)
        length = np.minimum(step, left / np.maximum(free, 1e-9))
        collides = length < step
        place = place + length[:, None] * way
        energies, left = energies - length * slowing, left - length * free
        gone = place[:, 0] < 0.0
        angle = np.degrees(np.arccos(np.clip(-way[gone] @ beam, -1.0, 1.0)))
        out.append((pixel[gone], energies[gone], angle))
        stays = ~gone & (energies > 0.05) & (place[:, 0] < 80.0)
        place, way, left, energies, pixel, collides = (
            part[stays] for part in (place, way, left, energies, pixel, collides)
        )
        number = 79  # single elements only
        half = random.random(pixel.size)
        alpha, peak = 7e-3 / energies, random.random(pixel.size)
        forward = peak < electrons.browning_rutherford_share(number, energies)
        half = np.where(forward, alpha * half / (1 + alpha - half), half)
        turn = 2 * np.pi * random.random(pixel.size)
        other = np.where(np.abs(way[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
        first = np.cross(way, other)
        first /= np.linalg.norm(first, axis=1, keepdims=True)
        second = np.cross(way, first)
        sin = 2 * np.sqrt(half * (1 - half))
        bent = (1 - 2 * half)[:, None] * way + (sin * np.cos(turn))[:, None] * first
        bent += (sin * np.sin(turn))[:, None] * second
        way = np.where(collides[:, None], bent, way)
        left = np.where(collides, random.exponential(size=pixel.size), left)
    pixels, after, angles = (np.concatenate(part) for part in zip(*out, strict=True))
    return pixels, after, angles


@pytest.mark.parametrize("tilt", [0.0, 52.0])
def test_voxels_against_small_steps(tilt: float):
    labels = np.zeros(SHAPE, np.uint8)
    labels[:3, 0, 0] = labels[1:, 0, 1] = labels[4:, 1, :] = labels[0, 1, 1] = 1
    sent = 4000
    names = ("vacuum", "gold")
    seen = _seen(labels, names, 1.0, spacing=1.0, tilt=tilt, electrons=sent)
    pixels, energies, angles = _small_steps(labels, names, 1.0, tilt, sent // 2, 0.1)
    for image, chosen in zip(
        seen.images.reshape(3, 4), (angles >= 0, angles < 30, angles >= 30), strict=True
    ):
        wants = np.bincount(pixels[chosen], minlength=4) / (sent // 2)
        error = np.sqrt(wants * (1 - wants) / sent * 3)
        assert np.all(np.abs(image - wants) < 4.0 * error)
        assert abs(np.sum(image - wants)) < 3.5 * np.linalg.norm(error)
    # The pixels differ, so that mixing them up would show.
    assert np.ptp(np.bincount(pixels)) > 0.05 * sent
    mean = seen.energy_out / seen.backscattered
    assert mean == pytest.approx(energies.mean(), rel=0.03)
    assert seen.truncated == 0


@pytest.mark.numerics
@pytest.mark.parametrize(
    ("name", "z", "energy", "most", "electrons"),
    [
        ("gold", 79, 1.0, 0.15, 1000),
        ("gold", 79, 2.0, 0.15, 1000),
        ("gold", 79, 4.0, 0.15, 1000),
        ("gold", 79, 20.0, 0.15, 1000),
        ("copper", 29, 20.0, 0.15, 1500),
        ("silicon", 14, 20.0, 0.15, 2500),
        ("carbon", 6, 20.0, 0.2, 5000),
    ],
)
def test_coefficient_and_books_of_a_bulk(
    name: str, z: int, energy: float, most: float, electrons: int
):
    seen = _bulk(name, energy, electrons=electrons)
    assert _share(seen) == pytest.approx(backscatter_coefficient(z, energy), rel=most)
    assert seen.electrons == 4 * electrons == seen.backscattered + seen.absorbed + seen.truncated
    assert seen.truncated == 0
    assert seen.energy_in == pytest.approx(4 * electrons * energy)
    told = seen.energy_out + seen.energy_left + seen.energy_lost
    assert told == pytest.approx(seen.energy_in, rel=1e-5)
    assert seen.images[0].sum() * electrons == pytest.approx(seen.backscattered, abs=0.01)


def test_a_bulk_has_no_size():
    # Voxels cut its flights, and no more: the same electrons come back but for rounding.
    shares = [_share(_bulk("gold", 1.0, spacing=s)) for s in (0.5, (50.0, 3.0, 1e4), 9e5)]
    np.testing.assert_allclose(shares, shares[0], rtol=0.01)
    shares = [_share(_bulk("silicon", 20.0, spacing=s, electrons=500)) for s in (10.0, 1e5)]
    np.testing.assert_allclose(shares, shares[0], rtol=0.03)


def test_tilted_bulks():
    upright = _share(_bulk("gold", 2.0, electrons=4000))
    for tilt in (30.0, 52.0):
        wants = 0.89 * (upright / 0.89) ** np.cos(np.radians(tilt))
        assert _share(_bulk("gold", 2.0, electrons=4000, tilt=tilt)) == pytest.approx(wants, 0.06)


def test_windows_part_what_comes_back():
    seen = _bulk("gold", 2.0, electrons=4000)
    every, near, far = seen.images * 4000
    np.testing.assert_allclose(every, near + far, atol=0.01)
    # Lambert's law, nearly: sin² of the angle is even.
    assert near.sum() / every.sum() == pytest.approx(0.25, abs=0.06)
    parts = (ALL, Window(energies=(0.0, 1.2)), Window(energies=(1.2, 30.0)))
    every, slow, fast = _bulk("gold", 2.0, electrons=4000, windows=parts).images * 4000
    np.testing.assert_allclose(every, slow + fast, atol=0.01)
    assert 0 < slow.sum() < fast.sum()  # gold turns electrons around before they are slow


def test_images_depend_on_the_key_alone(monkeypatch: pytest.MonkeyPatch):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:, :, 1] = 1
    first = _seen(labels, ("epoxy", "gold"), 1.0)
    told = []
    # In goes, with fewer lanes, and on one device, which takes threads of the host if it is a CPU.
    one = jax.local_devices()[:1]
    with monkeypatch.context() as patch:
        patch.setattr(montecarlo, "_AT_ONCE", 500)
        patch.setattr(montecarlo, "host_threads", lambda: 3)
        patch.setattr(jax, "local_devices", lambda: one)
        again = _seen(
            labels, ("epoxy", "gold"), 1.0, lanes=128, progress=lambda *now: told.append(now)
        )
    np.testing.assert_array_equal(first.images, again.images)
    assert told == [(1500, 4000), (3000, 4000), (4000, 4000)]
    settings = {"spacing": 3.0, "electrons": 1000, "windows": (ALL, NEAR, FAR), "lanes": 256}
    other = monte_carlo(jax.random.key(8), labels, ["epoxy", "gold"], 1.0, **settings)
    assert np.any(other.images != first.images)
    np.testing.assert_allclose(other.images[0], first.images[0], atol=0.08)


def test_electrons_of_a_cap_are_counted():
    seen = _bulk("gold", 2.0, cap=16)
    assert 0.2 < seen.truncated / seen.electrons < 0.99
    assert seen.electrons == seen.backscattered + seen.absorbed + seen.truncated
    told = seen.energy_out + seen.energy_left + seen.energy_lost
    assert told == pytest.approx(seen.energy_in, rel=1e-5)
    assert seen.images[0].sum() * 1000 == pytest.approx(seen.backscattered, abs=0.01)
    assert seen.backscattered < _bulk("gold", 2.0).backscattered


@pytest.mark.numerics
def test_vacuum_above_gold():
    even = np.zeros(SHAPE, np.uint8)
    even[5:] = 1
    names = ("vacuum", "gold")
    bulk = _share(_bulk("gold", 2.0, electrons=2000))
    # An even gap takes nothing away.
    assert _share(_seen(even, names, 2.0, electrons=2000)) == pytest.approx(bulk, rel=0.06)
    # A shaft takes the more, the deeper it is.
    pixels = []
    for depth in (1, 3, 7):
        labels = np.ones(SHAPE, np.uint8)
        labels[:depth, 0, 0] = 0
        seen = _seen(labels, names, 2.0, spacing=10.0, electrons=2000).images[0]
        pixels.append(seen[0, 0])
        assert seen[1, 1] > 1.2 * pixels[-1]
    assert pixels[0] > 1.2 * pixels[1] > 1.44 * pixels[2]


def test_slices_above_the_surface_are_gone():
    random = np.random.default_rng(1)
    labels = random.integers(0, 2, SHAPE).astype(np.uint8)
    other = labels.copy()
    other[:2] = 1 - other[:2]
    seen, same = (_seen(x, ("epoxy", "gold"), 1.0, surface=2) for x in (labels, other))
    # Some fly deep enough to see them in the mirror, and shares of flights are rounded.
    np.testing.assert_allclose(seen.images, same.images, atol=0.01)
    moved = _seen(np.roll(labels, -2, axis=0), ("epoxy", "gold"), 1.0)
    np.testing.assert_allclose(seen.images, moved.images, atol=0.01)


def test_turned_volumes_give_turned_images():
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, 0, 0] = labels[3:] = labels[1:, 0, 1] = 1
    names = ("epoxy", "gold")
    seen = _seen(labels, names, 1.0, electrons=4000).images[0]
    assert seen[0, 0] > 1.1 * seen[0, 1] > 1.21 * seen[1, 1]
    for turn in (
        lambda x: x[..., ::-1],
        lambda x: x[..., ::-1, :],
        lambda x: np.swapaxes(x, -1, -2),
    ):
        turned = _seen(turn(labels), names, 1.0, electrons=4000).images[0]
        np.testing.assert_allclose(turned, turn(seen), atol=4.5 * np.sqrt(0.5 / 4000))


GOLD = np.zeros((1, 1, 1), np.uint8)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"labels": np.zeros((2, 2), np.uint8)}, "labels: got an array of shape \\(2, 2\\)"),
        ({"labels": np.zeros((0, 2, 2), np.uint8)}, "labels: got an array of shape"),
        ({"labels": np.zeros((1, 1, 1))}, "labels: got float64, wants whole numbers"),
        ({"labels": GOLD + 2}, "materials: got 1 for labels 2 to 2, wants one for each"),
        ({"labels": np.full((1, 1, 1), -1)}, "materials: got 1 for labels -1 to -1"),
        ({"labels": np.full((1, 1, 1), 256), "materials": ["gold"] * 300}, "got 300 .*at most 256"),
        ({"materials": ["golb"]}, "materials: got 'golb', wants one of vacuum"),
        ({"materials": ["vacuum"]}, "materials: got vacuum only"),
        ({"energy": 0.4}, "energy: got 0.4, wants a number from 0.5 to 30"),
        ({"energy": 31}, "energy: got 31, wants"),
        ({"energy": np.nan}, "energy: got nan, wants"),
        ({"energy": "2"}, "energy: got '2', wants"),
        ({"tilt": 53.0}, "tilt: got 53.0, wants a number from 0 to 52"),
        ({"tilt": -1.0}, "tilt: got -1.0, wants"),
        ({"spacing": 0.0}, "spacing: got 0.0, wants one positive number"),
        ({"spacing": (1.0, 2.0)}, "spacing: got \\(1.0, 2.0\\), wants one positive number"),
        ({"spacing": np.inf}, "spacing: got inf, wants one positive number"),
        ({"spacing": "wide"}, "spacing: got 'wide', wants one positive number"),
        ({"surface": 1}, "surface: got 1, wants a whole number from 0 to 0"),
        ({"electrons": 0}, "electrons: got 0, wants"),
        ({"electrons": 1.5}, "electrons: got 1.5, wants"),
        ({"cap": 0}, "cap: got 0, wants"),
        ({"lanes": 0}, "lanes: got 0, wants"),
        ({"windows": ()}, "windows: got none, wants at least one"),
        ({"windows": ALL}, "windows: got .* wants pairs"),
        ({"windows": (Window((2.0, 1.0)),)}, "windows: got .* wants pairs"),
        ({"windows": (Window(angles=(0.0, 190.0)),)}, "windows: got .* wants pairs"),
        ({"windows": (Window((0.0, np.nan)),)}, "windows: got .* wants pairs"),
        ({"key": 0}, "key: got 0, wants one random key"),
        ({"model": "bethe"}, "model: got 'bethe', wants one of"),
        ({"model": "mott"}, "mott: got None with the model mott"),
    ],
)
def test_bad_input_is_refused(wrong: dict, told: str):
    good = {"key": jax.random.key(0), "labels": GOLD, "materials": ["gold"], "energy": 2.0}
    with pytest.raises(InputError, match=told) as refusal:
        monte_carlo(**{**good, "spacing": 3.0, **wrong})
    assert "\n" not in str(refusal.value)
