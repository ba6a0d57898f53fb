"""The Modular U-Net as a torch user writes it, its loss and its optimiser, to be timed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx
from torch import nn

from bimmjax.nets import Network

# The batch normalisation of the network's authors.
EPSILON = 1e-3
# Its operations on lists of tensors have no public name.
_ALL: Any = torch
_KINDS: dict[int, tuple[Any, Any, Any, Any]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, torch.channels_last),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d, torch.channels_last_3d),
}


class _ConvNorm(nn.Module):
    def __init__(self, dims: int, inputs: int, outputs: int, stride: int = 1, up: bool = False):
        super().__init__()
        conv, transposed, norm, _ = _KINDS[dims]
        if up:
            self.conv = transposed(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        else:
            self.conv = conv(inputs, outputs, 3, stride=stride, padding=1)
        self.norm = norm(outputs, eps=EPSILON, momentum=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


class _Block(nn.Module):
    def __init__(self, dims: int, inputs: int, middle: int, outputs: int, dropout: float):
        super().__init__()
        self.first = _ConvNorm(dims, inputs, middle)
        self.second = _ConvNorm(dims, middle, outputs)
        self.skip = _ConvNorm(dims, inputs, outputs)
        self.between, self.after = nn.Dropout(dropout), nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.between(F.relu(self.first(x))))
        return self.after(F.relu(y + self.skip(x)))


class _Encoder(nn.Module):
    def __init__(self, blocks: list[_Block], downs: list[_ConvNorm], deepest: _Block):
        super().__init__()
        self.blocks, self.downs = nn.ModuleList(blocks), nn.ModuleList(downs)
        self.deepest = deepest


class _Decoder(nn.Module):
    def __init__(self, ups: list[_ConvNorm], blocks: list[_Block]):
        super().__init__()
        self.ups, self.blocks = nn.ModuleList(ups), nn.ModuleList(blocks)


class TorchModularUNet(nn.Module):
    """One channel, three classes, depth 3; modules are called as in `bimmjax.nets.ModularUNet`."""

    def __init__(self, dims: int, width: int = 16, dropout: float = 0.1, noise: float = 0.03):
        super().__init__()
        self.noise = noise
        wide = [2 * width * 2**level for level in range(4)]
        blocks, features = [], 1
        for own in wide:
            blocks.append(_Block(dims, features, own // 2, own, dropout))
            features = own
        downs = [_ConvNorm(dims, own, own, stride=2) for own in wide[:-1]]
        self.encoder = _Encoder(blocks[:-1], downs, blocks[-1])
        self.decoder = _Decoder(
            [_ConvNorm(dims, own, own, up=True) for own in wide[:0:-1]],
            [
                _Block(dims, fine + coarse, fine, fine, dropout)
                for fine, coarse in zip(wide[-2::-1], wide[:0:-1], strict=True)
            ],
        )
        self.classifier = _KINDS[dims][0](wide[0], 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.noise:
            x = x + self.noise * torch.randn_like(x)
        finer = []
        for block, down in zip(self.encoder.blocks, self.encoder.downs, strict=True):
            x = block(x)
            finer.append(x)
            x = down(x)
        x = self.encoder.deepest(x)
        for up, block in zip(self.decoder.ups, self.decoder.blocks, strict=True):
            x = block(torch.cat([finer.pop(), up(x)], 1))
        return self.classifier(x)


def channels_last(dims: int) -> Any:
    """The memory format of that name."""
    return _KINDS[dims][3]


def copy_weights(ours: Network, theirs: TorchModularUNet) -> None:
    """Give the torch network our parameters and running averages."""
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    wanted = theirs.state_dict()
    given = {}
    for path, leaf in nnx.to_flat_state(nnx.state(ours, nnx.Any(nnx.Param, nnx.BatchStat))):
        value = torch.from_numpy(np.array(leaf.get_value()))
        if path[-1] == "kernel":
            dims = value.ndim - 2
            last = (dims, dims + 1) if "ups" in path else (dims + 1, dims)
            value = value.permute(*last, *range(dims)).contiguous()
        name = ".".join(str(part) for part in path[:-1])
        given[f"{name}.{names.get(str(path[-1]), path[-1])}"] = value
    given |= {name: value for name, value in wanted.items() if "num_batches" in name}
    theirs.load_state_dict(given)


def squared_jaccard(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The paper's Eq. C.2, logits (batch, classes, *space), over all classes at once."""
    probability = logits.softmax(1)
    truth = F.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    both = (truth * probability).sum()
    either = (truth**2).sum() + (probability**2).sum() - both
    return 1.0 - (both + 1.0) / (either + 1.0)


class AdaBelief:
    """Zhuang et al. 2020, Algorithm 2, without rectification; all tensors at once."""

    def __init__(self, parameters: list[nn.Parameter], rate: float) -> None:
        self.parameters, self.rate, self.count = parameters, rate, 0
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.spread = [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Move along the gradients that are there, and forget them."""
        self.count += 1
        slopes: list[torch.Tensor] = [p.grad for p in self.parameters if p.grad is not None]
        _ALL._foreach_lerp_(self.mean, slopes, 0.1)
        apart = _ALL._foreach_sub(slopes, self.mean)
        _ALL._foreach_mul_(self.spread, 0.999)
        _ALL._foreach_addcmul_(self.spread, apart, apart, 0.001)
        _ALL._foreach_add_(self.spread, 1e-16)
        below = _ALL._foreach_div(self.spread, 1.0 - 0.999**self.count)
        _ALL._foreach_sqrt_(below)
        _ALL._foreach_add_(below, 1e-16)
        size = -self.rate / (1.0 - 0.9**self.count)
        _ALL._foreach_addcdiv_(self.parameters, self.mean, below, size)
        for parameter in self.parameters:
            parameter.grad = None
