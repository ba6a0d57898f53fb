"""Networks of full width and depth against torch: logits and gradients from the same weights.

U-Net (width 64, depth 4), Modular U-Net in 2D and 3D (width 16, depth 3) and the ResNet-152
backbone, batch normalisations in training mode. In float32 the deep ones differ by their rounding,
which 150 layers amplify; float64 shows that the networks are the same. Images of ResNet-152 are
larger, because its last normalisations would have two values each to normalise, and nothing but
signs would be left of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks._report import Table, say
from bimmjax.nets import build
from bimmjax.nets._backbones.choose import make_backbone
from bimmjax.nets._blocks.convolution import count_parameters


def run(quick: bool, out: Path) -> dict[str, Any]:
    """The largest errors, relative to the largest value, of features and of gradients."""
    from benchmarks.rivals.torch_nets import torch_modular_unet, torch_resnet, torch_unet

    plain: dict[str, Any] = {"dropout": 0.0, "noise": 0.0}
    side = 32 if quick else 64
    cases: list[tuple[str, Any, Any, tuple[int, ...], tuple[str, ...]]] = [
        ("U-Net", lambda: build("unet", channels=1, classes=3), torch_unet,
         (2, side, side, 1), ("float32", "float64")),
        ("Modular U-Net, 2D", lambda: build("modular-unet", channels=1, classes=3, **plain),
         torch_modular_unet, (2, side, side, 1), ("float32", "float64")),
        ("Modular U-Net, 3D",
         lambda: build("modular-unet", channels=1, classes=3, dims=3, **plain),
         torch_modular_unet, (2, 16, 16, 16, 1), ("float32", "float64")),
        ("ResNet-152", lambda: make_backbone("resnet152", 3, rngs=nnx.Rngs(0)), torch_resnet,
         (2, 128, 128, 3), ("float32", "float64")),
    ]  # fmt: skip
    rows = []
    for name, make, torch_net, shape, dtypes in cases:
        for dtype in dtypes:
            say(f"{name}, {dtype}")
            rows.append([name, *compared(make, torch_net, shape, dtype)])
    columns = ["network", "parameters", "images", "dtype", "outputs", "gradients", "worst gradient"]
    return {
        "tables": [Table("Largest error by the largest value", columns, rows)],
        "notes": [
            "gradients: of a random projection of the outputs, all parameters together; worst: "
            "each parameter by its own largest, but for biases that a normalisation takes out",
            "outputs: logits, of ResNet-152 the features of its last stage",
        ],
    }


def compared(make: Any, torch_net: Any, shape: tuple[int, ...], dtype: str) -> list[Any]:
    """Parameters, shape, dtype and the errors of one network."""
    from benchmarks.rivals.torch_nets import both

    with jax.enable_x64(dtype == "float64"):
        net = make()
        if dtype == "float64":
            state = nnx.state(net, nnx.Any(nnx.Param, nnx.BatchStat))
            nnx.update(net, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), state))
        images = np.random.default_rng(0).standard_normal(shape).astype(dtype)

        def call(net: Any, images: Any) -> Any:
            found = net(images)
            return found[-1] if isinstance(found, tuple) else found

        found, wanted, pairs = both(net, call, torch_net, images)
    largest = max(float(np.abs(slope).max()) for _, _, slope in pairs)
    outputs = np.abs(found - wanted).max() / np.abs(wanted).max()
    slopes = max(float(np.abs(slope - theirs).max()) for _, slope, theirs in pairs) / largest
    # Before a normalisation a bias has no slope but rounding.
    own = [(np.abs(theirs).max(), np.abs(slope - theirs).max()) for _, slope, theirs in pairs]
    worst = max(float(off / most) for most, off in own if most > 1e-6 * largest)
    size = " x ".join(map(str, shape))
    told = [f"{error:.1e}" for error in (outputs, slopes, worst)]
    return [count_parameters(net), size, dtype, *told]
