"""Periodic Gaussian smoothing of volumes, through the Fourier transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def periodic_kernel(n: int, std: jax.Array) -> jax.Array:
    """Gaussian of `std` voxels sampled at `n` voxels of a ring, summing to 1: (n,) float32.

    Sampled in space, as image filters do, and not in frequency: the kernel stays positive and
    smooths without ringing even where `std` is below a voxel; `std` 0 leaves the image alone.
    """
    std = jnp.asarray(std, jnp.float32)
    ring = jnp.arange(n, dtype=jnp.float32)
    # Two turns either way: enough for a Gaussian as wide as the ring itself.
    images = ring[:, None] + n * jnp.arange(-2, 3, dtype=jnp.float32)[None, :]
    safe = jnp.where(std > 0, std, 1.0)
    kernel = jnp.exp(-0.5 * (images / safe) ** 2).sum(axis=1)
    kernel = jnp.where(std > 0, kernel, (ring == 0).astype(jnp.float32))
    return kernel / kernel.sum()


def transfer(shape: tuple[int, int, int], std: jax.Array) -> jax.Array:
    """The filter on `jnp.fft.rfftn`'s lattice of frequencies: (z, y, x // 2 + 1) float32."""
    # The kernel is even, so its transform is real.
    z, y = (jnp.fft.fft(periodic_kernel(n, std)).real for n in shape[:2])
    x = jnp.fft.rfft(periodic_kernel(shape[2], std)).real
    return z[:, None, None] * y[None, :, None] * x[None, None, :]


def smooth(image: jax.Array, std: jax.Array) -> jax.Array:
    """`image` (z, y, x) filtered by a periodic Gaussian of `std` voxels, float32."""
    shape = image.shape
    spectrum = jnp.fft.rfftn(image.astype(jnp.float32))
    spectrum = spectrum * transfer((shape[0], shape[1], shape[2]), std).astype(spectrum.dtype)
    return jnp.fft.irfftn(spectrum, s=shape).astype(jnp.float32)


def shifted(spectrum: jax.Array, shape: tuple[int, int, int], offset: jax.Array) -> jax.Array:
    """The periodic volume of `spectrum` (of `rfftn`) read at voxel centres + `offset` (3,)."""
    z, y = (jnp.fft.fftfreq(n, dtype=jnp.float32) for n in shape[:2])
    x = jnp.fft.rfftfreq(shape[2], dtype=jnp.float32)
    turns = (z * offset[0])[:, None, None] + (y * offset[1])[None, :, None]
    turns = turns + (x * offset[2])[None, None, :]
    angle = 2 * jnp.pi * turns
    spectrum = spectrum * jax.lax.complex(jnp.cos(angle), jnp.sin(angle))
    return jnp.fft.irfftn(spectrum, s=shape).astype(jnp.float32)
