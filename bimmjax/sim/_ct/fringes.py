"""Near-field phase contrast: bright and dark fringes along edges."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from bimmjax.sim import _checks


def fringes(
    image: jax.Array | np.ndarray, fresnel: float | jax.Array, delta_beta: float | jax.Array
) -> jax.Array:
    """Let a periodic volume's own refraction draw fringes along its edges.

    The reconstructed absorption of a weak object of one material is filtered by
    cos χ + (δ/β) sin χ, χ = π `fresnel` f², f in cycles per voxel: by the projection-slice
    theorem what propagation does to projections it does to the volume. For small χ that is
    Paganin's image - (δ/β) (`fresnel` / 4π) ∇²image; its square root is a fringe's width.

    Source: Paganin et al. (2002), doi:10.1046/j.1365-2818.2002.01010.x; Cloetens et al. (1999),
    doi:10.1063/1.125225.

    Parameters
    ----------
    image
        (z, y, x) periodic; an affine function of the absorption.
    fresnel
        Wavelength · distance / voxel², without unit; the distance from the object to the
        detector, divided by the magnification. 0.5 Å, 50 mm and 1 µm make 2.5.
    delta_beta
        δ/β, by how much more the material refracts than it absorbs; 0 to 1000.

    Returns
    -------
    (z, y, x) float32 of the same mean. Blur it: the filter amplifies what is finer than the
    fringes, and no detector sees it all.

    Raises
    ------
    InputError
        If `image` is not 3D, or a number is negative.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from bimmjax.sim import blur, fringes
    >>> step = jnp.broadcast_to(jnp.where(jnp.arange(64) < 32, 0.0, 1.0), (8, 8, 64))
    >>> seen = blur(fringes(step, 1.0, 20.0), 1.0)
    >>> bool(seen.max() > 1.2), round(float(seen.mean()), 3)
    (True, 0.5)
    """
    volume = _checks.volume("image", image)
    _checks.number("fresnel", fresnel)
    _checks.number("delta_beta", delta_beta)
    return _drawn(volume, jnp.asarray(fresnel, jnp.float32), jnp.asarray(delta_beta, jnp.float32))


@jax.jit
def _drawn(image: jax.Array, fresnel: jax.Array, delta_beta: jax.Array) -> jax.Array:
    shape = (image.shape[0], image.shape[1], image.shape[2])
    spectrum = jnp.fft.rfftn(image) * fringe_transfer(shape, fresnel, delta_beta)
    return jnp.fft.irfftn(spectrum, s=shape).astype(jnp.float32)


def fringe_transfer(
    shape: tuple[int, int, int], fresnel: jax.Array, delta_beta: jax.Array
) -> jax.Array:
    """The filter on `jnp.fft.rfftn`'s lattice of frequencies: (z, y, x // 2 + 1) float32."""
    z, y = (jnp.fft.fftfreq(n, dtype=jnp.float32) ** 2 for n in shape[:2])
    x = jnp.fft.rfftfreq(shape[2], dtype=jnp.float32) ** 2
    chi = jnp.float32(math.pi) * fresnel * (z[:, None, None] + y[None, :, None] + x)
    return jnp.cos(chi) + delta_beta * jnp.sin(chi)
