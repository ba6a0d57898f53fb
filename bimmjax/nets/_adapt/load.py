"""A network that has learned a translation, back from its folder."""

from __future__ import annotations

import os
from pathlib import Path

from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.nets._adapt.generator import Translator
from bimmjax.nets._adapt.recipe import AdaptRecipe, read_recipe, translator
from bimmjax.nets._adapt.steps import State
from bimmjax.nets._train import checkpoint
from bimmjax.nets._train.step import divided


def load_translator(
    run: str | os.PathLike[str], back: bool = False
) -> tuple[Translator, AdaptRecipe]:
    """The network there (or back) that a run has learned by now, in eval mode, and its recipe.

    Instance norms have no statistics yet: see `measured`.

    Raises
    ------
    InputError
        No run, nothing learned yet, or no way back.
    """
    out = Path(run)
    recipe = read_recipe(out)
    if back and recipe.kind == "paired":
        raise InputError(f"back: got it for {out}, whose images are paired; wants an unpaired run")
    epochs = checkpoint.checkpoints(out)
    if not epochs:
        raise InputError(f"run: got {out}, where nothing has been learned yet; wants a run")
    arrays, _ = checkpoint.read(out, epochs[-1])
    net, name = translator(recipe, back), "back" if back else "there"
    _, params, rest = divided(net)
    wanted = State({name: params}, {name: rest}, {}, {})
    own = {
        key: value
        for key, value in arrays.items()
        if key.startswith((f"params/{name}/", f"rest/{name}/"))
    }
    found = checkpoint.restored(wanted, own, checkpoint.place(out, epochs[-1]))
    nnx.update(net, found.params[name], found.rest[name])
    net.eval()
    return net, recipe
