"""Histograms of windows to columns of maps: compiled once, spread over every device of the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bimmjax.fitting._local import BlockFits, Local, fit_blocks
from bimmjax.fitting._quantities import flat_quantities, layout
from bimmjax.fitting._scoring import Setting
from bimmjax.maps._correction import corrected
from bimmjax.models import Params, from_unconstrained, phase_pairs, to_unconstrained

# Blocks fitted side by side on an accelerator; a CPU does best with one at a time per device,
# whose arrays then stay in its caches.
_NARROW, _WIDE = 64, 1024
_SINGULAR = {
    "intensities": "intensity",
    "interior_weights": "interior_weight",
    "interface_weights": "interface_weight",
    "volume_fractions": "volume_fraction",
    "interface_areas": "interface_area",
}


class Fitter:
    """Fits histograms around one global fit, `size` at a time.

    Parameters
    ----------
    local : Local
    params : Params
        The global fit, in grey values: its shapes say what is fitted.
    spacing : float
        Edge of a voxel.
    factors : mapping, optional
        That take the bias off columns (`Correction`).
    size : int, optional
        Histograms of a batch. Every batch is padded to it, so that one compiled code serves all
        and a block's numbers do not depend on its company.
    """

    def __init__(
        self,
        local: Local,
        params: Params,
        spacing: float,
        *,
        factors: Mapping[str, float] | None = None,
        size: int | None = None,
    ) -> None:
        devices = tuple(jax.local_devices())
        cpu = devices[0].platform == "cpu"
        size = (_NARROW if cpu else _WIDE) * len(devices) if size is None else size
        self.local = local
        self._spacing = jnp.asarray(spacing, float)
        self._like = jax.tree.map(lambda x: jnp.asarray(x, float), local.scale.into(params))
        self._size = -(-size // len(devices)) * len(devices)
        lanes = 1 if cpu else min(_WIDE, self._size // len(devices))
        self._run, self._mesh = _compiled(local.setting, lanes, devices)
        self.names = _names(params)
        self._factors = factors or {}
        flat, unravel = ravel_pytree(to_unconstrained(self._like))
        free = local.setting.free
        slopes = np.asarray(
            jax.jacfwd(lambda x: flat_quantities(from_unconstrained(unravel(x)), spacing))(flat)
        )
        widths = np.asarray(local.plan.widths) * (
            1.0 if free is None else np.isin(np.arange(flat.size), free)
        )
        spread = np.sqrt((slopes**2) @ widths**2)
        self.widths = {
            name: self._unit(name) * self._factors.get(name, 1.0) * float(std)
            for name, std in zip(self.names, spread, strict=True)
        }

    def __call__(self, counts: np.ndarray, starts: np.ndarray | None = None) -> BlockFits:
        """Fit counts (n, n_u, n_v); NumPy results, values and errors still in units of the fit.

        starts (n, p) : flat unconstrained parameters; those of the global fit by default.
        """
        firsts = range(0, max(len(counts), 1), self._size)
        parts = [
            self._batch(
                counts[first : first + self._size],
                None if starts is None else starts[first : first + self._size],
            )
            for first in firsts
        ]
        return parts[0] if len(parts) == 1 else jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def _batch(self, counts: np.ndarray, starts: np.ndarray | None) -> BlockFits:
        n = len(counts)
        padded = np.zeros((self._size, *counts.shape[1:]), np.int32)
        padded[:n] = counts
        begin = np.broadcast_to(np.asarray(self.local.plan.start), (self._size, self.start_size))
        if starts is not None:
            begin = begin.copy()
            begin[:n] = starts
        place = NamedSharding(self._mesh, PartitionSpec("blocks"))
        shards = jax.device_put((padded, np.ascontiguousarray(begin)), place)
        found = self._run(*shards, self.local.plan, self._spacing, self._like)
        return jax.tree.map(lambda x: np.asarray(x)[:n], found)

    @property
    def start_size(self) -> int:
        """Number of flat parameters."""
        return int(self.local.plan.start.size)

    def _unit(self, name: str) -> float:
        return self.local.scale.unit if name.startswith(("intensity_", "noise_std")) else 1.0

    def columns(self, found: BlockFits) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values and standard errors (n,) by column, in grey values and lengths, the bias off."""
        values, errors = {}, {}
        for at, name in enumerate(self.names):
            unit = self._unit(name)
            origin = self.local.scale.origin if name.startswith("intensity_") else 0.0
            values[name] = origin + unit * found.values[:, at].astype(float)
            errors[name] = unit * found.errors[:, at].astype(float)
        return corrected(values, errors, self._factors)

    def starts(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Flat parameters (n, p) from columns (n,); rows that are not finite start as usual."""
        fields = {name: [] for name in Params._fields}
        for name in self.names:
            for field in fields:
                stem = _SINGULAR.get(field, field)
                if name == stem or name.startswith(f"{stem}_"):
                    fields[field].append(columns[name])
        like = self._like._asdict()
        params = Params(
            *(
                None
                if like[name] is None
                else jnp.asarray(np.stack(found, -1).reshape(-1, *like[name].shape), float)
                for name, found in fields.items()
            )  # type: ignore[arg-type]
        )
        flat = np.asarray(_flat(self.local.scale.into(params)))
        usual = np.asarray(self.local.plan.start)
        if (free := self.local.setting.free) is not None:
            # What may not move is that of this volume, not of the one before.
            moved = np.broadcast_to(usual, flat.shape).copy()
            moved[:, list(free)] = flat[:, list(free)]
            flat = moved
        return np.where(np.isfinite(flat).all(1, keepdims=True), flat, usual)


@lru_cache(maxsize=32)
def _compiled(
    setting: Setting, lanes: int, devices: tuple[Any, ...]
) -> tuple[Callable[..., BlockFits], Mesh]:
    """The fits of a batch over devices; kept, or every map would be compiled anew."""
    mesh = Mesh(np.array(devices), ("blocks",))
    split, whole = PartitionSpec("blocks"), PartitionSpec()
    # Explicit shards, because each device walks through its own blocks: nothing is exchanged.
    run = jax.shard_map(
        partial(fit_blocks, setting=setting, lanes=lanes),
        mesh=mesh,
        in_specs=(split, split, whole, whole, whole),
        out_specs=split,
        check_vma=False,
    )
    return jax.jit(run), mesh


@jax.jit
def _flat(params: Params) -> jax.Array:
    return jax.vmap(lambda p: ravel_pytree(to_unconstrained(p))[0])(params)


def _names(params: Params) -> list[str]:
    """Columns in the order of `fitting._quantities.flat_quantities`."""
    phases = np.size(params.intensities)
    pairs = [f"{i}-{j}" for i, j in phase_pairs(phases)]
    names = []
    for name, shape, _ in layout(jax.tree.map(jnp.asarray, params)):
        stem = _SINGULAR.get(name, name)
        if shape == ():
            names.append(stem)
        else:
            by_pair = shape == (len(pairs),) and stem.startswith("interface_")
            names += [f"{stem}_{i}" for i in (pairs if by_pair else range(phases))]
    return names
