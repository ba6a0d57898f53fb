"""Networks that learn FIB-SEM from simulation alone: Articles I and III of the thesis.

They learn from images by the model of shine-through and are tested on fresh structures imaged by
Monte Carlo, 300 electrons a pixel, which takes up to half an hour once; what is there in `--out`
is not done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _fib_sets
from benchmarks._fib_sets import Stack
from benchmarks._net_pictures import beside
from benchmarks._net_runs import Run, anisotropies, compared, labelled, trained
from benchmarks._report import Table
from bimmjax import nets, segmentation

_VOLTAGES = (1.0, 2.0, 4.0)
_EVERYTHING = (slice(None),) * 3
# One budget for all networks, far below the Articles' (patches of 64, batches of 64, in 3D of 1, up
# to 100 epochs; their widths are not told).
_FLAT: dict[str, Any] = {"width": 12, "depth": 3, "residual": True}
_DEEP: dict[str, Any] = {"width": 8, "depth": 2}
_HOW: dict[str, Any] = {
    "classes": 2, "patch": (64, 64), "batch": 8, "loss": "dice", "optimiser": "adam",
    "learning_rate": 2e-3, "epochs": 12, "steps": 25, "normalise": "none", "split": (0.8, 0.2, 0.0),
    "brightness": 0.1, "stretch": 0.1, "tiles": 48,
}  # fmt: skip
_SLICES = (3, 5, 7, 9)
_BEST = 7  # slices, Article III's choice
# Article I, Table 3 (Dice); Article III, Tables 2 and 3 (MP, MGP in %, mean Dice).
_DICE = {
    "levelled wave": 0.99, "self-similar": 0.98, "random pores": 0.89, "Otsu": 0.75,
    "k-means": 0.78,
}  # fmt: skip
# Article I, Table 4 (a real volume, MP against another detector) and Table 6: MP in %, then e_TPCF,
# e_LPF and e_D.
_PREPROCESSED = {
    ("slices", "no"): (8, 0.12, 0.07, 0.02), ("slices", "yes"): (10, 0.07, 0.008, 0.004),
    ("3D", "no"): (12, 0.15, 0.18, 0.12), ("3D", "yes"): (10, 0.13, 0.12, 0.08),
}  # fmt: skip
_METHODS = {
    "k-means": (26, 0.83, 0.75, 0.95), "Otsu": (43, 0.96, 0.65, 0.71), "2D": (4, 0.18, 0.03, 0.02),
    "slices": (3, 0.18, 0.02, 0.02), "3D": (3, 0.17, 0.01, 0.003),
}  # fmt: skip
_ARTICLE = {
    "k-means, 1 kV": (4.455, 8.776, 0.904), "k-means, 2 kV": (9.49, 15.573, 0.815),
    "k-means, 4 kV": (18.626, 20.904, 0.698), "network, 1 kV": (0.245, 0.963, 0.994),
    "network, 2 kV": (0.654, 2.512, 0.985), "network, 4 kV": (1.407, 6.466, 0.967),
    "early fusion": (2.8, 20.33, 0.93), "intermediate fusion": (2.58, 6.92, 0.94),
    "late fusion": (0.225, 0.944, 0.995),
}  # fmt: skip


class _Bench:
    """Training sets, tests, and the folder of what has been trained."""

    def __init__(self, quick: bool, out: Path) -> None:
        self.out = out / "nets" / ("fib-quick" if quick else "fib")
        self.quick = quick
        self.shape = (32, 64, 64) if quick else (48, 128, 128)
        self.sets = 2 if quick else 4
        kept = out / "nets" / "counted"
        size, each = ((16, 32, 32), 20) if quick else ((40, 96, 96), 300)
        self.hnpg = _fib_sets.counted("hnpg", size, _VOLTAGES, kept, each)
        self.npg = _fib_sets.counted("npg", size, (2.0,), kept, each)
        self._made: dict[tuple[str, bool], list[Stack]] = {}

    def learned(self, kind: str, recorded: bool = True) -> list[Stack]:
        """Stacks to learn from, made once."""
        if (kind, recorded) not in self._made:
            self._made[kind, recorded] = [
                _fib_sets.learned(kind, self.shape, n, recorded) for n in range(self.sets)
            ]
        return self._made[kind, recorded]

    def flat(
        self, name: str, stacks: list[Stack], energies: tuple[float, ...], network: str = "unet",
        branches: Sequence[Path] = (), **settings: Any,
    ) -> Run:  # fmt: skip
        """A network of slices, from images at some voltages."""
        recipe = {"network": network, "settings": {**_FLAT, **settings}, **_HOW}
        if branches:
            # The last layer alone learns, a dozen numbers.
            recipe |= {"branches": [str(folder) for folder in branches], "learning_rate": 2e-2}
        return self._run(name, recipe, stacks, energies)

    def deep(self, name: str, stacks: list[Stack]) -> Run:
        """One of volumes, from 2 kV; depth is not turned round, where the beam comes from."""
        recipe = {"network": "resunet3d", "settings": _DEEP, **_HOW, "symmetries": "plane"}
        recipe |= {"patch": (32, 32, 32), "batch": 2}
        return self._run(name, recipe, stacks, (2.0,))

    def _run(
        self, name: str, recipe: dict[str, Any], stacks: list[Stack], energies: tuple[float, ...]
    ) -> Run:
        if self.quick:
            recipe |= {"epochs": 2, "steps": 4, "batch": 2}
        if len(recipe["patch"]) == 3:
            recipe |= {"split": (0.67, 0.33, 0.0), "margin": 0}
            if self.quick:
                recipe |= {"patch": (8, 32, 32)}
        images = [[stack.images[energy] for energy in energies] for stack in stacks]
        return trained(name, recipe, images, [stack.truth for stack in stacks], self.out)


def run(quick: bool, out: Path) -> dict[str, Any]:
    """The tables of both Articles, and pictures of what was found."""
    bench = _Bench(quick, out)
    waves = bench.learned("hierarchical wave")
    by: dict[str, Run] = {
        "2D": bench.flat("2kV-1", waves, (2.0,)),
        **{
            f"{n} slices": bench.flat(f"2kV-{n}", waves, (2.0,), context=n)
            for n in (_SLICES[:1] if quick else _SLICES)
        },
        "3D": bench.deep("2kV-3d", waves),
    }
    best = by.get(f"{_BEST} slices", by["3 slices"])
    context = 3 if quick else _BEST
    perfect = bench.learned("hierarchical wave", recorded=False)
    plain = {
        f"{context} slices": bench.flat(f"2kV-{context}-plain", perfect, (2.0,), context=context),
        "3D": bench.deep("2kV-3d-plain", perfect),
    }
    single = {
        energy: best
        if energy == 2.0
        else bench.flat(f"{energy:g}kV-{context}", waves, (energy,), context=context)
        for energy in _VOLTAGES
    }
    fused = {
        name: bench.flat(f"fusion-{name}", waves, _VOLTAGES, f"fusion-{name}", context=context)
        for name in ("early", "intermediate")
    }
    # As in the Article: branches first, each from its own voltage, then the layer that joins them.
    branches = [single[energy].folder for energy in _VOLTAGES]
    for name, combine in (("late", "ensemble"), ("voting", "voting")):
        fused[name] = bench.flat(
            f"fusion-{name}", waves, _VOLTAGES, "fusion-late", branches=branches, combine=combine,
            context=context,
        )  # fmt: skip
    labels, voltages = _voltages(bench.hnpg, single, fused)
    methods, seen = _methods(bench.hnpg, by)
    tables = [
        _kinds(bench),
        _preprocessing(bench.hnpg, plain, by),
        _slices(bench.hnpg, by),
        methods,
        voltages,
    ]
    pictures = [
        beside(bench.hnpg.images[2.0], bench.hnpg.truth, seen, out / "nets_fib_methods.png"),
        beside(bench.hnpg.images[4.0], bench.hnpg.truth, labels, out / "nets_fib_voltages.png"),
    ]
    each = [*by.values(), *plain.values(), *single.values(), *fused.values()]
    notes = [
        f"learned from {bench.sets} stacks of {_told(bench.shape)}, tested on "
        f"{_told(bench.hnpg.truth.shape)}; 5 nm voxels, gold in epoxy; other bodies of the same "
        "kind (ligaments of 110 and 15 nm), other images (Monte Carlo)",
        f"one budget: {_HOW['epochs']} epochs of {_HOW['steps']} steps, width {_FLAT['width']} "
        f"(3D: {_DEEP['width']}); {min(r.minutes for r in each):.2g} to "
        f"{max(r.minutes for r in each):.2g} min a run",
        "votes of 1, 2 and 4 kV: " + " ".join(f"{w:.2f}" for w in _votes(fused["voting"]))
        + " (Article III: 0.5, 0.3, 0.2)",
        "MP, MGP: voxels, gold with a wrong label, %; MDS: mean Dice; e: anisotropies",
        *(f"picture: {path}" for path in pictures),
    ]  # fmt: skip
    return {"tables": tables, "notes": notes}


def _kinds(bench: _Bench) -> Table:
    """Article I, Table 3: which structures to learn from."""
    test = bench.npg
    image = test.images[2.0]
    found = {
        kind: labelled(bench.flat(f"kind-{kind}", bench.learned(kind), (2.0,)), image)[0]
        for kind in ("levelled wave", "self-similar", "random pores")
    }
    found |= {"Otsu": _otsu(image), "k-means": _kmeans(image)}
    rows = []
    share = test.truth.mean()
    for name, labels in found.items():
        own = labels.mean()
        dice = float(compared(labels, test.truth).f1[1])
        rows.append([name, own, 100 * (own / share - 1), dice, _DICE[name]])
    columns = ["by", "fraction", "error %", "Dice", "Article I"]
    return Table(f"Learned from which structures (true fraction {share:.3f})", columns, rows)


def _preprocessing(test: Stack, plain: dict[str, Run], by: dict[str, Run]) -> Table:
    """Article I, Table 4."""
    rows = []
    for name, without in plain.items():
        for told, one in (("no", without), ("yes", by[name])):
            labels, _ = labelled(one, test.images[2.0])
            article = _PREPROCESSED["slices" if "slices" in name else name, told]
            rows.append([name, told, *_scored(labels, test.truth), *article])
    columns = ["by", "there", *_HEADS, *_ARTICLE_1]
    return Table("Noise, soft edges and the rest in what is learned from", columns, rows)


def _slices(test: Stack, by: dict[str, Run]) -> Table:
    """Article I, Figure 8."""
    rows = []
    for name, one in by.items():
        if name != "3D":
            labels, seconds = labelled(one, test.images[2.0])
            rows.append([name, *_scored(labels, test.truth), one.parameters, seconds])
    columns = ["seen at once", *_HEADS, "parameters", "s"]
    return Table("How many slices a network sees at once", columns, rows)


def _methods(test: Stack, by: dict[str, Run]) -> tuple[Table, dict[str, np.ndarray]]:
    """Article I, Table 6."""
    image = test.images[2.0]
    last = [name for name in by if name.endswith("slices")]
    adjacent = f"{_BEST} slices" if f"{_BEST} slices" in by else last[-1]
    found = {"k-means": _kmeans(image), "Otsu": _otsu(image)}
    found |= {name: labelled(by[name], image)[0] for name in ("2D", adjacent, "3D")}
    rows: list[list[Any]] = [["truth", *_scored(test.truth, test.truth), *[None] * 4]]
    for name, labels in found.items():
        article = _METHODS["slices" if "slices" in name else name]
        rows.append([name, *_scored(labels, test.truth), *article])
    return Table("Methods, 2 kV", ["by", *_HEADS, *_ARTICLE_1], rows), found


def _voltages(
    test: Stack, single: dict[float, Run], fused: dict[str, Run]
) -> tuple[dict[str, np.ndarray], Table]:
    """Article III, Tables 2, 3, 5 and 7."""
    found = {f"k-means, {e:g} kV": _kmeans(test.images[e]) for e in _VOLTAGES}
    found |= {f"network, {e:g} kV": labelled(r, test.images[e])[0] for e, r in single.items()}
    several = [test.images[e] for e in _VOLTAGES]
    found |= {f"{name} fusion": labelled(one, several)[0] for name, one in fused.items()}
    sizes = {f"network, {e:g} kV": run.parameters for e, run in single.items()}
    sizes |= {f"{name} fusion": run.parameters for name, run in fused.items()}
    rows: list[list[Any]] = [["truth", None, *_scored(test.truth, test.truth), 0.0, 0.0, 1.0]]
    for name, labels in found.items():
        article = _ARTICLE.get(name, (None, None, None))
        rows.append([name, sizes.get(name), *_scored(labels, test.truth), *article])
    columns = ["by", "parameters", *_HEADS, "Article III: MP", "MGP", "MDS"]
    return found, Table("Voltages, alone and together", columns, rows)


_ARTICLE_1 = ("Article I: MP %", "e_TPCF", "e_LPF", "e_D")
_HEADS = ("MP %", "MGP %", "MDS", "fraction", "e_TPCF", "e_LPF", "e_D")


def _scored(labels: np.ndarray, truth: np.ndarray) -> list[float]:
    scores = compared(labels, truth)
    told = [scores.misplaced, scores.misplaced_of(1), scores.macro("f1"), float(labels.mean())]
    return [*told, *anisotropies(labels)]


def _kmeans(image: np.ndarray) -> np.ndarray:
    """The brightest of three is gold."""
    return (segmentation.kmeans(image, 3).read(*_EVERYTHING) == 2).astype(np.uint8)


def _otsu(image: np.ndarray) -> np.ndarray:
    return segmentation.otsu(image).read(*_EVERYTHING)


def _votes(run: Run) -> list[float]:
    net, _ = nets.load(run.folder)
    return [float(w) for w in net.voting_weights]  # pyright: ignore[reportAttributeAccessIssue]


def _told(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
