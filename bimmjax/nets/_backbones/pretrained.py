"""Trained weights of backbones, from safetensors files that the user has."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax.numpy as jnp
import numpy as np
from flax import nnx

from bimmjax._core.checks import InputError
from bimmjax.nets._backbones.backbone import Backbone
from bimmjax.nets._backbones.resnet import Bottleneck
from bimmjax.nets._backbones.xception import Depthwise, XceptionBlock
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.pooling import OverlappingMaxPool
from bimmjax.nets._blocks.units import Chain, ConvNorm

Unit = ConvNorm | Depthwise


class _Place(NamedTuple):
    """Where a convolution and its normalisation stand: numbers from 0, `part` within the block."""

    stage: int
    block: int
    """Within its stage; of Xception, within all that follows the stem."""
    part: str


class _Naming(NamedTuple):
    """How a library calls the convolution and the normalisation of a place."""

    source: str
    names: Callable[[_Place], tuple[str, str]]
    number: str
    """Of a stage, or of a block where blocks are counted through all stages."""
    lowest: int


# What classifies, and counters that only the trainer needs.
_NOT_OURS = re.compile(r"(fc|head|classifier|pooler)\..*|.*\.num_batches_tracked")
# What the class for classification puts before all other names.
_PREFIX = "resnet."
_STAGES = 5
# Names that a message lists.
_NAMED = 20
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}


def _torchvision(place: _Place) -> tuple[str, str]:
    if place.stage == 0:
        return "conv1", "bn1"
    block = f"layer{place.stage}.{place.block}"
    if place.part == "skip":
        return f"{block}.downsample.0", f"{block}.downsample.1"
    number = ("first", "second", "third").index(place.part) + 1
    return f"{block}.conv{number}", f"{block}.bn{number}"


def _transformers(place: _Place) -> tuple[str, str]:
    within = "embedder.embedder"
    if place.stage:
        block = f"encoder.stages.{place.stage - 1}.layers.{place.block}"
        part = {"first": "layer.0", "second": "layer.1", "third": "layer.2", "skip": "shortcut"}
        within = f"{block}.{part[place.part]}"
    return f"{within}.convolution", f"{within}.normalization"


def _timm(place: _Place) -> tuple[str, str]:
    if place.part == "stem":
        return f"stem.{place.block}.conv", f"stem.{place.block}.bn"
    block = f"blocks.{place.block}"
    if place.part == "skip":
        return f"{block}.shortcut.conv", f"{block}.shortcut.bn"
    number, way = place.part.split(".")
    within = f"{block}.stack.conv{int(number) + 1}"
    return f"{within}.conv_{way}", f"{within}.bn_{way}"


_RESNET = (
    _Naming("torchvision", _torchvision, r"layer(\d+)\.", 1),
    _Naming("microsoft/resnet-152", _transformers, r"encoder\.stages\.(\d+)\.", 0),
)
_XCEPTION = (_Naming("timm/xception71", _timm, r"blocks\.(\d+)\.", 0),)


def load_pretrained(net: nnx.Module, path: str | os.PathLike[str]) -> str:
    """Give the backbones of a network the weights of a safetensors file.

    ResNet-152 takes files that name their tensors as torchvision and timm do (conv1.weight,
    layer1.0.conv1.weight, ...) or as `microsoft/resnet-152` (embedder.embedder.convolution.weight,
    ...), Xception-71 those of `timm/xception71` (stem.0.conv.weight, blocks.0.stack.conv1 ...).
    Kernels, normalisations and their running averages are taken over. What classifies is left out,
    and so are stages that the network does not have.

    Kernels of the first layer are for three colours. A network of three inputs takes them as they
    are. Of any other number, each input gets the sum over the colours divided by the number of
    inputs: one grey channel, or equal slices stacked as channels, then see what a grey photograph
    would have shown to the colours.

    Parameters
    ----------
    net : flax.nnx.Module
        A network with a backbone of width 64 and all its layers, as `build("pspnet", ...)`.
        Changed in place.
    path : path
        The file.

    Returns
    -------
    str
        The file's SHA-256, in hexadecimal.

    Raises
    ------
    InputError
        A network without a backbone, a file that cannot be read, missing or superfluous tensors,
        shapes that do not fit, values that are not finite.

    Examples
    --------
    >>> from bimmjax.nets import build, load_pretrained
    >>> net = build("pspnet", channels=1, classes=3)  # doctest: +SKIP
    >>> load_pretrained(net, "resnet-152.safetensors")  # doctest: +SKIP
    '4f1c...'
    """
    backbones = backbones_of(net)
    if not backbones:
        raise InputError(
            f"pretrained: got a network without a backbone ({type(net).__name__}), wants one "
            'with backbone="resnet152" or "xception71"'
        )
    file = Path(path)
    tensors, digest = _read(file)
    # All are checked before any is changed.
    for backbone, found in [(each, _matched(each, tensors, file)) for each in backbones]:
        for variable, value in zip(_variables(backbone), found, strict=True):
            variable.set_value(jnp.asarray(value, variable.get_value().dtype))
    return digest


def backbones_of(net: nnx.Module) -> list[Backbone]:
    """The backbones within a network."""
    return [module for _, module in nnx.iter_modules(net) if isinstance(module, Backbone)]


def file_hash(path: Path) -> str:
    """SHA-256 of a file; `InputError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"pretrained: got {path}, which cannot be read ({reason}); wants a safetensors file"
        ) from None


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    digest = file_hash(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise InputError(
            f"pretrained: got {path}, which is no safetensors file ({reason})"
        ) from None
    return {name.removeprefix(_PREFIX): value for name, value in tensors.items()}, digest


def _units(backbone: Backbone) -> Iterator[tuple[_Place, Unit]]:
    """Every convolution with its normalisation, in the order of `_variables`."""
    after_stem = 0
    for stage, chain in enumerate(backbone.stages):
        each = cast(Chain, chain).blocks
        blocks = [block for block in each if not isinstance(block, OverlappingMaxPool)]
        for number, block in enumerate(blocks):
            if isinstance(block, ConvNorm):
                yield _Place(0, number, "stem"), block
            elif isinstance(block, Bottleneck):
                for part in ("first", "second", "third", "skip"):
                    if getattr(block, part) is not None:
                        yield _Place(stage, number, part), getattr(block, part)
            elif isinstance(block, XceptionBlock):
                for index, conv in enumerate(block.convs):
                    yield _Place(stage, after_stem, f"{index}.dw"), conv.depthwise
                    yield _Place(stage, after_stem, f"{index}.pw"), conv.pointwise
                if block.shortcut is not None:
                    yield _Place(stage, after_stem, "skip"), block.shortcut
                after_stem += 1


def _variables(backbone: Backbone) -> Iterator[nnx.Variable[Any]]:
    for _, unit in _units(backbone):
        yield cast(Conv, unit.conv).kernel
        for ours in _NORM.values():
            yield getattr(unit.norm, ours)


def _matched(backbone: Backbone, tensors: Mapping[str, np.ndarray], path: Path) -> list[np.ndarray]:
    """A value for each of `_variables`, checked."""
    kind = _XCEPTION if any(p.part == "0.dw" for p, _ in _units(backbone)) else _RESNET
    named = {naming: _names(backbone, naming) for naming in kind}
    naming = max(named, key=lambda naming: sum(name in tensors for name in named[naming]))
    names = named[naming]
    if not names:
        raise InputError(
            f"pretrained: got {path} for a backbone without stages, wants one with some"
        )
    missing = [name for name in names if name not in tensors]
    known = set(names)
    superfluous = [
        name
        for name in tensors
        if name not in known
        and not _NOT_OURS.fullmatch(name)
        and not _left_out(name, naming, backbone)
    ]
    if missing or superfluous:
        told = [
            f"{word} {len(listed)} tensors ({_some(listed)})"
            for word, listed in (("without", missing), ("with unknown", superfluous))
            if listed
        ]
        raise InputError(
            f"pretrained: got {path} {' and '.join(told)}, wants the {len(names)} of "
            f"{' or '.join(each.source for each in kind)}"
        )
    return [
        _fitting(tensors[name], variable, name, path, first=number == 0)
        for number, (name, variable) in enumerate(zip(names, _variables(backbone), strict=True))
    ]


def _names(backbone: Backbone, naming: _Naming) -> list[str]:
    found = []
    for place, _ in _units(backbone):
        conv, norm = naming.names(place)
        found += [f"{conv}.weight", *(f"{norm}.{theirs}" for theirs in _NORM)]
    return found


def _left_out(name: str, naming: _Naming, backbone: Backbone) -> bool:
    """Whether a tensor belongs to what was cut off a backbone."""
    if len(backbone.stages) == _STAGES:
        return False
    places = [place for place, _ in _units(backbone) if place.part != "stem"]
    kept = {place.block if naming in _XCEPTION else place.stage - 1 for place in places}
    at = re.match(naming.number, name)
    return at is not None and int(at[1]) - naming.lowest > max(kept, default=-1)


def _some(names: list[str]) -> str:
    """Names, the first of them where there are hundreds."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _fitting(
    value: np.ndarray, variable: nnx.Variable[Any], name: str, path: Path, *, first: bool
) -> np.ndarray:
    """A tensor as our layer has it; the first layer's may be for colours."""
    wanted = variable.get_value().shape
    found = value
    if value.ndim == 4:
        # (outputs, inputs, y, x) to (y, x, inputs, outputs).
        found = value.transpose(2, 3, 1, 0)
        if first and found.shape[2] == 3 != wanted[2]:
            grey = found.astype(np.float64).sum(2, keepdims=True) / wanted[2]
            found = np.repeat(grey, wanted[2], 2)
    if found.shape != wanted:
        theirs = (wanted[3], wanted[2], *wanted[:2]) if len(wanted) == 4 else wanted
        raise InputError(
            f"pretrained: got {path} with {name} of shape {value.shape}, wants {theirs}"
        )
    if not np.isfinite(found).all():
        raise InputError(f"pretrained: got {path} with values in {name} that are no numbers")
    return found
