"""The page of a map set: what varies through the sample, and which blocks not to believe."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bimmjax import __version__, plot
from bimmjax.plot._labels import length_name
from bimmjax.plot._maps_profiles import axes_of, profiled
from bimmjax.plot._maps_spread import independent_share
from bimmjax.plot._maps_view import MAIN, Quantity, View
from bimmjax.report._html import document, picture, section, table, verdict_box, warnings_box
from bimmjax.report._maps_rows import (
    MOSTLY_POOR,
    block_rows,
    flag_rows,
    percent,
    quantity_row,
    usable_words,
)
from bimmjax.report._maps_slopes import slope_curves, slope_words
from bimmjax.report._maps_verdict import verdict_of_whole, warnings_of_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bimmjax.maps._maps import Maps

PAGE = "maps.html"
PICTURES = ("maps", "profiles", "histograms", "series", "flags")
_LISTED = 20
_GOOD, _FAIR = 0.9, 0.5  # of the blocks can be used

_SPREAD = (
    "Over the blocks that are shown. <b>Spread</b>: standard deviation between blocks. "
    "<b>Error</b>: median standard error of one block. Blocks differ for certain only where their "
    "variance is clearly above the mean square of their errors; what remains is the variation of "
    "the sample, which for blocks of a uniform material is not zero either: each holds another "
    "piece of it."
)
_BORROWED = (
    " Left out of a quantity: blocks that cannot tell it themselves (the blur of blocks without "
    "interfaces, the intensity of a phase that they lack)."
)
_SLOPES = (
    "Slopes of straight lines through the means of layers of blocks, ± standard error; <b>bold</b> "
    "where beyond three of these, or more where few blocks tell them. Errors come from the scatter "
    "of the blocks within the layers, or "
    "of the layers about the line, whichever is larger; overlapping blocks count by what is their "
    "own. Where a quantity changes strongly along one axis, this is scatter along the others."
)
_CAPTIONS = {
    "maps": (
        "Middle slices of the maps",
        "Each block is drawn at its centre, as wide as the stride, within the volume's outline. "
        "Colours run from the 1st to the 99th percentile over the whole map.",
    ),
    "profiles": (
        "Profiles along the axes",
        "Points: means over the blocks of a layer that can be used, each with its standard error, "
        "from the scatter within the layer. Band: what all layers may be off by alike, which "
        "hides no gradient. A line is drawn where its slope is beyond three of its errors (more "
        "where few blocks tell them).",
    ),
    "histograms": (
        "Distributions over the blocks",
        "Where the distribution is no wider than the black bar, the blocks differ by their errors "
        "only.",
    ),
    "series": (
        "Change with time",
        "Points: mean over the blocks that are shown, with its standard error (of overlapping "
        "blocks only the independent share counts). Band: standard deviation between blocks. "
        "Diamonds: fit of each whole volume.",
    ),
    "flags": (
        "Where the flagged blocks are",
        "Seen through the whole volume, so that no flagged block is missed.",
    ),
}


def write_maps_report(maps: Maps, folder: str | os.PathLike[str], *, command: str = "") -> Path:
    """Draw `maps.png`, `profiles.png`, `histograms.png`, ..., and write `maps.html`.

    The page holds the pictures and needs nothing else. Pictures that have nothing to show (no
    block flagged, no block to use, no series) are left out, and removed if an earlier report of
    the same maps left them.

    Parameters
    ----------
    maps : Maps
        Complete or not.
    folder : path
        Exists; usually the maps' own.
    command : str
        What made the maps, to be told at the end.

    Returns
    -------
    Path
        Of the page.
    """
    target = Path(folder)
    drawn: dict[str, bytes] = {}
    for name, made in _figures(maps):
        buffer = io.BytesIO()
        made.savefig(buffer, format="png", pil_kwargs={"compress_level": 4})
        drawn[name] = buffer.getvalue()
    for name in PICTURES:
        path = target / f"{name}.png"
        if name in drawn:
            _replace(path, drawn[name])
        else:
            path.unlink(missing_ok=True)
    path = target / PAGE
    _replace(path, maps_page(maps, drawn, command=command).encode("utf-8"))
    return path


def maps_page(maps: Maps, pictures: Mapping[str, bytes], *, command: str = "") -> str:
    """The page as HTML.

    Parameters
    ----------
    maps : Maps
    pictures
        PNG bytes by name: "maps", "profiles", "histograms", "series", "flags"; any may be missing.
    command : str
        What made the maps.
    """
    view = View(maps)
    whole = verdict_of_whole(view)
    body = [
        "" if whole is None else verdict_box(*whole),
        verdict_box(*_verdict(view)),
        warnings_box(_warnings(view)),
        section("What varies", *_quantities(view)),
        _slopes(view),
        section(
            "Pictures",
            f"<p>{_left_out(view)}</p>" if view.left_out else "",
            *(
                picture(name, *_CAPTIONS[name], pictures[name], wide=True)
                for name in _CAPTIONS
                if name in pictures
            ),
        ),
        section("Flagged blocks", *_flags(view)),
        section("Open in napari", *_napari(maps)),
        section("How it was made", *_origin(view, command)),
    ]
    return document(_title(maps), _facts(view), "\n".join(filter(None, body)))


def _figures(maps: Maps) -> Iterator[tuple[str, Figure]]:
    view = View(maps)
    yield "maps", plot.map_slices(maps)
    if profiled(view):
        yield "profiles", plot.map_profiles(maps)
    if view.shown.any():
        yield "histograms", plot.map_histograms(maps)
        if view.series:
            yield "series", plot.map_series(maps)
    flags = plot.map_flags(maps)
    if flags is not None:
        yield "flags", flags


def _replace(path: Path, content: bytes) -> None:
    """Write beside and rename: a reader never finds half a page."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def _title(maps: Maps) -> str:
    name = maps.path.name if maps.path is not None else "Parameter maps"
    return f"{name}: maps of {maps.phases} phase{'s' if maps.phases > 1 else ''}"


def _facts(view: View) -> str:
    maps = view.maps
    windows = maps.windows
    parts = [f"{view.flags.size:,} blocks of {_times(windows.block)} voxels"]
    if windows.stride != windows.block:
        parts.append(f"one every {_times(windows.stride)}")
    if view.series:
        first, last = view.times[0], view.times[-1]
        parts.append(f"{len(view.times)} volumes, time {first:g} to {last:g}")
    parts.append(f"volume of {_times(windows.volume_shape)} voxels (z, y, x)")
    if maps.length_unit == "voxel":
        parts.append("voxel size not given: lengths are in voxels")
    else:
        parts.append(f"voxel size {_times(tuple(maps.spacing))} {length_name(maps.length_unit)}")
    return " · ".join(parts)


def _times(three: tuple[float, ...]) -> str:
    """`64³`, or `32 × 64 × 64` where the axes differ; plain lengths if all are alike."""
    if len(set(three)) > 1:
        return " × ".join(f"{n:g}" for n in three)
    return f"{three[0]}³" if isinstance(three[0], int) else f"{three[0]:g}"


def _verdict(view: View) -> tuple[str, str, str]:
    """Level, headline and words."""
    total, usable = view.flags.size, int(view.usable.sum())
    pending = int(view.pending.sum())
    flagged = int(((view.flags != 0) & ~view.pending).sum())
    fitted = total - pending
    if pending:
        headline = f"Not complete: {pending:,} of {total:,} blocks are not fitted yet"
        words = (
            "The same command goes on where it stopped. So far "
            f"{usable:,} of {fitted:,} fitted blocks can be used."
        )
        return ("fair" if fitted else "poor"), headline, words
    if not usable:
        return "poor", usable_words(view), "The flags below tell why."
    words = "No block is flagged." if not flagged else (
        f"{flagged:,} {'block carries' if flagged == 1 else 'blocks carry'} a flag "
        f"({percent(flagged, total)}), {total - usable:,} of them one that forbids use; "
        "what the flags mean stands below."
    )  # fmt: skip
    share = usable / total
    level = "good" if share >= _GOOD else "fair" if share >= _FAIR else "poor"
    if level == "good" and not view.whole_at_rest:
        level = "fair"
    return level, usable_words(view), words


def _warnings(view: View) -> list[str]:
    """What the global fits warned of; the local fits lean on them."""
    poor = [MOSTLY_POOR] if view.mostly_poor else []
    return poor + [f"Fit of the whole volume: {text}" for text in warnings_of_whole(view)]


_HEADS = [
    ("", ""),
    ("Mean over blocks", "value"),
    ("Whole volume", "interval"),
    ("Spread", "interval"),
    ("Error", "interval"),
    ("Variation", "spread"),
    ("Meaning", "meaning"),
]


def _quantities(view: View) -> Iterator[str]:
    main = [q for q in view.quantities if q in view.drawn]
    rest = [q for q in view.quantities if q not in main]
    yield _quantity_table(view, main)
    borrowed = _BORROWED if view.shown.any() else ""
    yield f'<p class="note">{_SPREAD}{borrowed}</p>'
    if view.series:
        yield (
            '<p class="note">All times together, so a change with time is part of the spread; '
            "of the whole volumes the first and the last are told.</p>"
        )
    if view.maps.store.identity.get("errors") is False:
        yield (
            '<p class="note">The standard errors were not calibrated: they may be too small.</p>'
        )
    share = independent_share(view.maps.windows)
    if share < 1:
        yield (
            f'<p class="note">Blocks overlap: about one in {1 / share:.3g} is independent of the '
            "others.</p>"
        )
    if rest:
        fields = "the model's own parameters"
        if any(q.kind in MAIN for q in rest):
            fields = f"rarer phases and interfaces, and {fields}"
        yield f"<details>\n<summary>{len(rest)} more: {fields}</summary>"
        yield _quantity_table(view, rest)
        yield "</details>"


def _quantity_table(view: View, quantities: list[Quantity]) -> str:
    rows = []
    for quantity in quantities:
        row = quantity_row(view, quantity)
        value = f"<b>{escape(row.mean)}</b>&nbsp;{escape(row.unit)}"
        told = [row.whole, row.between, row.error, row.variation, row.meaning]
        rows.append([escape(row.name), value, *map(escape, told)])
    return table(_HEADS, rows)


def _slopes(view: View) -> str:
    """The slope of each fraction and area along each axis; nothing where none can be told."""
    found = slope_curves(view)
    if not found:
        return ""
    rows: dict[str, list[str]] = {}
    for curve in found:
        time = f", time {view.times[curve.moment]:g}" if view.series else ""
        words = escape(slope_words(view, curve))
        told = f"<b>{words}</b>" if curve.profile.certain else words
        rows.setdefault(f"{curve.quantity.name}{time}", []).append(told)
    heads = [("", ""), *((f"Along {axis}", "interval") for axis in axes_of(view))]
    return section(
        "Gradients",
        table(heads, [[escape(name), *cells] for name, cells in rows.items()]),
        f'<p class="note">{_SLOPES}</p>',
    )


def _left_out(view: View) -> str:
    """Which quantities the pictures leave out."""
    count = len(view.left_out)
    return (
        f"Drawn are the phases of the largest shares and the interfaces of the largest areas; "
        f"{count} more maps are in the table above and in the output."
    )


def _flags(view: View) -> Iterator[str]:
    rows = flag_rows(view)
    if not rows:
        yield "<p>No block is flagged.</p>"
        return
    yield table(
        [("Flag", ""), ("Blocks", "value"), ("Code", "interval"), ("Used", "interval"),
         ("Meaning", "meaning")],
        [
            [escape(r.name), f"<b>{r.blocks:,}</b>&nbsp;({escape(r.share)})", str(r.code),
             "in means and pictures" if r.used else "left out", escape(r.meaning)]
            for r in rows
        ],
    )  # fmt: skip
    worst = block_rows(view, _LISTED)
    if not worst:
        return
    flagged = int(((view.flags != 0) & ~view.pending).sum())
    yield f"<h3>{'The worst of them' if flagged > len(worst) else 'All of them'}</h3>"
    heads = [("Voxels", ""), ("Flags", "flags"), ("Misplaced voxels", "interval")]
    cells = [[escape(r.voxels), escape(r.flags), escape(r.misplaced)] for r in worst]
    if view.series:
        heads.append(("Time", "interval"))
        cells = [[*row, escape(r.time)] for row, r in zip(cells, worst, strict=True)]
    yield table(heads, cells)
    if flagged > len(worst):
        yield (
            f'<p class="note">{len(worst)} of {flagged:,}; the column <code>flags</code> of the '
            "table (<code>blocks.csv</code>) has all.</p>"
        )


def _napari(maps: Maps) -> Iterator[str]:
    name = maps.path.name if maps.path is not None else "MAPS.zarr"
    code = f"""import napari
from bimmjax.maps import open_maps

maps = open_maps({name!r})
viewer = napari.Viewer()
for data, kwargs, kind in maps.layers():  # placed over the volume, in its lengths
    viewer.add_image(data, **kwargs)
napari.run()"""
    yield f"<pre><code>{escape(code)}</code></pre>"
    spacing = tuple(float(s) for s in maps.spacing)
    yield (
        f"<p>Add the volume itself with <code>scale={escape(str(spacing))}</code> and the maps lie "
        "over it. Each map is also an OME-Zarr image of its own within the output.</p>"
    )


def _origin(view: View, command: str) -> Iterator[str]:
    maps = view.maps
    if command:
        yield f"<pre><code>{escape(command)}</code></pre>"
    told = maps.store.identity
    rows = [[escape(str(name)), escape(_plain(value))] for name, value in told.items()]
    if rows:
        yield table([("Option", ""), ("Value", "option")], rows)
    parts = []
    seconds = maps.attributes.get("seconds")
    if isinstance(seconds, dict):
        numbers = {k: v for k, v in seconds.items() if isinstance(v, int | float)}
        parts.append("Seconds: " + ", ".join(f"{k} {v:.4g}" for k, v in numbers.items()))
    elif isinstance(seconds, int | float):
        parts.append(f"{seconds:.4g} seconds")
    day = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    parts.append(f"bimmjax {__version__}, page written {day}")
    yield f"<p>{escape('. '.join(parts))}.</p>"


def _plain(value: Any) -> str:
    """An option's value for people, cut where it is a whole document."""
    if isinstance(value, dict):
        text = ", ".join(f"{k}: {_plain(v)}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        text = ", ".join(_plain(v) for v in value)
    elif value is None:
        text = "–"
    elif isinstance(value, float):
        text = f"{value:g}"
    else:
        text = str(value)
    return text if len(text) <= 200 else f"{text[:200]} …"
