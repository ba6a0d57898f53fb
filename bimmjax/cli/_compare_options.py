"""Those options of `train` that all runs of a comparison share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from bimmjax.cli._train import train

COMMON = (
    "classes", "normalise", "split", "margin", "every", "patch", "batch", "foreground",
    "symmetries", "stretch", "brightness", "noise", "loss", "class_weights", "optimiser",
    "learning_rate", "schedule", "patience", "stop", "epochs", "steps", "minutes", "accumulate",
    "precision", "seed",
)  # fmt: skip


def with_options_of_train(command: Callable[..., None]) -> Callable[..., None]:
    """The same command; its `**common` are told to typer as the options that `train` has."""
    own = inspect.signature(command, eval_str=True)
    shared = inspect.signature(train, eval_str=True).parameters
    before = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
    parameters: list[inspect.Parameter] = []
    for one in before:
        # Beside the settings of the network, as `train` has them; what is about the run comes last.
        if one.name == "slices":
            parameters += [_keyword(shared[name]) for name in COMMON]
        parameters.append(_keyword(one))
    command.__signature__ = own.replace(parameters=parameters)
    return command


def _keyword(parameter: inspect.Parameter) -> Any:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
