"""Images of backscattered electrons, by following single electrons."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bimmjax._core.checks import InputError, real_number, whole_number
from bimmjax.sim import _checks
from bimmjax.sim._electrons.bulk import electron_range
from bimmjax.sim._electrons.materials import Material, known_material
from bimmjax.sim._electrons.scattering import HIGHEST, LEAST, LOWEST, scattering_tables
from bimmjax.sim._electrons.transport import Beam, Tally
from bimmjax.sim._electrons.transport_devices import host_threads, on_devices
from bimmjax.volumes._units import check_spacing

# Lanes per device: state that fits the caches of a core; enough to fill a card.
_LANES = {"cpu": 8192, "gpu": 2**18, "tpu": 2**18}
_FEWEST_LANES = 64
# Electrons of a device in one go: progress is told in between, sums of float32 stay exact enough,
# and whole numbers of 32 bits number them.
_AT_ONCE = 2**21
_MOST_CLEAR = 100
_DEEPEST = 8  # volumes below each other
_LONGEST = 2**14  # voxels; beyond 2^15 float32 places are too coarse to step over a face


class Window(NamedTuple):
    """Which of the electrons that leave a detector sees.

    Attributes
    ----------
    energies : tuple[float, float]
        keV, lowest and highest; the highest itself is outside, but for that of all energies.
    angles : tuple[float, float]
        Degrees to the way back into the beam, smallest and largest: an in-column detector sees
        small ones, a ring around the lens larger ones.
    """

    energies: tuple[float, float] = (LOWEST, HIGHEST)
    angles: tuple[float, float] = (0.0, 180.0)


class MonteCarlo(NamedTuple):
    """What came out.

    Attributes
    ----------
    images : array
        (W, y, x) float32, electrons that each window saw per electron sent.
    electrons : int
        Sent, in all.
    backscattered : int
    absorbed : int
    truncated : int
        Given up after as many steps as the cap; they are in no image.
    energy_in : float
        keV, of all electrons sent: the sum of the next three.
    energy_out : float
        Of those that left.
    energy_left : float
        Of the others, when they were too slow or too deep to leave.
    energy_lost : float
        By all, on the way.
    steps : float
        Flights, of all electrons together.
    """

    images: np.ndarray
    electrons: int
    backscattered: int
    absorbed: int
    truncated: int
    energy_in: float
    energy_out: float
    energy_left: float
    energy_lost: float
    steps: float


def monte_carlo(
    key: Array,
    labels: np.ndarray,
    materials: Sequence[str | Material],
    energy: float,
    *,
    spacing: float | Sequence[float],
    surface: int = 0,
    tilt: float = 0.0,
    electrons: int = 1000,
    windows: Sequence[Window] = (Window(),),
    model: str = "browning",
    mott: str | Path | None = None,
    cap: int = 20_000,
    lanes: int | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> MonteCarlo:
    """The image of one surface by backscattered electrons, single collision by single collision.

    Each pixel of the slice `surface` gets electrons at random places within it. They fly straight
    from collision to collision, lose energy on the way, and count once they are back above the
    surface. Slices before `surface` are milled away; beyond its sides and its bottom the volume
    goes on as its mirror image. Electrons are absorbed below 0.05 keV. All devices of this process
    take part; the same key gives the same image on any number of them.

    Source: FIB thesis, §2.2.2; Browning et al. (1994), Joy and Luo (1989); Joy (1995).

    Parameters
    ----------
    key
        Random key.
    labels
        (z, y, x) whole numbers 0 ... M - 1, at most 256 of them; z is depth.
    materials
        Of each label, names ("gold", "epoxy", "vacuum", ...) or `Material`.
    energy
        Of the beam, keV, 0.5 to 30.
    spacing
        nm, one number or (z, y, x).
    surface
        The slice that is imaged.
    tilt
        Degrees, 0 to 52, of the beam towards +y.
    electrons
        Per pixel.
    windows
        One per image.
    model
        "browning" (default), "rutherford" (screened) or "mott", cross-sections.
    mott
        File of the last: CSV with the header `z,energy_kev,angle_deg,cm2_per_sr`, for every
        element, up to the energy of the beam; below its lowest energy cross-sections stay as there.
    cap
        Steps after which an electron is given up.
    lanes
        Electrons under way at once on a device; images do not depend on it.
    progress
        Called as `progress(electrons done, electrons in all)`.

    Returns
    -------
    MonteCarlo

    Raises
    ------
    InputError
        Labels without a material, an unknown material, vacuum only, an energy, tilt or surface out
        of range, a window that is none, a damaged file of cross-sections.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from bimmjax.sim import monte_carlo
    >>> gold = np.zeros((1, 1, 1), np.uint8)
    >>> seen = monte_carlo(jax.random.key(0), gold, ["gold"], 2.0, spacing=100.0, electrons=2000)
    >>> 0.4 < float(seen.images.mean()) < 0.5
    True
    >>> seen.electrons == seen.backscattered + seen.absorbed + seen.truncated
    True
    """
    key = _checks.random_key("key", key)
    found = _checks.material_labels("labels", np.asarray(labels), len(materials))
    if found.size >= 2**31 or max(found.shape) > _LONGEST:
        raise InputError(
            f"labels: got an array of shape {found.shape}, wants fewer than 2^31 voxels and edges "
            f"of at most {_LONGEST}"
        )
    used = [known_material("materials", m) for m in materials]
    energy = real_number("energy", energy, LEAST, HIGHEST)
    tilt = real_number("tilt", tilt, 0.0, 52.0)
    surface = whole_number("surface", surface, 0, found.shape[0] - 1)
    electrons = whole_number("electrons", electrons, 1, 2**24)
    cap = whole_number("cap", cap, 1, 2**30)
    spacings = check_spacing(spacing)
    tables = scattering_tables(used, model, mott, energy=energy)
    if not any(used[label].elements for label in np.unique(found[surface:])):
        raise InputError("materials: got vacuum only, wants something that scatters")
    beam = Beam(
        jnp.float32(energy),
        jnp.float32(math.radians(tilt)),
        jnp.int32(surface),
        jnp.asarray(spacings, jnp.float32),
        jnp.float32(_deepest(found.shape[0], spacings[0], used, energy)),
        jnp.int32(cap),
        jnp.asarray(_window_table(windows), jnp.float32),
    )
    devices = tuple(jax.local_devices())
    cpu = devices[0].platform == "cpu"
    pixels = found.shape[1] * found.shape[2]
    total = pixels * electrons
    lanes = _LANES.get(devices[0].platform, 8192) if lanes is None else lanes
    lanes = whole_number("lanes", lanes, 1, 2**24)
    # Few electrons do not pay for many lanes; powers of two, so that little is compiled anew.
    lanes = min(lanes, max(_FEWEST_LANES, 1 << (-(-total // len(devices)) - 1).bit_length()))
    threads = host_threads() if cpu and len(devices) == 1 and total > 4 * lanes else 1
    run = on_devices(found.shape, lanes, devices)
    given = _words(key), jnp.asarray(_packed(found).ravel()), tables, beam

    def share(first: np.ndarray, stop: np.ndarray, earlier: int) -> Tally:
        part = run(*given, first, stop, np.uint32(earlier))
        return jax.tree.map(lambda x: np.asarray(x, np.float64), part)

    none = np.zeros(len(devices), np.uint32)
    tally = share(none, none, 0)  # compiles, before threads would do so twice
    rounds = max(_AT_ONCE * threads * len(devices) // pixels, 1)  # electrons per pixel at once
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, electrons, rounds):
            count = min(rounds, electrons - start) * pixels
            ends = np.linspace(0, count, threads * len(devices) + 1).astype(np.uint32)
            firsts, stops = (cut.reshape(threads, -1) for cut in (ends[:-1], ends[1:]))
            for part in pool.map(share, firsts, stops, [start] * threads):
                tally = jax.tree.map(np.add, tally, part)
            if progress is not None:
                progress(start * pixels + count, total)
    images = np.asarray(tally.images / electrons, np.float32).reshape(-1, *found.shape[1:])
    _, out, absorbed, truncated = (int(n) for n in tally.fates)
    return MonteCarlo(
        images,
        total,
        out,
        absorbed,
        truncated,
        energy * total,
        float(tally.energy_out),
        float(tally.energy_left),
        float(tally.energy_lost),
        float(tally.steps),
    )


def _window_table(windows: Sequence[Window]) -> np.ndarray:
    """(W, 4) as `Beam` wants it; the ends of all energies and angles are moved outwards."""
    wants = "wants pairs of ascending keV and of ascending degrees from 0 to 180"
    rows = []
    for window in windows:
        try:
            (low, high), (near, far) = window
            fits = 0.0 <= low < high and 0.0 <= near < far <= 180.0
        except (TypeError, ValueError):
            raise InputError(f"windows: got {window!r}, {wants}") from None
        if not fits:
            raise InputError(f"windows: got {tuple(window)!r}, {wants}")
        least = -2.0 if far == 180.0 else math.cos(math.radians(far))
        most = 2.0 if near == 0.0 else math.cos(math.radians(near))
        rows.append((low, math.inf if high >= HIGHEST else high, least, most))
    if not rows:
        raise InputError("windows: got none, wants at least one")
    return np.array(rows)


def _deepest(slices: int, spacing: float, materials: Sequence[Material], energy: float) -> float:
    """Voxels; matters where vacuum reaches all the way down."""
    ranges = [electron_range(m, energy) for m in materials if m.elements]
    return max(_DEEPEST * slices, 2.0 * max(ranges) / spacing)


def _packed(labels: np.ndarray) -> np.ndarray:
    """The label, and in the upper byte the voxels around that are all of its material."""
    from scipy.ndimage import distance_transform_cdt

    clear = np.full(labels.shape, _MOST_CLEAR, np.int64)
    present = np.unique(labels)
    if present.size > 1:
        for label in present:
            mask = labels == label
            distance = np.asarray(distance_transform_cdt(mask, "chessboard"))
            clear[mask] = distance[mask] - 1
    return (np.clip(clear, 0, _MOST_CLEAR) << 8 | labels).astype(np.uint16)


def _words(key: Array) -> Array:
    return jax.random.bits(key, (4,), jnp.uint32)
