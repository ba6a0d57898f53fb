"""One segmentation from images at several voltages, joined early, midway or late."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, whole_number
from bimmjax.nets._blocks.convolution import Conv
from bimmjax.nets._blocks.norms import freeze_norms
from bimmjax.nets._blocks.precision import in_float32
from bimmjax.nets._network import Network, check_common
from bimmjax.nets._networks.unet import UNet
from bimmjax.nets._networks.unet3d import ResUNet3D, UNet3D

COMBINED = ("ensemble", "voting")
# Logit of a class that all branches are sure of, before the layer that joins them has learned.
_SURE = 4.0


class _Fusion(Network):
    """One U-Net for each channel of the images, each channel being one voltage."""

    def _make_branches(
        self,
        channels: int,
        outputs: int,
        dims: int,
        context: int,
        width: int | None,
        depth: int | None,
        norm: str,
        dropout: float,
        residual: bool,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, outputs, context)
        if channels < 2:
            raise InputError(f"channels: got {channels}, wants one for each of 2 voltages or more")
        self.branches: nnx.List[UNet | UNet3D] = nnx.List(
            branch(1, outputs, dims, context, width, depth, norm, dropout, residual, rngs)
            for _ in range(channels)
        )

    def _apply_branches(self, images: Array) -> list[Array]:
        # Slices are stacked one after the other, each with all its channels.
        return [
            branch._forward(images[..., at :: self.channels])
            for at, branch in enumerate(self.branches)
        ]


def branch(
    channels: int,
    classes: int,
    dims: int,
    context: int,
    width: int | None,
    depth: int | None,
    norm: str,
    dropout: float,
    residual: bool,
    rngs: nnx.Rngs,
) -> UNet | UNet3D:
    """A U-Net in two (with neighbouring slices) or three dimensions."""
    if dims == 2:
        return UNet(
            channels=channels,
            classes=classes,
            context=context,
            width=64 if width is None else width,
            depth=4 if depth is None else depth,
            norm=norm,
            dropout=dropout,
            residual=residual,
            rngs=rngs,
        )
    if dims != 3 or context != 1:
        raise InputError(f"dims, context: got {dims}, {context}, wants dims 2, or 3 with context 1")
    return (ResUNet3D if residual else UNet3D)(
        channels=channels,
        classes=classes,
        width=32 if width is None else width,
        depth=3 if depth is None else depth,
        norm=norm,
        dropout=dropout,
        rngs=rngs,
    )


class EarlyFusion(Network):
    """One U-Net on all voltages as channels (FIB Article III, section 2.2.1, Figure 6A).

    ==================  ==========================================
    setting             FIB Article III
    ==================  ==========================================
    channels            3: 1, 2 and 4 kV
    `dims`, `context`   2 and 3; 7 neighbouring slices did best
    `depth`             4 encoding blocks
    `residual`          True
    loss                Dice, Adam from 1e-4
    ==================  ==========================================

    `width` and `depth` None are those of `UNet`, or in three dimensions of `UNet3D`.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import EarlyFusion
    >>> net = EarlyFusion(channels=3, classes=2, context=7, width=2, depth=2, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 8, 8, 21))).shape
    (1, 8, 8, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int = 2,
        context: int = 1,
        width: int | None = None,
        depth: int | None = None,
        norm: str = "batch",
        dropout: float = 0.0,
        residual: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        self.unet: UNet | UNet3D = branch(
            channels, classes, dims, context, width, depth, norm, dropout, residual, rngs
        )
        _take_over(self, self.unet, channels, classes)

    def _forward(self, images: Array) -> Array:
        return self.unet._forward(images)


class IntermediateFusion(_Fusion):
    """A U-Net for each voltage up to its features, which a small network classifies together.

    FIB Article III, section 2.2.2, Figure 6B; settings as in `EarlyFusion`. Each branch gives
    `features` features at every voxel, and two fully connected layers (1 × 1 convolutions, ReLU
    between) of all of them give the logits.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import IntermediateFusion
    >>> net = IntermediateFusion(channels=2, classes=2, width=2, depth=1, rngs=nnx.Rngs(0))
    >>> net(jnp.zeros((1, 8, 8, 2))).shape
    (1, 8, 8, 2)
    """

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int = 2,
        context: int = 1,
        width: int | None = None,
        depth: int | None = None,
        features: int = 16,
        norm: str = "batch",
        dropout: float = 0.0,
        residual: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        self._make_branches(
            channels,
            whole_number("features", features, 1, 1024),
            dims,
            context,
            width,
            depth,
            norm,
            dropout,
            residual,
            rngs,
        )
        ones = (1,) * dims
        self.hidden: Conv = Conv(channels * features, 2 * features, ones, rngs=rngs)
        self.classifier: Conv = Conv(2 * features, classes, ones, rngs=rngs)
        _take_over(self, self.branches[0], channels, classes)

    def _forward(self, images: Array) -> Array:
        joined = jnp.concatenate(self._apply_branches(images), -1)
        return self.classifier(nnx.relu(self.hidden(nnx.relu(joined))))


class LateFusion(_Fusion):
    """A whole U-Net for each voltage, and a layer that weighs their probabilities.

    FIB Article III, section 2.2.3, Figure 6C, and its appendix 1; settings as in `EarlyFusion`.

    `heads` gives the final logits and those of every branch, so that all is trained at once. In
    the paper the branches are trained first, each on its own voltage: the setting `branches` of a
    recipe takes them from the folders of those runs and keeps them (`fix_branches`), and only the
    last layer learns.

    Parameters
    ----------
    combine
        "ensemble" is a 1 × 1 convolution of all the branches' probabilities, which begins as their
        mean; "voting" is their mean with one weight for each voltage (`voting_weights`, positive
        and summing to one), which tells what each voltage contributes. The paper's were 0.5, 0.3
        and 0.2 for 1, 2 and 4 kV.

    Raises
    ------
    InputError
        For settings or images that cannot be.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from flax import nnx
    >>> from bimmjax.nets import LateFusion
    >>> net = LateFusion(
    ...     channels=2, classes=2, width=2, depth=1, combine="voting", rngs=nnx.Rngs(0)
    ... )
    >>> len(net.heads(jnp.zeros((1, 8, 8, 2)))), net.voting_weights.tolist()
    (3, [0.5, 0.5])
    """

    fixed: tuple[str, ...] = ()
    # What `set_compute_dtype` leaves alone: its outputs are the final logits.
    single: tuple[str, ...] = ("ensemble",)

    def __init__(
        self,
        *,
        channels: int,
        classes: int,
        dims: int = 2,
        context: int = 1,
        width: int | None = None,
        depth: int | None = None,
        combine: str = "ensemble",
        norm: str = "batch",
        dropout: float = 0.0,
        residual: bool = True,
        rngs: nnx.Rngs,
    ) -> None:
        check_common(channels, classes, context)
        choice("combine", combine, COMBINED)
        self._make_branches(
            channels, classes, dims, context, width, depth, norm, dropout, residual, rngs
        )
        self.ensemble: Conv | None = nnx.data(None)
        self.votes: nnx.Param[Array] | None = nnx.data(None)
        if combine == "ensemble":
            self.ensemble = Conv(channels * classes, classes, (1,) * dims, rngs=rngs)
            # Begin with the mean of all branches: no worse than they are, however short the run.
            mean = jnp.tile(jnp.eye(classes, dtype=jnp.float32), (channels, 1)) * (_SURE / channels)
            self.ensemble.kernel[...] = jnp.broadcast_to(mean, self.ensemble.kernel.shape)
        else:
            self.votes = nnx.Param(jnp.zeros((channels,), jnp.float32))
        _take_over(self, self.branches[0], channels, classes)

    @property
    def voting_weights(self) -> Array:
        """(channels,) what each voltage's probabilities count; `InputError` without voting."""
        if self.votes is None:
            raise InputError('combine: got "ensemble", wants "voting" for voting weights')
        return jax.nn.softmax(self.votes[...])

    def fix_branches(self) -> None:
        """Keep the branches as they are in training: parameters, running averages, no dropout."""
        self.fixed = ("branches",)
        for branch in self.branches:
            freeze_norms(branch)
            branch.eval()

    def train(self, **attributes: object) -> None:
        """Set it to learn; branches that are fixed stay as they are."""
        super().train(**attributes)
        if self.fixed:
            self.fix_branches()

    def _all_heads(self, images: Array) -> tuple[Array, ...]:
        branches = [in_float32(logits) for logits in self._apply_branches(images)]
        return (self._combined(branches), *(() if self.fixed else branches))

    def _combined(self, branches: list[Array]) -> Array:
        if self.ensemble is not None:
            joined = jnp.concatenate([jax.nn.softmax(logits) for logits in branches], -1)
            return self.ensemble(joined)
        logs = jnp.stack([jax.nn.log_softmax(logits) for logits in branches], -1)
        weights = jnp.log(self.voting_weights).astype(logs.dtype)
        return jax.nn.logsumexp(logs + weights, -1)

    def _forward(self, images: Array) -> Array:
        return self._all_heads(images)[0]


def _take_over(net: Network, part: Network, channels: int, classes: int) -> None:
    """Describe a network whose outputs reach as far as those of a part of it."""
    net.channels, net.classes, net.context = channels, classes, part.context
    net.dims, net.local = part.dims, part.local
    net.multiple, net.halo = part.multiple, part.halo
