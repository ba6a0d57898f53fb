"""A backbone by its name."""

from __future__ import annotations

from collections.abc import Sequence

from flax import nnx

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._backbones import resnet, xception
from bimmjax.nets._backbones.backbone import Backbone

_MAKERS = {
    "resnet152": (resnet.resnet, resnet.LAYERS),
    "xception71": (xception.xception, xception.LAYERS),
}
BACKBONES = tuple(_MAKERS)


def make_backbone(
    name: str,
    channels: int,
    *,
    width: int = 64,
    layers: Sequence[int] | None = None,
    output_stride: int = 32,
    rngs: nnx.Rngs,
) -> Backbone:
    """The encoder of that name; `InputError` for unknown names and impossible sizes.

    `width` 64 and `layers` None are the network that bears the name.
    """
    choice("backbone", name, BACKBONES)
    whole_number("width", width, 1, 1024)
    if output_stride not in (8, 16, 32):
        raise InputError(f"output_stride: got {output_stride!r}, wants 8, 16 or 32")
    make, own = _MAKERS[name]
    counts = own if layers is None else tuple(layers)
    if len(counts) != len(own):
        raise InputError(f"layers: got {counts}, wants {len(own)} numbers for {name}")
    for count in counts:
        whole_number("layers", count, 1, 1000)
    return make(channels, width=width, layers=counts, output_stride=output_stride, rngs=rngs)
