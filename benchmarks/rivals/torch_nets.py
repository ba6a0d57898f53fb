"""Networks written again in torch, as functions of a nested dictionary of our parameters.

Each is written from its description, batch normalisations in training mode; images are channels
first. Tests hold reduced networks against them, `benchmarks.nets_parity` the full ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx


def conv(p: dict, x: torch.Tensor, stride: int = 1, dilation: int = 1) -> torch.Tensor:
    kernel = p["kernel"]
    dims = kernel.ndim - 2
    weight = kernel.permute(dims + 1, dims, *range(dims))
    pad = dilation * (kernel.shape[0] - 1) // 2
    return (F.conv2d, F.conv3d)[dims - 2](x, weight, p.get("bias"), stride, pad, dilation)


def up(p: dict, x: torch.Tensor) -> torch.Tensor:
    """Twice the size; of an odd kernel one more output is asked for at the end."""
    kernel = p["kernel"]
    dims = kernel.ndim - 2
    weight = kernel.permute(dims, dims + 1, *range(dims))
    odd = kernel.shape[0] % 2
    pad = (kernel.shape[0] - 1) // 2
    transposed = (F.conv_transpose2d, F.conv_transpose3d)[dims - 2]
    return transposed(x, weight, p.get("bias"), 2, padding=pad, output_padding=odd)


def norm(p: dict, x: torch.Tensor, epsilon: float = 1e-5) -> torch.Tensor:
    return F.batch_norm(x, None, None, p["scale"], p["bias"], training=True, eps=epsilon)


def conv_norm(p: dict, x: torch.Tensor, epsilon: float = 1e-5, **settings: int) -> torch.Tensor:
    return norm(p["norm"], conv(p["conv"], x, **settings), epsilon)


def torch_unet(p: dict, x: torch.Tensor) -> torch.Tensor:
    def double(p: dict, x: torch.Tensor) -> torch.Tensor:
        return F.relu(conv_norm(p["second"], F.relu(conv_norm(p["first"], x))))

    skips = []
    for level in sorted(p["encoder"]["blocks"]):
        x = double(p["encoder"]["blocks"][level], x)
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = double(p["encoder"]["deepest"], x)
    for level in sorted(p["decoder"]["blocks"]):
        x = torch.cat([skips.pop(), up(p["decoder"]["ups"][level], x)], 1)
        x = double(p["decoder"]["blocks"][level], x)
    return conv(p["classifier"], x)


def torch_modular_unet(p: dict, x: torch.Tensor) -> torch.Tensor:
    # The batch normalisation of the authors' library adds 1e-3.
    def block(p: dict, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(conv_norm(p["first"], x, 1e-3))
        return F.relu(conv_norm(p["second"], y, 1e-3) + conv_norm(p["skip"], x, 1e-3))

    skips = []
    for level in sorted(p["encoder"]["blocks"]):
        x = block(p["encoder"]["blocks"][level], x)
        skips.append(x)
        x = conv_norm(p["encoder"]["downs"][level], x, 1e-3, stride=2)
    x = block(p["encoder"]["deepest"], x)
    for level in sorted(p["decoder"]["blocks"]):
        way = p["decoder"]["ups"][level]
        x = norm(way["norm"], up(way["conv"], x), 1e-3)
        x = block(p["decoder"]["blocks"][level], torch.cat([skips.pop(), x], 1))
    return conv(p["classifier"], x)


def torch_resnet(p: dict, x: torch.Tensor, dilated: tuple[int, ...] = ()):
    """The last features; the stages in `dilated` keep the grid and dilate instead."""
    stages = p["stages"]
    x = F.relu(conv_norm(stages[0]["blocks"][0], x, stride=2))
    x = F.max_pool2d(x, 3, 2, 1)
    dilation = 1
    for stage in range(1, 5):
        before, stride = dilation, 1 if stage == 1 else 2
        if stage in dilated:
            dilation, stride = 2 * dilation, 1
        blocks = stages[stage]["blocks"]
        for index, key in enumerate(sorted(blocks)):
            b = blocks[key]
            step, rate = (stride, before) if index == 0 else (1, dilation)
            y = F.relu(conv_norm(b["first"], x))
            y = F.relu(conv_norm(b["second"], y, stride=step, dilation=rate))
            y = conv_norm(b["third"], y)
            x = F.relu(y + (conv_norm(b["skip"], x, stride=step) if "skip" in b else x))
    return x


def both(
    net: nnx.Module, call: Callable, torch_net: Callable, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, np.ndarray, np.ndarray]]]:
    """Outputs of both, and gradients of a random projection of them, by parameter."""
    state = nnx.to_pure_dict(nnx.state(net, nnx.Param))
    params = jax.tree.map(lambda v: torch.tensor(np.asarray(v)).requires_grad_(), state)
    wanted = torch_net(params, torch.from_numpy(np.moveaxis(images, -1, 1).copy()))
    wanted = torch.movedim(wanted, 1, -1)
    side = np.random.default_rng(7).standard_normal(wanted.shape).astype(images.dtype)
    # Divided so that gradients are of the order of one.
    side /= np.sqrt(side.size)
    (wanted * torch.from_numpy(side)).sum().backward()

    def loss(net: Any) -> Any:
        found = call(net, jnp.asarray(images))
        return (found * side).sum(), found

    # Not jitted: blocks of one shape then share what is compiled, 150 layers deep.
    (_, found), grads = nnx.value_and_grad(loss, has_aux=True)(net)
    slopes = nnx.to_pure_dict(grads)
    pairs = [
        (jax.tree_util.keystr(path), np.asarray(slope), param.grad.numpy())
        for (path, slope), param in zip(
            jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(params), strict=True
        )
    ]
    return np.asarray(found), wanted.detach().numpy(), pairs
