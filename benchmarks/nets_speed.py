"""The Modular U-Net in one run with torch: inference, and steps of training.

2D, one image of 512 squared, and a step of the paper's training (batch 10 of 160 squared, Jaccard²,
AdaBelief, dropout and noise); 3D, a step of a batch of 2 of 32 cubed. Width 16, depth 3, float32,
as many threads as cores for both. torch: eager, channels last, compiled, and both. Ours: with XLA's
own gradients of convolutions, and with those that stand in for them on a CPU. Every variant is
called once first, apart (compilation); then all take turns. Inference is by the same weights, and
logits are compared; steps begin with random ones.

A training step asks the system for some gigabytes and gives them back. Where the C library is
glibc,

    GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=8589934592:\
glibc.malloc.mmap_threshold=8589934592

keeps them in the process, which saves the page faults; the last table has a step with and without,
each in a process of its own. It takes memory from others for as long as training lasts.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import lax

from benchmarks._process import run_child
from benchmarks._report import Table, say, spread
from bimmjax.nets import Network, Recipe, build
from bimmjax.nets._data.sampler import Batch
from bimmjax.nets._train.devices import mesh_for
from bimmjax.nets._train.step import Stepper

SIZES = {2: (10, 160), 3: (2, 32)}
KEEPING = ":".join(
    f"glibc.malloc.{name}"
    for name in ("arena_max=1", f"trim_threshold={2**33}", f"mmap_threshold={2**33}")
)
_EAGER, _LAST, _COMPILED = "torch eager", "torch channels last", "torch compiled"
_BOTH = "torch compiled, channels last"
_STOCK, _FAST = "ours, XLA's gradients", "ours"

Calls = dict[str, Callable[[], Any]]


def run(quick: bool, out: Path) -> dict[str, Any]:
    """Medians over interleaved repetitions, and how they stand to torch."""
    import torch

    repeats = 3 if quick else 9
    torch.set_num_threads(os.cpu_count() or 1)
    where = device()
    tables, seconds, first = [], {}, {}
    images = random_images(2, 1, 256 if quick else 512)
    apart, calls = inference(images)
    jobs = {f"inference, {images.shape[1]} squared": calls}
    for dims, (batch, size) in SIZES.items():
        name = f"training step, {dims}D, {batch} of {size}"
        jobs[name] = steps(dims, batch, size, compiled=not (quick or dims == 3))
    for name, calls in jobs.items():
        first[name], seconds[name] = timed(name, calls, repeats)
        tables.append(table(name, first[name], seconds[name]))
    kept = keeping(2 if quick else 5)
    tables.append(kept)
    return {
        "tables": tables,
        "notes": [
            f"largest difference of logits from torch's, from the same weights: {apart:.1e}",
            f"width 16, depth 3, 1 channel, 3 classes; {repeats} repetitions in turn, "
            f"{os.cpu_count()} threads each",
            "first call: compilation and one run",
            f"ours on {jax.devices()[0].device_kind}, torch on {where}",
        ],
        "seconds": seconds,
        "first_call_seconds": first,
        "logits_apart": apart,
    }


def device() -> str:
    """Torch's device: the kind of ours."""
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise SystemExit("nets_speed: JAX is on an accelerator that this torch does not know")
    # As XLA does by default.
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    return "cuda"


def random_images(dims: int, batch: int, size: int) -> np.ndarray:
    """(batch, *space, 1) float32, normal."""
    return np.random.default_rng(0).standard_normal((batch, *(size,) * dims, 1), np.float32)


def network(dims: int, stock: bool = False) -> Network:
    """Ours at the paper's size."""
    net = build("modular-unet", channels=1, classes=3, dims=dims)
    if stock:
        net.set_attributes(conv_general_dilated=lax.conv_general_dilated)
    return net


def step_of(dims: int, batch: int, size: int, stock: bool) -> Callable[[], Any]:
    """A step of our training, which ends when the loss is there."""
    net = network(dims, stock)
    recipe = Recipe("modular-unet", 3, channels=1, patch=(size,) * dims, batch=batch)
    stepper = Stepper(net, recipe, mesh_for(batch, recipe.patch, net.multiple[0]))
    images = random_images(dims, batch, size)
    labels = np.random.default_rng(1).integers(0, 3, images.shape[:-1]).astype(np.uint8)
    drawn = Batch(images, labels, np.zeros((batch, 0), np.float32))
    return lambda: float(stepper.learn(drawn, recipe.learning_rate))


def inference(images: np.ndarray) -> tuple[float, Calls]:
    """How far the logits are apart, and the calls."""
    import torch

    from benchmarks.rivals.torch_modular_unet import TorchModularUNet, channels_last, copy_weights

    dims = images.ndim - 2
    net, theirs = network(dims), TorchModularUNet(dims)
    copy_weights(net, theirs)
    net.eval()
    theirs.eval()
    graph, state = nnx.split(net)
    apply = jax.jit(lambda state, images: nnx.merge(graph, state)(images))
    theirs.to(device())
    given = torch.from_numpy(np.moveaxis(images, -1, 1).copy()).to(device())
    last = TorchModularUNet(dims).eval().to(device())
    last.load_state_dict(theirs.state_dict())
    last.to(memory_format=channels_last(dims))
    spread_out = given.to(memory_format=channels_last(dims))
    ours = jax.device_put(images)

    def torch_call(call: Any, given: Any) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                found = call(given)
            if found.is_cuda:
                torch.cuda.synchronize()
            return found

        return run

    calls: Calls = {
        _EAGER: torch_call(theirs, given),
        _LAST: torch_call(last, spread_out),
        _COMPILED: torch_call(torch.compile(theirs), given),
        _BOTH: torch_call(torch.compile(last), spread_out),
        _FAST: lambda: jax.block_until_ready(apply(state, ours)),
    }
    wanted = np.moveaxis(calls[_EAGER]().cpu().numpy(), 1, -1)
    return float(np.abs(np.asarray(calls[_FAST]()) - wanted).max()), calls


def steps(dims: int, batch: int, size: int, compiled: bool) -> Calls:
    """A step of training each."""
    return {
        **torch_steps(dims, batch, size, compiled),
        _STOCK: step_of(dims, batch, size, stock=True),
        _FAST: step_of(dims, batch, size, stock=False),
    }


def torch_steps(dims: int, batch: int, size: int, compiled: bool) -> Calls:
    """A step of the same training by torch, each of its ways."""
    import torch

    from benchmarks.rivals import torch_modular_unet as rival

    images = torch.from_numpy(np.moveaxis(random_images(dims, batch, size), -1, 1).copy())
    images = images.to(device())
    labels = torch.from_numpy(
        np.random.default_rng(1).integers(0, 3, images.shape[:1] + images.shape[2:])
    ).to(device())

    def step(way: str) -> Callable[[], float]:
        net, given = rival.TorchModularUNet(dims).train().to(device()), images
        if way in (_LAST, _BOTH):
            net = net.to(memory_format=rival.channels_last(dims))
            given = images.to(memory_format=rival.channels_last(dims))
        rule = rival.AdaBelief(list(net.parameters()), 1e-3)
        forward: Any = torch.compile(net) if way in (_COMPILED, _BOTH) else net

        def once() -> float:
            loss = rival.squared_jaccard(forward(given), labels)
            loss.backward()
            rule.step()
            return loss.item()

        return once

    return {way: step(way) for way in (_EAGER, _LAST, *(_COMPILED, _BOTH) * compiled)}


def timed(name: str, calls: Calls, repeats: int) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Seconds of the first call, and of those in turn."""
    first: dict[str, float] = {}
    seconds: dict[str, list[float]] = {way: [] for way in calls}
    for way, call in calls.items():
        before = time.perf_counter()
        call()
        first[way] = time.perf_counter() - before
        say(f"{name}: {way}, first call {first[way]:.1f} s")
    for _ in range(repeats):
        for way, call in calls.items():
            before = time.perf_counter()
            call()
            seconds[way].append(time.perf_counter() - before)
    return first, seconds


def table(name: str, first: dict[str, float], seconds: dict[str, list[float]]) -> Table:
    """Medians, and how many times as long as torch eager and compiled."""
    median = {way: statistics.median(listed) for way, listed in seconds.items()}
    rows = [
        [
            way,
            first[way],
            median[way],
            spread(seconds[way]),
            f"{median[way] / median[_EAGER]:.2f}",
            f"{median[way] / median[_COMPILED]:.2f}" if _COMPILED in median else None,
        ]
        for way in seconds
    ]
    columns = ["way", "first call s", "median s", "range s", "by eager", "by compiled"]
    return Table(name[0].upper() + name[1:], columns, rows)


def keeping(repeats: int) -> Table:
    """Our step in 2D by processes of their own, with the allocator as it is and told to keep."""
    ways = {"as it is": {}, "keeping freed memory": {"GLIBC_TUNABLES": KEEPING}}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="bimmjax-nets-") as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        }
        told = Path(folder) / "told.json"
        for _ in range(repeats):
            for way, environment in ways.items():
                words = [sys.executable, "-m", "benchmarks._nets_step_child", str(told)]
                found = run_child(words, cache | environment)
                seconds[way].append(statistics.median(json.loads(told.read_text("utf-8"))))
                peaks[way].append(found.peak_gib)
    rows = [
        [way, statistics.median(listed), spread(listed), f"{max(peaks[way]):.2f}"]
        for way, listed in seconds.items()
    ]
    columns = ["glibc's allocator", "median s", "range s", "peak GiB"]
    return Table(f"Our training step in 2D, {repeats} processes each", columns, rows)
