"""From volumes to a folder of maps with table, summary and report."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bimmjax._core.checks import InputError
from bimmjax.cli._interrupted import Interrupted, heeding_ctrl_c
from bimmjax.cli._output import writing_to
from bimmjax.cli._progress import Progress, progress_bars

if TYPE_CHECKING:
    from bimmjax.maps import Maps
    from bimmjax.maps._processes import Team

_KEPT = "interrupted; what was done is kept, the same command {}goes on"


@dataclass(frozen=True)
class MapRun:
    """Maps as ordered on the command line.

    options : keyword arguments of `map_fits`. team : coordinator, processes and process, where
    this is one of several; what is None the cluster knows. The rest are the options of the verb.
    """

    out: str
    options: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    pictures: bool = True
    as_json: bool = False
    quiet: bool = False
    command: str = "bimmjax map"
    team: tuple[str | None, int | None, int | None] | None = None


@dataclass
class Clock:
    """What this run took: `fits` in `blocks` seconds, after `setup` seconds of preparation."""

    fits: int = 0
    setup: float = 0.0
    blocks: float = 0.0


def map_and_report(volumes: Sequence[str], run: MapRun) -> None:
    """Map, or go on with it; then table, summary and report, which the leader alone writes."""
    try:
        with heeding_ctrl_c() as check, _team(run) as team:
            _map(volumes, run, check, leads=team.index == 0)
    except KeyboardInterrupt:
        raise Interrupted(_KEPT.format("without --overwrite " if run.overwrite else "")) from None


def _team(run: MapRun) -> Team:
    from bimmjax.maps._processes import Team, start_team

    return Team() if run.team is None else start_team(*run.team)


def _map(volumes: Sequence[str], run: MapRun, check: Callable[[], None], *, leads: bool) -> None:
    with progress_bars(run.quiet or not leads) as bars:
        with _no_new_parents(run.out) if leads else contextlib.nullcontext():
            maps, clock = _fit_all(volumes, run, bars, check)
        if not leads:
            return
        from bimmjax.cli._map_summary import map_summary
        from bimmjax.maps._folder import new_file
        from bimmjax.maps._table import write_table

        _remember(maps, clock)
        folder = Path(run.out)
        bars.stage("Writing the table")
        with writing_to(run.out):
            write_table(maps, folder)
            content = map_summary(maps, run.command)
            text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
            with new_file(folder / "map.json") as partial:
                partial.write_text(text + "\n", encoding="utf-8")
            if run.pictures:
                bars.stage("Drawing")
                _report(maps, folder, run)
    if run.as_json:
        print(text)
    elif not run.quiet:
        from bimmjax.cli._map_table import print_map_table

        print_map_table(maps, folder)


def _fit_all(
    volumes: Sequence[str], run: MapRun, bars: Progress, check: Callable[[], None]
) -> tuple[Maps, Clock]:
    from bimmjax.maps import map_fits

    before = _done(run)
    clock = Clock()
    begin = time.perf_counter()

    def progress(done: int, total: int) -> None:
        check()
        if not clock.setup:
            clock.setup = time.perf_counter() - begin
        bars.update("Fitting blocks", done, total, "fits")

    bars.stage("Fitting the whole")
    maps = map_fits(
        volumes[0] if len(volumes) == 1 else list(volumes),
        out=run.out,
        overwrite=run.overwrite,
        progress=progress,
        **run.options,
    )
    clock.blocks = time.perf_counter() - begin - clock.setup
    clock.fits = maps.flags.size - before
    return maps, clock


def _done(run: MapRun) -> int:
    """Blocks that earlier runs have fitted."""
    from bimmjax.maps._store import MapStore

    if run.overwrite or not MapStore.exists(run.out):
        return 0
    store = MapStore.open(run.out)
    volumes = store.description.volumes
    pending = sum(unit.windows for time in range(volumes) for unit in store.pending(time))
    return store.windows.count * volumes - pending


def _remember(maps: Maps, clock: Clock) -> None:
    """Add what this run took to what earlier ones did; one with nothing to do does not count."""
    if clock.fits <= 0:
        return
    seconds = dict(maps.attributes.get("seconds", {}))
    for name in ("setup", "blocks"):
        seconds[name] = round(seconds.get(name, 0.0) + getattr(clock, name), 3)
    fits = int(maps.attributes.get("fits", 0)) + clock.fits
    maps.store.update_attributes({"seconds": seconds, "fits": fits})


@contextlib.contextmanager
def _no_new_parents(out: str) -> Iterator[None]:
    """Remove folders above `out` that were made in vain."""
    target = Path(os.path.abspath(out))  # noqa: PTH100 (need not exist)
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        yield
    except InputError:
        with contextlib.suppress(OSError):
            for parent in missing:
                parent.rmdir()
        raise


def _report(maps: Maps, folder: Path, run: MapRun) -> None:
    from bimmjax.report import write_maps_report

    write_maps_report(maps, folder, command=run.command)
