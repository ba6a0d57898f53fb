"""What every backbone offers: features on five grids."""

from __future__ import annotations

from bimmjax.nets._blocks.units import Stages


class Backbone(Stages):
    """Five stages, as `make_backbone` puts them together.

    Their strides are 2, 4, 8, 16 and 32, or not above the output stride asked for. Of this type is
    only what has a name and weights in circulation: networks without have plain `Stages`.
    """
