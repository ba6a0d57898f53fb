"""Simulated FIB-SEM images made to look like another instrument's, and a learned BSE simulator.

The images to look like are Monte Carlo's, 300 electrons a pixel, as an instrument records them;
those of `nets_fib` are used where `--out` has them, else they take up to half an hour once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wasserstein_distance

from benchmarks import _fib_sets
from benchmarks._fib_sets import Stack
from benchmarks._net_runs import Run, compared, labelled, trained
from benchmarks._report import Table, say
from bimmjax import nets, plot
from bimmjax.volumes import Volume, open_volume

_ENERGY = 2.0
_BELOW = 20  # slices, 100 nm, that shine through at 2 kV
_UNPAIRED: dict[str, Any] = {
    "width": 12, "blocks": 4, "critic_width": 24, "patch": 64, "epochs": 9, "steps": 50,
}  # fmt: skip
_PAIRED: dict[str, Any] = {
    "width": 12, "depth": 3, "patch": 64, "batch": 8, "epochs": 8, "steps": 30,
}  # fmt: skip
_NETWORK: dict[str, Any] = {
    "network": "unet", "settings": {"width": 8, "depth": 3, "residual": True}, "classes": 2,
    "patch": (64, 64), "batch": 8, "loss": "dice", "optimiser": "adam", "learning_rate": 2e-3,
    "epochs": 4, "steps": 25, "split": (0.8, 0.2, 0.0), "tiles": 32,
}  # fmt: skip
# The paper's; and weaker ones, by which images may differ from what they were.
_WEIGHTS: dict[str, dict[str, float]] = {
    "perfect-shape-1": {"shape": 1.0},
    "loose-shape-1": {"cycle": 1.0, "identity": 0.0, "shape": 1.0, "learning_rate": 1e-3},
    "loose-shape-0": {"cycle": 1.0, "identity": 0.0, "shape": 0.0, "learning_rate": 1e-3},
}


class _Bench:
    """Sizes, seeds, and the folder of what has been trained."""

    def __init__(self, quick: bool, out: Path) -> None:
        self.quick, self.pictures = quick, out
        self.out = out / "adapt" / ("quick" if quick else "full")
        self.kept = out / "nets" / "counted"
        self.size, self.each = ((16, 32, 32), 20) if quick else ((40, 96, 96), 300)
        self.shape = (12, 64, 64) if quick else (48, 128, 128)

    def unpaired(self, name: str, simulated: Any, real: np.ndarray, **settings: Any) -> _Learned:
        told = _UNPAIRED | settings
        if self.quick:
            told |= {"width": 4, "blocks": 1, "critic_width": 8, "patch": 32, "epochs": 2}
            told |= {"steps": 4, "critic_layers": 2}
        return self._learned(nets.train_unpaired, name, simulated, real, told)

    def paired(self, name: str, inputs: Any, targets: Any, **settings: Any) -> _Learned:
        told = _PAIRED | settings
        if self.quick:
            told |= {"width": 4, "depth": 2, "patch": 32, "epochs": 2, "steps": 4}
        return self._learned(nets.train_paired, name, inputs, targets, told)

    def _learned(self, train: Any, name: str, one: Any, other: Any, told: Any) -> _Learned:
        say(f"learning {name}")
        found = train(one, other, self.out / name, **told)
        summary = json.loads((found.folder / "adapt.json").read_text("utf-8"))
        drawn = plot.adapted(found.history)
        drawn.savefig(self.pictures / f"fib_adapt_{name}_losses.png")
        minutes = sum(row["seconds"] for row in found.history) / 60.0
        return _Learned(found.folder, summary["parameters"], minutes)

    def segmenter(self, name: str, stacks: list[Stack]) -> Run:
        """A network from the same labels and other images."""
        told = dict(_NETWORK)
        if self.quick:
            told |= {"epochs": 2, "steps": 4, "batch": 2, "patch": (32, 32)}
        images = [stack.images[_ENERGY] for stack in stacks]
        truths = [stack.truth for stack in stacks]
        return trained(f"segment-{name}", told, images, truths, self.out)


class _Learned(NamedTuple):
    folder: Path
    parameters: int
    minutes: float


def run(quick: bool, out: Path) -> dict[str, Any]:
    """The tables of both experiments, and pictures."""
    bench = _Bench(quick, out)
    simulator, of_simulator = _simulator(bench)
    adapted, shapes, of_adapted = _adaptation(bench)
    return {
        "tables": [adapted, shapes, simulator],
        "notes": [*of_adapted, *of_simulator],
    }


def _adaptation(bench: _Bench) -> tuple[Table, Table, list[str]]:
    """Simulated images with other noise and contrast, unpaired, to those that were counted."""
    whole = _fib_sets.counted("hnpg", bench.size, (_ENERGY,), bench.kept, bench.each)
    image = whole.images[_ENERGY]
    # Slices to learn the look from, and others, far below them, to be judged by.
    half = bench.size[0] * 2 // 5
    look, judged = image[:half], image[-half:]
    truth = whole.truth[-half:]
    waves = [
        _fib_sets.learned("hierarchical wave", bench.shape, n, recorded=False) for n in range(2)
    ]
    recorded = [_fib_sets.learned("hierarchical wave", bench.shape, n) for n in range(2)]
    rows, shapes, minutes = [], [], []

    def add(name: str, how: str, stacks: list[Stack], folder: str) -> None:
        by = bench.segmenter(folder, stacks)
        wrong = compared(labelled(by, judged)[0], truth).misplaced
        rows.append([name, how, *_distances(stacks, judged), wrong])

    add("perfect", "none", waves, "perfect")
    images = [stack.images[_ENERGY] for stack in waves]
    for told, settings in _WEIGHTS.items():
        learned = bench.unpaired(told, images, look, **settings)
        minutes.append(learned.minutes)
        made = [
            stack._replace(images={_ENERGY: np.asarray(nets.translate(learned.folder, one))})
            for stack, one in zip(waves, images, strict=True)
        ]
        words = ", ".join(f"{name} {value:g}" for name, value in settings.items())
        add("perfect", f"CycleGAN, {words}", made, told)
        shapes.append(
            [words, *nets.shapes_kept(images[0], made[0].images[_ENERGY], waves[0].truth)]
        )
        drawn = plot.adaptation(
            _volume(images[0]), _volume(made[0].images[_ENERGY]), _volume(judged),
            names=("simulated", "translated", "counted"),
        )  # fmt: skip
        drawn.savefig(bench.pictures / f"fib_adapt_{told}.png")
    add("this instrument's", "none", recorded, "recorded")
    same = _distances([Stack({_ENERGY: look}, truth)], judged)
    rows.append(["(counted, other slices)", "none", *same, None])
    columns = ["simulated images", "translation", "grey values", "spectrum", "MP %"]
    steps = _UNPAIRED["epochs"] * _UNPAIRED["steps"]
    notes = [
        f"images to look like: Monte Carlo of HNPG at {_ENERGY:g} kV as an instrument records it, "
        f"slices 0-{half - 1} of {bench.size[0]} of 5 nm; all else is judged on the last {half}, "
        f"{bench.size[0] - 2 * half} slices further down; simulated: 2 other bodies of that kind",
        "this instrument's: with its noise, edges and curtains, which a user does not know; shapes:"
        " Dice of the best threshold against the truth of a simulated stack",
        "grey values: Wasserstein distance of histograms (counted images have a std of "
        f"{image.std():.3g}); spectrum: rms difference of ln(radial power)",
        "MP: voxels with a wrong label, of a network trained on these images (one seed, 100 steps)",
        f"CycleGAN: width {_UNPAIRED['width']}, {steps} steps of a patch of {_UNPAIRED['patch']}; "
        f"{min(minutes):.2g} to {max(minutes):.2g} min each",
    ]
    kept = Table(
        "Shapes after translation; Dice of the best threshold against the truth",
        ["weights", "gradient correlation", "Dice before", "Dice after"],
        shapes,
    )
    return Table("Simulated images beside counted ones", columns, rows), kept, notes


def _distances(stacks: list[Stack], counted: np.ndarray) -> list[float]:
    """Of grey values and of spectra."""
    images = [stack.images[_ENERGY] for stack in stacks]
    grey = np.concatenate([one.ravel() for one in images])
    apart = wasserstein_distance(grey[:: max(grey.size // 200_000, 1)], counted.ravel())
    side = min(counted.shape[1], images[0].shape[1])
    spectra = [np.mean([_spectrum(one[:, :side, :side]) for one in several], 0)
               for several in (images, [counted])]  # fmt: skip
    return [float(apart), float(np.sqrt(np.mean((spectra[0] - spectra[1]) ** 2)))]


def _spectrum(image: np.ndarray) -> np.ndarray:
    """Logarithm of the mean radial power of slices, from the second frequency on."""
    side = image.shape[1]
    window = np.outer(*[np.hanning(side)] * 2)
    centred = (image - image.mean((1, 2), keepdims=True)) * window
    power = np.mean(np.abs(np.fft.fft2(centred)) ** 2, 0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2)).round().astype(int)
    radial = np.bincount(frequency.ravel(), power.ravel()) / np.bincount(frequency.ravel())
    return np.log(radial[2 : side // 2])


def _simulator(bench: _Bench) -> tuple[Table, list[str]]:
    """Analytic images to Monte Carlo's: other slices of one structure, and another structure."""
    sets = {}
    for name in ("hnpg", "npg"):
        yields, body = _fib_sets.counted_yields(
            name, bench.size, (_ENERGY,), bench.kept, bench.each
        )
        given = _fib_sets.analytic(body, bench.size[0], _ENERGY)
        depth = np.asarray(nets.depth_below(body, _BELOW))[: bench.size[0]]
        sets[name] = [given, depth, body[: bench.size[0]].astype(np.float32)], yields[_ENERGY]
    half = bench.size[0] // 2
    far = slice(half + bench.size[0] // 5, None)
    seconds = _fib_sets.seconds_of_counting("hnpg", bench.size, _ENERGY, bench.each)
    rows, minutes = [], []
    for told, source, z, tested, held in (
        ("slices far below (HNPG)", "hnpg", slice(half), "hnpg", far),
        ("another structure (HNPG to NPG)", "hnpg", slice(None), "npg", slice(None)),
    ):
        (given, target), (seen, counted) = sets[source], sets[tested]
        given, target = [one[z] for one in given], target[z]
        seen, counted = [one[held] for one in seen], counted[held]
        noise = float(np.sqrt(np.mean(counted * (1.0 - counted)) / bench.each))
        slope, offset = np.polyfit(given[0].ravel(), target.ravel(), 1)
        found = {"analytic": seen[0], "analytic, scaled": slope * seen[0] + offset}
        parameters: dict[str, int] = {}
        took: dict[str, float | None] = dict.fromkeys(found)
        for words, channels in (("network", 1), ("network with depth and labels", 3)):
            name = f"paired-{source}-{'slices' if tested == source else 'all'}-{channels}"
            learned = bench.paired(name, given[:channels], target)
            minutes.append(learned.minutes)
            nets.translate(learned.folder, seen[:channels])  # compiles
            before = time.perf_counter()
            found[words] = np.asarray(nets.translate(learned.folder, seen[:channels]))
            took[words] = (time.perf_counter() - before) / len(counted)
            parameters[words] = learned.parameters
        for words, image in found.items():
            r = float(np.corrcoef(image.ravel(), counted.ravel())[0, 1])
            rmse = float(np.sqrt(np.mean((image - counted) ** 2)))
            clean = float(np.sqrt(max(rmse**2 - noise**2, 0.0)))
            rows.append([told, words, r, rmse, clean, parameters.get(words), took[words]])
        if tested == "npg":
            drawn = plot.adaptation(
                _volume(seen[0]), _volume(found["network with depth and labels"]),
                _volume(counted), names=("analytic", "network", "Monte Carlo"),
            )  # fmt: skip
            drawn.savefig(bench.pictures / "fib_adapt_simulator.png")
        rows.append([told, "(counting noise)", None, noise, 0.0, None, seconds])
    columns = ["held out", "image by", "r", "RMSE", "RMSE without noise", "parameters", "s a slice"]
    notes = [
        f"simulator: yields at {_ENERGY:g} kV, {bench.each} electrons a pixel of "
        f"{bench.size[1]} x {bench.size[2]}; noise: √(η (1 - η) / electrons); seconds of that row: "
        "Monte Carlo's; the network's are those after the analytic image",
        f"U-Net of width {_PAIRED['width']}, mean absolute difference, "
        f"{_PAIRED['epochs'] * _PAIRED['steps']} steps of {_PAIRED['batch']} patches; "
        f"{min(minutes):.2g} to {max(minutes):.2g} min each",
    ]
    return Table("Learned simulator against Monte Carlo", columns, rows), notes


def _volume(image: np.ndarray) -> Volume:
    return open_volume(image, spacing=_fib_sets.SPACING, unit="nm")
