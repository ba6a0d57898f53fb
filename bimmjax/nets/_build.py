"""All networks by name."""

from __future__ import annotations

import inspect

from flax import nnx

from bimmjax._core.checks import InputError, whole_number
from bimmjax.nets._network import Network
from bimmjax.nets._networks.deeplab import DeepLabV3Plus
from bimmjax.nets._networks.fusion import EarlyFusion, IntermediateFusion, LateFusion
from bimmjax.nets._networks.modular_unet import ModularUNet
from bimmjax.nets._networks.pspnet import PSPNet
from bimmjax.nets._networks.unet import UNet
from bimmjax.nets._networks.unet3d import ResUNet3D, UNet3D
from bimmjax.nets._networks.unetpp import UNetPlusPlus
from bimmjax.nets._networks.vnet import VNet
from bimmjax.nets._networks.xy_unet3d import XYUNet3D

NETWORKS: dict[str, type[Network]] = {
    "modular-unet": ModularUNet,
    "unet": UNet,
    "unet3d": UNet3D,
    "resunet3d": ResUNet3D,
    "xy-unet3d": XYUNet3D,
    "unet++": UNetPlusPlus,
    "pspnet": PSPNet,
    "deeplabv3+": DeepLabV3Plus,
    "vnet": VNet,
    "fusion-early": EarlyFusion,
    "fusion-intermediate": IntermediateFusion,
    "fusion-late": LateFusion,
}


def build(name: str, *, channels: int, classes: int, seed: int = 0, **settings: object) -> Network:
    """The network of that name, with random parameters from `seed`, in training mode.

    Parameters
    ----------
    name : one of `NETWORKS`.
    channels, classes : channels of one slice, and classes told apart.
    seed : of parameters, dropout and noise.
    settings : those of the network's class.

    Raises
    ------
    InputError
        For names and settings that are not known, and for impossible values.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import build
    >>> net = build("modular-unet", channels=1, classes=2, width=2)
    >>> net.eval()
    >>> net(jnp.zeros((1, 32, 32, 1))).shape
    (1, 32, 32, 2)
    """
    if name not in NETWORKS:
        raise InputError(f"network: got {name!r}, wants one of {', '.join(NETWORKS)}")
    whole_number("seed", seed, 0, 2**31 - 1)
    kind = NETWORKS[name]
    own = {"channels", "classes", "rngs"}
    known = [key for key in inspect.signature(kind.__init__).parameters if key != "self"]
    known = [key for key in known if key not in own]
    for key in settings:
        if key not in known:
            raise InputError(f"{key}: no setting of {name}, which has {', '.join(known)}")
    return kind(channels=channels, classes=classes, rngs=nnx.Rngs(seed), **settings)  # pyright: ignore[reportCallIssue]
