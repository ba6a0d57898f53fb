"""Networks written again in torch, as functions of a nested dictionary of our parameters.

Each is written from its description, batch normalisations in training mode; images are channels
first. Tests hold reduced networks against them, `benchmarks.nets_parity` the full ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def double(p: dict, x: torch.Tensor) -> torch.Tensor:
    return F.relu(conv_norm(p["second"], F.relu(conv_norm(p["first"], x))))


def torch_unet(p: dict, x: torch.Tensor) -> torch.Tensor:
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


def torch_unetpp(p: dict, x: torch.Tensor) -> torch.Tensor:
    """With a plain encoder; the logits of all heads, the last one's first, as features."""
    stages = p["encoder"]["stages"]
    found = {}
    for i in sorted(stages):
        blocks = stages[i]["blocks"]
        x = double(blocks[max(blocks)], F.max_pool2d(x, 2) if i else x)
        found[i, 0] = x
    levels = max(stages)
    for j in range(1, levels + 1):
        for i in range(levels + 1 - j):
            row = [found[i, k] for k in range(j)]
            row.append(up(p["ups"][f"{i}_{j}"], found[i + 1, j - 1]))
            found[i, j] = double(p["nodes"][f"{i}_{j}"], torch.cat(row, 1))
    heads = [conv(p["classifiers"][j - 1]["blocks"][0], found[0, j]) for j in range(levels, 0, -1)]
    return torch.cat(heads, 1)


def torch_resnet(p: dict, x: torch.Tensor, dilated: tuple[int, ...] = ()) -> torch.Tensor:
    """The last features; the stages in `dilated` keep the grid and dilate instead."""
    return torch_resnet_stages(p, x, dilated)[-1]


def torch_resnet_stages(
    p: dict, x: torch.Tensor, dilated: tuple[int, ...] = ()
) -> list[torch.Tensor]:
    """The features after each stage."""
    stages = p["stages"]
    x = F.relu(conv_norm(stages[0]["blocks"][0], x, stride=2))
    found = [x]
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
        found.append(x)
    return found


def resized(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def torch_pspnet(p: dict, x: torch.Tensor, bins: tuple[int, ...]) -> torch.Tensor:
    """On a ResNet at stride 8; the logits of both heads as features."""
    size = x.shape[2:]
    *_, before, last = torch_resnet_stages(p["backbone"], x, (3, 4))
    pyramid = [last]
    for i, count in enumerate(bins):
        mean = F.adaptive_avg_pool2d(last, count)
        mixed = F.relu(conv_norm(p["pyramid"]["branches"][i], mean))
        pyramid.append(resized(mixed, last.shape[2:]))
    heads = []
    for name, features in (("classifier", torch.cat(pyramid, 1)), ("auxiliary", before)):
        hidden = F.relu(conv_norm(p[name]["conv"], features))
        heads.append(resized(conv(p[name]["last"], hidden), size))
    return torch.cat(heads, 1)


def torch_deeplab(p: dict, x: torch.Tensor, rates: tuple[int, ...]) -> torch.Tensor:
    """On a ResNet at output stride 16, convolutions not separable."""
    size = x.shape[2:]
    _, fine, *_, last = torch_resnet_stages(p["backbone"], x, (4,))
    pyramid = [F.relu(conv_norm(p["pyramid"]["point"], last))]
    for i, rate in enumerate(rates):
        pyramid.append(F.relu(conv_norm(p["pyramid"]["atrous"][i], last, dilation=rate)))
    mean = F.relu(conv_norm(p["pyramid"]["image"], last.mean((2, 3), keepdim=True)))
    pyramid.append(mean.expand_as(pyramid[0]))
    mixed = F.relu(conv_norm(p["pyramid"]["mix"], torch.cat(pyramid, 1)))
    low = F.relu(conv_norm(p["low"], fine))
    x = torch.cat([low, resized(mixed, low.shape[2:])], 1)
    blocks = p["decoder"]["blocks"]
    for i in (0, 1):
        x = F.relu(conv_norm(blocks[i], x))
    return resized(conv(blocks[2], x), size)


def both(
    net: nnx.Module,
    call: Callable,
    torch_net: Callable,
    images: np.ndarray,
    *,
    jit: bool = False,
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

    # Unless told otherwise not jitted: blocks of one shape then share what is compiled, 150 layers
    # deep.
    both_of = nnx.value_and_grad(loss, has_aux=True)
    (_, found), grads = (nnx.jit(both_of) if jit else both_of)(net)
    slopes = nnx.to_pure_dict(grads)
    pairs = [
        (jax.tree_util.keystr(path), np.asarray(slope), param.grad.numpy())
        for (path, slope), param in zip(
            jax.tree_util.tree_leaves_with_path(slopes), jax.tree.leaves(params), strict=True
        )
    ]
    return np.asarray(found), wanted.detach().numpy(), pairs
