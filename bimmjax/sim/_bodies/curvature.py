"""Curvature of the level sets of a periodic field."""

from __future__ import annotations

import numpy as np


def curvatures(field: np.ndarray) -> np.ndarray:
    """Of the level set through every voxel of a periodic field: (3, z, y, x) float32.

    Mean curvature H (1/voxel), positive where what lies below the level is convex; S = κ₁² + κ₂²
    and K = κ₁κ₂ (1/voxel²). Derivatives are those of the field's Fourier series: exact for a
    field that the lattice resolves.
    """
    spectrum = np.fft.rfftn(np.asarray(field, np.float64))
    turns = [2j * np.pi * np.fft.fftfreq(n) for n in field.shape[:2]]
    turns.append(2j * np.pi * np.fft.rfftfreq(field.shape[2]))
    waves = [w.reshape([-1 if k == axis else 1 for k in range(3)]) for axis, w in enumerate(turns)]

    def derivative(*axes: int) -> np.ndarray:
        moved = spectrum
        for axis in axes:
            moved = moved * waves[axis]
        return np.fft.irfftn(moved, s=field.shape, axes=(0, 1, 2))

    z, y, x = (derivative(axis) for axis in range(3))
    zz, yy, xx = (derivative(axis, axis) for axis in range(3))
    zy, zx, yx = derivative(0, 1), derivative(0, 2), derivative(1, 2)
    steep = np.maximum(z * z + y * y + x * x, 1e-30)
    along = z * z * zz + y * y * yy + x * x * xx + 2.0 * (z * y * zy + z * x * zx + y * x * yx)
    total = (steep * (zz + yy + xx) - along) / steep**1.5
    product = (
        z * z * (yy * xx - yx * yx)
        + y * y * (zz * xx - zx * zx)
        + x * x * (zz * yy - zy * zy)
        + 2.0 * z * y * (zx * yx - zy * xx)
        + 2.0 * z * x * (zy * yx - zx * yy)
        + 2.0 * y * x * (zy * zx - yx * zz)
    ) / steep**2
    return np.stack([0.5 * total, total**2 - 2.0 * product, product]).astype(np.float32)
