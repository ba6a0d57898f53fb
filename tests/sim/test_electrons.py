"""Formulas of electrons, and the tables and random numbers made from them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import constants, stats

from bimmjax import InputError
from bimmjax.sim import (
    MATERIALS,
    Material,
    backscatter_coefficient,
    electron_range,
    known_material,
    monte_carlo,
)
from bimmjax.sim import _lateral as lateral
from bimmjax.sim._electrons import bulk as electrons
from bimmjax.sim._electrons import scattering, transport
from bimmjax.sim._electrons.montecarlo import _packed

pytestmark = pytest.mark.numerics

_scattered = jax.jit(transport._scattered)
_started = jax.jit(transport._started, static_argnames="shape")
GOLD, EPOXY = MATERIALS["gold"], MATERIALS["epoxy"]


def test_coefficients_of_bulks():
    # Those of the formula as printed in the sources, Hunger and Küchler's.
    for z, energy, wants in (
        (79, 1, 0.436), (79, 2, 0.447), (79, 4, 0.458), (79, 20, 0.484),
        (6, 20, 0.058), (29, 20, 0.302), (14, 20, 0.164),
    ):  # fmt: skip
        assert backscatter_coefficient(z, energy) == pytest.approx(wants, abs=6e-4)
    mixed = electrons.bulk_backscatter(EPOXY, 2.0)
    carbon, oxygen = (backscatter_coefficient(z, 2.0) for z in (6, 8))
    assert mixed == pytest.approx(0.741 * carbon + 0.188 * oxygen)
    assert electrons.bulk_backscatter(MATERIALS["vacuum"], 2.0) == 0.0


def test_ranges():
    for material, wants, part in ((GOLD, (5.8, 18.0, 58.0), 0.03), (EPOXY, (52, 166, 528), 0.01)):
        found = [electron_range(material, energy) for energy in (1.0, 2.0, 4.0)]
        np.testing.assert_allclose(found, wants, rtol=part)
    assert electron_range(MATERIALS["vacuum"], 1.0) == np.inf


def test_formulas_as_they_are_written_down():
    for z, energy in ((79, 2.0), (6, 0.5), (1, 20.0)):
        below = energy + 0.005 * z**1.7 * energy**0.5 + 0.0007 * z**2 / energy**0.5
        assert electrons.browning_cross_section(z, energy) == pytest.approx(3e-4 * z**1.7 / below)
        ratio = 300 * energy ** (1 - z / 2000) / z + z**3 / (3e5 * energy)
        assert electrons.browning_rutherford_share(z, energy) == pytest.approx(ratio / (ratio + 1))
        alpha = 3.4e-3 * z**0.67 / energy
        wide = 5.21e-7 * (z / energy) ** 2 * 4 * np.pi / (alpha * (1 + alpha))
        wide *= ((energy + 511) / (energy + 1022)) ** 2
        assert electrons.rutherford_cross_section(z, energy) == pytest.approx(wide)
    ionising = 9.76 * 79 + 58.5 * 79**-0.19
    inner = 0.731 + 0.0688 * np.log10(79)
    # eV/Å: ten times as many eV/nm, a thousandth of as many keV.
    lost = 785 * 19.3 * 79 / 196.97 / 2000 * np.log(1.166 * (2000 + inner * ionising) / ionising)
    assert electrons.stopping_power(GOLD, 2.0) == pytest.approx(lost / 100)
    # 19.3 g/cm³ of atoms of 196.97 u each.
    assert electrons.atoms_per_volume(GOLD, 79) == pytest.approx(
        19.3e-24 / (196.97 * constants.atomic_mass), rel=1e-6
    )
    assert electrons.atoms_per_volume(GOLD, 6) == 0.0


@pytest.mark.parametrize("name", ["gold", "epoxy", "H2@0.07", "U@19"])
def test_slow_electrons_are_still_slowed(name: str):
    energies = np.geomspace(0.05, 30.0, 200)
    lost = electrons.stopping_power(known_material("solid", name), energies)
    assert np.all(lost > 0)
    # A compound is its elements side by side, each as dense as it is in there.
    material = known_material("solid", name)
    parts = [
        electrons.stopping_power(Material("", ((z, 1.0),), material.density * share), energies)
        for z, share in material.elements
    ]
    np.testing.assert_allclose(lost, np.sum(parts, axis=0), rtol=1e-12)


def test_bins_of_energy():
    edges = scattering._edges(scattering._FINE)
    inside = np.sqrt(edges[1:] * edges[:-1])
    np.testing.assert_array_equal(scattering.fine_bin(jnp.asarray(inside)), np.arange(inside.size))
    slow_and_fast = scattering.fine_bin(jnp.asarray([1e-6, 0.05, 30.0, 40.0]))
    assert slow_and_fast.tolist() == [0, 0, inside.size - 1, inside.size - 1]
    tables = scattering.scattering_tables([EPOXY, GOLD])
    free = np.asarray(tables.free).reshape(2, -1)
    middles = 0.5 * (edges[1:] + edges[:-1])
    atoms = electrons.atoms_per_volume(GOLD, 79)
    wants = atoms * electrons.browning_cross_section(79, middles)
    np.testing.assert_allclose(free[1], wants, rtol=1e-6)
    # Nothing comes back from further than the way that is left, in any of the materials.
    from scipy.integrate import quad

    for energy in (0.5, 2.0, 20.0):
        way, _ = quad(lambda e: 1 / electrons.stopping_power(EPOXY, e), 0.05, energy, limit=200)
        reach = float(tables.reach[scattering.fine_bin(jnp.float32(energy))])
        assert way < reach < 1.1 * way


def _law(material: Material, model: str, energy: float, halves: np.ndarray) -> np.ndarray:
    """Share of collisions below halves of 1 - cos, by the formulas alone."""
    total, below = 0.0, np.zeros_like(halves)
    for z, share in material.elements:
        atoms = share / electrons.atomic_weight(z)
        if model == "browning":
            alpha = 7e-3 / energy
            ratio = 300 * energy ** (1 - z / 2000) / z + z**3 / (3e5 * energy)
            forward = ratio / (1 + ratio)
            rate = atoms * electrons.browning_cross_section(z, energy)
        else:
            alpha, forward = 3.4e-3 * z**0.67 / energy, 1.0
            rate = atoms * electrons.rutherford_cross_section(z, energy)
        peak = halves * (1 + alpha) / (halves + alpha)
        below += rate * (forward * peak + (1 - forward) * halves)
        total += rate
    return below / total


def _drawn(tables: scattering.Tables, energy: float, draws: int = 2**19) -> np.ndarray:
    """Halves of 1 - cos of `draws` angles, evenly from all random bits there are."""
    at = np.arange(draws, dtype=np.uint64)
    bits = (at << np.uint64(13)) + np.uint64(2**12) & ~np.uint64(0xFF) | (at * np.uint64(157) & 255)
    one, zero = jnp.ones(draws, jnp.float32), jnp.zeros(draws, jnp.float32)
    bits = jnp.asarray(bits.astype(np.uint32))
    bent = _scattered((one, zero, zero), bits, zero, zero.astype(int), energy * one, tables)
    np.testing.assert_allclose(sum(np.asarray(b) ** 2 for b in bent), 1.0, atol=1e-5)
    return 0.5 * (1.0 - np.asarray(bent[0], np.float64))


@pytest.mark.parametrize("name", ["gold", "epoxy"])
@pytest.mark.parametrize("model", ["browning", "rutherford"])
def test_angles_follow_the_law(name: str, model: str):
    material = MATERIALS[name]
    tables = scattering.scattering_tables([material], model)
    halves = np.concatenate([[0.0], np.geomspace(1e-9, 1.0, 200_000)])
    middles = 0.5 * (halves[1:] + halves[:-1])
    for energy in (0.06, 0.55, 2.0, 2.1, 20.0, 29.9):
        parts = np.diff(_law(material, model, energy, halves))
        found = _drawn(tables, energy)
        assert found.mean() == pytest.approx(np.sum(parts * middles), rel=5e-3)
        assert (found**2).mean() == pytest.approx(np.sum(parts * middles**2), rel=7e-3)
        for quantile in (0.1, 0.5, 0.9, 0.99):
            drawn = np.quantile(found, quantile)
            assert _law(material, model, energy, np.array([drawn]))[0] == pytest.approx(
                quantile, abs=4e-3
            )


def test_collisions_turn_evenly_around_any_direction():
    tables = scattering.scattering_tables([GOLD])
    keys = jax.random.split(jax.random.key(0), 3)
    n = 2**14
    way = np.array(jax.random.normal(keys[0], (3, n)))
    way[:, :4] = np.eye(3, 4) - np.eye(3, 4, 3)  # the axes; and straight up, where frames turn over
    way[:, 4] = 0, 0, -1.0
    way[:, 3] = -1.0, 0, 0
    way /= np.linalg.norm(way, axis=0)
    bits = jax.random.bits(keys[1], (n,), jnp.uint32)
    directions = tuple(jnp.asarray(w, jnp.float32) for w in way)
    turn = jax.random.uniform(keys[2], (n,), jnp.float32)
    none = jnp.zeros(n, jnp.int32)
    bent = np.array(_scattered(directions, bits, turn, none, jnp.full(n, 2.0, jnp.float32), tables))
    straight = tuple(jnp.full(n, w, jnp.float32) for w in (1.0, 0.0, 0.0))
    same = _scattered(straight, bits, turn, none, jnp.full(n, 2.0, jnp.float32), tables)
    # The angle to the direction before does not depend on that direction.
    np.testing.assert_allclose((bent * way).sum(0), same[0], atol=1e-5)
    away = bent - (bent * way).sum(0) * way
    across = np.cross(way.T, [0.3, -0.5, 0.8]).T
    across /= np.linalg.norm(across, axis=0)
    cosines = (away * across).sum(0) / np.linalg.norm(away, axis=0)
    assert stats.kstest(np.arccos(np.clip(cosines, -1, 1)) / np.pi, "uniform").pvalue > 1e-3


def test_electrons_start_anywhere_in_their_pixel_with_exponential_paths():
    zero = jnp.float32(0.0)
    beam = transport.Beam(
        jnp.float32(2.0), jnp.float32(0.5), jnp.int32(0), jnp.ones(3, jnp.float32), zero,
        jnp.int32(1), jnp.zeros((1, 4), jnp.float32),
    )  # fmt: skip
    words = jax.random.bits(jax.random.key(0), (4,), jnp.uint32)
    number = jnp.arange(2**14, dtype=jnp.uint32)
    made = _started(words, number, number >= 0, jnp.uint32(0), beam, shape=(3, 5))
    assert stats.kstest(np.asarray(made.collide), "expon").pvalue > 1e-3
    _, y, x = (np.asarray(p) for p in made.place)
    pixel = np.asarray(number) % 15
    assert stats.kstest(y - pixel // 5, "uniform").pvalue > 1e-3
    assert stats.kstest(x - pixel % 5, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(y - pixel // 5, x - pixel % 5)[0, 1]) < 0.04
    np.testing.assert_allclose([d[0] for d in made.direction], [np.cos(0.5), np.sin(0.5), 0.0])
    # The third electron of a pixel is the same one, whether others were sent before or with it.
    later = _started(words, number[:15], number[:15] >= 0, jnp.uint32(2), beam, shape=(3, 5))
    for one, other in zip(jax.tree.leaves(later), jax.tree.leaves(made), strict=True):
        np.testing.assert_array_equal(one, other[30:45])
    states = np.stack([np.asarray(s) for s in made.state], axis=1)
    assert np.unique(states, axis=0).shape == states.shape


def test_mirror_images():
    found = lateral.mirrored(jnp.arange(-7, 9), 4)
    padded = np.pad(np.arange(4), (7, 5), mode="symmetric")
    np.testing.assert_array_equal(found, padded)


def test_straight_ways_through_voxels():
    random = np.random.default_rng(2)
    shape, spacing, n = (6, 5, 4), np.array([1.0, 2.0, 0.5]), 64
    labels = (random.random(shape) < 0.3).astype(np.uint8)
    labels[:3, :3, :2] = 0  # so that some flights pass many voxels at once
    voxels = jnp.asarray(_packed(labels).ravel())
    rates = np.array([0.5, 2.0])  # collisions per nm of each label, at any energy
    bins = scattering.scattering_tables([GOLD]).reach.size
    free = jnp.asarray(np.repeat(rates, bins), jnp.float32)
    edges = scattering._edges(scattering._COARSE).size
    tables = scattering.Tables(
        free, jnp.zeros_like(free), jnp.full(bins, np.inf, jnp.float32),
        jnp.ones(2 * edges), jnp.zeros(2 * edges * (scattering.ANGLES + 1)),
    )  # fmt: skip
    beam = transport.Beam(
        jnp.float32(2.0), jnp.float32(0.0), jnp.int32(1), jnp.asarray(spacing, jnp.float32),
        jnp.float32(100.0), jnp.int32(10**6), jnp.zeros((1, 4), jnp.float32),
    )  # fmt: skip
    way = random.normal(size=(3, n))
    way[0] = -np.abs(way[0]) - 0.2  # out at the top, sooner or later
    way /= np.linalg.norm(way, axis=0)
    start = random.uniform(-3.0, 9.0, (3, n))
    start[0] = random.uniform(0.5, 9.0, n)  # below the surface; beyond the bottom, too
    words, number = jnp.zeros(4, jnp.uint32), jnp.arange(n, dtype=jnp.uint32)
    made = _started(words, number, number >= 0, jnp.uint32(0), beam, shape=(5, 4))
    ways = tuple(jnp.asarray(w, jnp.float32) for w in way)
    made = made._replace(
        place=tuple(jnp.asarray(p, jnp.float32) for p in start),
        direction=ways,
        collide=jnp.full(n, 500.0, jnp.float32),
    )
    move = jax.jit(lambda e: transport._moved(e, voxels, shape, tables, beam))
    for _ in range(300):
        made = move(made)
    assert set(np.asarray(made.fate).tolist()) == {transport.OUT}
    np.testing.assert_array_equal(made.energy, 2.0)
    np.testing.assert_allclose(made.place[0], 0.0, atol=1e-5)
    # The same ways in a great many small steps.
    length = start[0] * spacing[0] / -way[0]
    along = (np.arange(20_000) + 0.5) / 20_000 * length[:, None]
    index = [
        np.floor(p[:, None] + along * (w / s)[:, None]).astype(int)
        for p, w, s in zip(start, way, spacing, strict=True)
    ]
    index[0] += 1
    z, y, x = (
        np.minimum(i % (2 * m), 2 * m - 1 - i % (2 * m)) for i, m in zip(index, shape, strict=True)
    )
    wants = rates[labels[z, y, x]].mean(axis=1) * length
    np.testing.assert_allclose(500.0 - np.asarray(made.collide), wants, rtol=4e-3, atol=0.01)


def _write_mott(path: Path, numbers: tuple[int, ...], energies: np.ndarray) -> Path:
    """Screened Rutherford cross-sections as if they were Mott's."""
    angles = np.concatenate([[0.0], np.geomspace(0.02, 180.0, 300)])
    half = np.sin(np.radians(angles) / 2) ** 2
    with path.open("w", encoding="utf-8") as file:
        file.write("z,energy_kev,angle_deg,cm2_per_sr\n")
        for z in numbers:
            for energy in energies:
                alpha = 3.4e-3 * z**0.67 / energy
                wide = electrons.rutherford_cross_section(z, energy) * 1e-14
                law = wide * alpha * (1 + alpha) / (4 * np.pi * (half + alpha) ** 2)
                for angle, part in zip(angles, law, strict=True):
                    file.write(f"{z},{energy:.6g},{angle:.6g},{part:.8g}\n")
    return path


def test_a_file_of_cross_sections(tmp_path: Path):
    energies = np.geomspace(0.05, 20.0, 25)
    path = _write_mott(tmp_path / "mott.csv", (1, 6, 8, 79), energies)
    read = scattering.scattering_tables([EPOXY, GOLD], "mott", path, energy=20.0)
    made = scattering.scattering_tables([EPOXY, GOLD], "rutherford")
    np.testing.assert_allclose(read.free[:270], made.free[:270], rtol=5e-3)
    for energy in (0.3, 2.0, 15.0):
        assert _drawn(read, energy).mean() == pytest.approx(_drawn(made, energy).mean(), rel=0.02)
    settings = {"spacing": 10.0, "electrons": 8000, "lanes": 256}
    gold = (jax.random.key(0), np.zeros((1, 1, 1), np.uint8), ["gold"], 2.0)
    seen = [
        monte_carlo(*gold, model=model, mott=file, **settings).backscattered / 8000
        for model, file in (("mott", path), ("rutherford", None), ("browning", None))
    ]
    assert seen[0] == pytest.approx(seen[1], abs=4 * np.sqrt(0.5 / 8000))
    assert abs(seen[0] - seen[2]) > 4 * np.sqrt(0.5 / 8000)
    # Out of order is fine.
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], *reversed(lines[1:])]), encoding="utf-8")
    again = scattering.scattering_tables([EPOXY, GOLD], "mott", path, energy=20.0)
    np.testing.assert_array_equal(again.angles, read.angles)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: "", "cannot be read \\(no table in it\\), wants a CSV with the header"),
        (lambda text: text.replace("angle_deg", "angle"), "with columns .* wants a CSV"),
        (lambda text: text.replace("\n79,", "\n79,1,", 1), "cannot be read"),
        (lambda text: text.replace(",180,", ",half,", 1), "with cells that are no numbers"),
        (lambda text: text.replace(",180,", ",179,"), "got angles 0 to 179 of element 79, wants 0"),
        (lambda text: text.replace("79,1,", "79,-1,"), "that is not positive"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "with 601 rows of element 79, wants two"),
        (lambda text: text.replace("\n79,1,180,", "\n79,2,180,", 1), "rows of element 79, wants"),
        (lambda text: text.replace("\n79,", "\n78,"), "with 0 rows of element 79, wants two"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(tmp_path: Path, damage, told: str):
    path = _write_mott(tmp_path / "mott.csv", (79,), np.array([1.0, 2.0]))
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(InputError, match=rf"^mott: .*{told}"):
        scattering.scattering_tables([GOLD], "mott", path, energy=2.0)


def test_files_that_do_not_fit_are_refused(tmp_path: Path):
    path = _write_mott(tmp_path / "mott.csv", (79,), np.array([1.0, 2.0]))
    wrong = [
        ([GOLD], "mott", tmp_path / "none.csv", 2.0, "mott: .*cannot be read"),
        ([GOLD], "mott", tmp_path, 2.0, "mott: .*cannot be read"),
        ([EPOXY], "mott", path, 2.0, "mott: .* with 0 rows of element 1"),
        ([GOLD], "mott", path, 4.0, "mott: got energies up to 2 keV .* the beam's 4 keV or more"),
        ([GOLD], "mott", None, 2.0, "mott: got None with the model mott, wants a file"),
        ([GOLD], "browning", path, 2.0, "mott: got .* with the model browning, wants a file"),
        ([GOLD], "bethe", None, 2.0, "model: got 'bethe', wants one of browning"),
    ]
    for materials, model, file, energy, told in wrong:
        with pytest.raises(InputError, match=told) as refusal:
            scattering.scattering_tables(materials, model, file, energy=energy)
        assert "\n" not in str(refusal.value)
