"""All that decides how a translation is learned, and the file it is written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from flax import nnx

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.nets._adapt.generator import ResnetGenerator, Translator
from bimmjax.nets._data.augment import SYMMETRIES
from bimmjax.nets._data.normalise import WAYS, Normalisation
from bimmjax.nets._networks.unet import UNet

KINDS, GENERATORS = ("unpaired", "paired"), ("resnet", "unet")
RECIPE = "recipe.json"
_MOST = 2**31 - 1
# Settings without effect on the other kind.
_ONLY = {"unpaired": ("cycle", "identity", "shape", "buffer"), "paired": ("pixel", "adversarial")}
_USUAL: dict[str, dict[str, Any]] = {
    "unpaired": {},
    "paired": {"generator": "unet", "width": 32, "batch": 8, "learning_rate": 1e-3},
}


@dataclass(frozen=True)
class AdaptRecipe:
    """How a translation is learned. The same recipe on the same data repeats a run.

    Defaults of "unpaired" are those of CycleGAN (Zhu et al. 2017), but for `shape` and the number
    of steps.

    Attributes
    ----------
    kind : str
        "unpaired" or "paired".
    channels : int
        Volumes of each input; training counts them.
    generator : str
        "resnet" (the usual for unpaired: `width` 64, `blocks` 6) or "unet" (the usual for paired:
        `width` 32, `depth` 3, batch normalisation). Only "resnet" for unpaired: batches there are
        of both kinds of image, whose statistics batch normalisation would mix.
    width : int
    blocks, depth : int
        Of "resnet", and of "unet".
    critic_width, critic_layers : int
        64 and 3 are the 70 x 70 PatchGAN; where there is a critic.
    normalise : str
        "std", "range" or "none": of all volumes of an input together, and recorded.
    patch, batch : int
        Side of patches in pixels, and how many make a step.
    symmetries : str
        "all" 8 of a square, or "none": where stripes have a direction.
    cycle, identity : float
        Of "unpaired": weights of the mean absolute difference after the way there and back, and
        of an image that is already of the wanted kind; the critic's is 1.
    shape : float
        Of "unpaired": weight of 1 - (correlation of smoothed gradients)² of an image and its
        translation, which keeps edges where labels have them (`shapes_kept`).
    buffer : int
        Of "unpaired": earlier images that critics are shown now and then.
    pixel, adversarial : float
        Of "paired": weights of the mean absolute difference and of a critic; 0: no critic.
    learning_rate : float
        Of Adam (β1 0.5): constant for the first `hold` of all steps, then linearly to 0.
    hold : float
    epochs, steps : int
        Steps make an epoch, after which the run is kept.
    seed : int
    normalisations : tuple
        (offset, factor) of each channel of the input, then of the target; training finds them.
    """

    kind: str
    channels: int = 1
    generator: str = "resnet"
    width: int = 64
    blocks: int = 6
    depth: int = 3
    critic_width: int = 64
    critic_layers: int = 3
    normalise: str = "std"
    patch: int = 128
    batch: int = 1
    symmetries: str = "all"
    cycle: float = 10.0
    identity: float = 5.0
    shape: float = 1.0
    buffer: int = 50
    pixel: float = 1.0
    adversarial: float = 0.0
    learning_rate: float = 2e-4
    hold: float = 0.5
    epochs: int = 100
    steps: int = 100
    seed: int = 0
    normalisations: tuple[Normalisation, ...] = ()

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        Examples
        --------
        >>> recipe = AdaptRecipe("unpaired", learning_rate=1.0, epochs=1, steps=4)
        >>> [recipe.rate(step) for step in range(4)]
        [1.0, 1.0, 1.0, 0.5]
        """
        left = 1.0 - step / (self.epochs * self.steps)
        return self.learning_rate * min(1.0, left / max(1.0 - self.hold, 1e-12))


def recipe_for(kind: str, given: Mapping[str, Any]) -> AdaptRecipe:
    """A checked recipe of a kind from the settings that are given.

    Raises
    ------
    InputError
        Settings that are not known, impossible, or without effect beside the others.
    """
    choice("kind", kind, KINDS)
    other = KINDS[1 - KINDS.index(kind)]
    known = [f.name for f in fields(AdaptRecipe)]
    known = [n for n in known if n not in ("kind", "channels", "normalisations", *_ONLY[other])]
    for name in given:
        if name not in known:
            raise InputError(
                f"{name}: got {given[name]!r}, wants a setting of {kind}: {', '.join(known)}"
            )
    recipe = _checked(AdaptRecipe(kind, **(_USUAL[kind] | dict(given))))
    idle = {"blocks": "a resnet"} if recipe.generator == "unet" else {"depth": "a unet"}
    if not _has_critic(recipe):
        idle |= dict.fromkeys(("critic_width", "critic_layers"), "an adversarial weight above 0")
    for name in given:
        if name in idle:
            raise InputError(
                f"{name}: got {given[name]!r}, which has no effect here; wants {idle[name]} "
                "beside it, or to be left out"
            )
    return recipe


def translator(recipe: AdaptRecipe, back: bool = False) -> Translator:
    """The network there, or the one back, with random parameters."""
    rngs = nnx.Rngs(params=2 * recipe.seed + back)
    if recipe.generator == "unet":
        return Translator(
            UNet(
                channels=recipe.channels, classes=1, width=recipe.width, depth=recipe.depth,
                residual=True, learned_up=False, rngs=rngs,
            )
        )  # fmt: skip
    return Translator(
        ResnetGenerator(
            channels=recipe.channels, width=recipe.width, blocks=recipe.blocks, rngs=rngs
        )
    )


def write_recipe(path: Path, recipe: AdaptRecipe) -> None:
    """As JSON."""
    path.write_text(json.dumps(asdict(recipe), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_recipe(folder: Path) -> AdaptRecipe:
    """The recipe of a run.

    Raises
    ------
    InputError
        No run of `adapt`, or a damaged file.
    """
    path = folder / RECIPE
    if not path.is_file():
        raise InputError(f"run: got {folder}, which is no run of adapt; wants one")
    try:
        told = json.loads(path.read_text("utf-8"))
        found = [Normalisation(*map(float, pair)) for pair in told.pop("normalisations")]
        return _checked(replace(AdaptRecipe(**told), normalisations=tuple(found)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"run: got {path}, which cannot be read ({error})") from None


def difference(one: AdaptRecipe, other: AdaptRecipe) -> str | None:
    """The first setting that differs, in words; what follows from the data does not count."""
    for each in fields(AdaptRecipe):
        here, there = getattr(one, each.name), getattr(other, each.name)
        if each.name != "normalisations" and here != there:
            return f"{each.name} = {here!r}, not {there!r}"
    return None


def _has_critic(recipe: AdaptRecipe) -> bool:
    return recipe.kind == "unpaired" or recipe.adversarial > 0.0


def _checked(recipe: AdaptRecipe) -> AdaptRecipe:
    found: dict[str, Any] = {}
    for name, low, high in (
        ("channels", 1, 1000), ("width", 1, 1024), ("blocks", 0, 64), ("depth", 1, 6),
        ("critic_width", 1, 1024), ("critic_layers", 1, 6), ("patch", 8, 2**14),
        ("batch", 1, 2**12), ("buffer", 0, 10**5), ("epochs", 1, 10**6), ("steps", 1, 10**6),
        ("seed", 0, _MOST // 2),
    ):  # fmt: skip
        found[name] = whole_number(name, getattr(recipe, name), low, high)
    for name, low, high in (
        ("cycle", 0.0, 1e6), ("identity", 0.0, 1e6), ("shape", 0.0, 1e6), ("pixel", 0.0, 1e6),
        ("adversarial", 0.0, 1e6), ("learning_rate", 1e-12, 1e3), ("hold", 0.0, 1.0),
    ):  # fmt: skip
        found[name] = real_number(name, getattr(recipe, name), low, high)
    choice("kind", recipe.kind, KINDS)
    choice("generator", recipe.generator, GENERATORS)
    if recipe.kind == "unpaired" and recipe.generator == "unet":
        raise InputError(
            "generator: got 'unet' for unpaired images, wants 'resnet': the batch normalisation "
            "of a unet would mix both kinds of image"
        )
    choice("normalise", recipe.normalise, WAYS)
    choice("symmetries", recipe.symmetries, SYMMETRIES)
    if recipe.kind == "paired" and not found["pixel"] and not found["adversarial"]:
        raise InputError("pixel: got 0 beside an adversarial weight of 0, wants one above 0")
    multiple = 2**recipe.depth if recipe.generator == "unet" else 4
    # Critics halve patches, too, and mirror images need more than a pixel of them.
    coarsest = max(2 * multiple, 2**recipe.critic_layers if _has_critic(recipe) else 8)
    if found["patch"] % multiple or found["patch"] < coarsest:
        raise InputError(
            f"patch: got {recipe.patch}, wants a multiple of {multiple} from {coarsest} on"
        )
    return replace(recipe, **found)
