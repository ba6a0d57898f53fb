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
"""All by the names that recipes know them by."""


def build(name: str, *, channels: int, classes: int, seed: int = 0, **settings: object) -> Network:
    """The network of that name, with random parameters from `seed`, in training mode.

    Parameters
    ----------
    name
        One of `NETWORKS`.
    channels, classes
        Channels of one slice, and classes told apart.
    seed
        Of parameters, dropout and noise.
    settings
        Those of the network's class.

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
    told = inspect.signature(kind.__init__).parameters
    known = [key for key in told if key not in own | {"self"}]
    for key, value in settings.items():
        if key not in known:
            raise InputError(f"{key}: no setting of {name}, which has {', '.join(known)}")
        _check_kind(key, value, told[key].default)
    return kind(channels=channels, classes=classes, rngs=nnx.Rngs(seed), **settings)  # pyright: ignore[reportCallIssue]


def _check_kind(name: str, value: object, usual: object) -> None:
    """Refuse words where yes or no is wanted ("False" would be yes), and one number for several."""
    if isinstance(usual, bool) and not isinstance(value, bool):
        raise InputError(f"{name}: got {value!r}, wants true or false")
    several = isinstance(usual, tuple) or name == "layers"
    if several and value is not None and not isinstance(value, list | tuple):
        raise InputError(f"{name}: got {value!r}, wants several numbers, as [1, 2, 3]")
