"""What all networks have in common: what they take, and what tiles need to know of them."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from bimmjax._core.checks import InputError, choice, real_number, whole_number
from bimmjax.nets._blocks.norms import NORMS
from bimmjax.nets._blocks.precision import in_float32
from bimmjax.nets._blocks.reach import Layer, halo_of, multiple_of


class Network(nnx.Module):
    """A segmentation network.

    Called on images (batch, *space, channels * context), float32, it returns logits (batch,
    *space, classes), float32; `heads` returns those of every supervised output, the final ones
    first. With `context` above 1 the neighbouring slices are stacked on the last axis, slice by
    slice from the lowest z, each with all its channels. Axes are (z,) y, x. Borders are padded
    with zeros.

    Attributes
    ----------
    channels, classes
        Channels of one slice, and classes told apart.
    dims
        2 or 3, the space axes convolved over.
    context
        Slices of a sample that are stacked as channels, odd; 1 if none.
    multiple
        Per space axis, what sizes of images and starts of tiles have to be multiples of.
    halo
        Per space axis, how many voxels away an output still depends on its input; of the local
        part if the network is not local.
    local
        False if pooling or normalising over the whole image makes outputs depend on the tile.
    """

    channels: int
    classes: int
    dims: int
    context: int
    multiple: tuple[int, ...]
    halo: tuple[int, ...]
    local: bool

    def _describe(
        self,
        reach: Sequence[Layer],
        *,
        channels: int,
        classes: int,
        context: int = 1,
        local: bool = True,
    ) -> None:
        self.channels, self.classes, self.context = channels, classes, context
        self.dims, self.local = len(reach[0]), local
        self.multiple, self.halo = multiple_of(reach), halo_of(reach)

    def _forward(self, images: Array) -> Array:
        raise NotImplementedError

    def _all_heads(self, images: Array) -> tuple[Array, ...]:
        return (self._forward(images),)

    def __call__(self, images: Array) -> Array:
        """The final logits (batch, *space, classes); `InputError` for images that do not fit."""
        return in_float32(self._forward(self._fitting(images)))

    def heads(self, images: Array) -> tuple[Array, ...]:
        """The logits of every output that a loss is put on, the final ones first."""
        return tuple(in_float32(head) for head in self._all_heads(self._fitting(images)))

    def _fitting(self, images: Array) -> Array:
        images = jnp.asarray(images)
        wanted = self.channels * self.context
        space = "z, y, x" if self.dims == 3 else "y, x"
        if images.ndim != self.dims + 2 or images.shape[-1] != wanted:
            raise InputError(f"images: got shape {images.shape}, wants (batch, {space}, {wanted})")
        sizes = images.shape[1:-1]
        if any(n == 0 or n % m for n, m in zip(sizes, self.multiple, strict=True)):
            raise InputError(
                f"images: got size {sizes}, wants multiples of {self.multiple} along {space}"
            )
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise InputError(f"images: got dtype {images.dtype}, wants normalised float32 values")
        return images


def set_compute_dtype(net: nnx.Module, dtype: jax.typing.DTypeLike | None) -> None:
    """Let every layer compute in `dtype` (`jnp.bfloat16` on accelerators; None: as its input).

    Parameters and running averages stay float32, and so does all that is made of logits: their
    interpolation, their mean over heads, the probabilities of branches and the layer that joins
    them.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.nets import build, set_compute_dtype
    >>> net = build("unet", channels=1, classes=2, width=2, depth=1)
    >>> set_compute_dtype(net, jnp.bfloat16)
    >>> net(jnp.zeros((1, 4, 4, 1))).dtype
    dtype('float32')
    """
    single = nnx.Any(*(nnx.PathContains(part) for part in getattr(net, "single", ())))
    net.set_attributes(nnx.Not(single), dtype=dtype, raise_if_not_found=False)


def check_common(channels: object, classes: object, context: object = 1) -> None:
    """Refuse channels, classes or context that no network can have."""
    whole_number("channels", channels, 1, 4096)
    # Labels are uint8, and 255 marks voxels that do not count.
    whole_number("classes", classes, 1, 255)
    if whole_number("context", context, 1, 99) % 2 == 0:
        raise InputError(f"context: got {context}, wants an odd number of slices")


def check_style(norm: object, dropout: object = 0.0) -> None:
    """Refuse an unknown normalisation or an impossible share of dropout."""
    choice("norm", str(norm), NORMS)
    real_number("dropout", dropout, 0.0, 0.95)


def check_dims(dims: object) -> int:
    """2 or 3, or an `InputError`."""
    return whole_number("dims", dims, 2, 3)
