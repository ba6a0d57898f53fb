"""The pages of the reference: every public name of every module that is listed here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import griffe
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from typer.cli import get_docs_for_click

_ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "models": "The mixture models: pure functions on a pytree of parameters.",
    "properties": "From parameters to volume fractions, interface areas and resolution.",
    "volumes": "Opening, converting and streaming volumes.",
    "fitting": "Fits, and what can be believed of them.",
    "maps": "One fit for each block of a volume.",
    "segmentation": "Labels: by the model, with a random field, by classical methods.",
    "descriptors": "The geometry of labelled volumes.",
    "sim": "Structures and images of known truth.",
    "nets": "Networks: training, prediction, comparison.",
    "nets.losses": "Losses of networks.",
    "fib": "From raw FIB-SEM stacks to labels in cubes.",
    "plot": "Pictures.",
    "report": "Pages that people keep.",
}
_PAGES = {f"bimmjax.{name}" for name in MODULES}


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Add the pages."""
    package = griffe.load("bimmjax", search_paths=[str(_ROOT)])
    pages = {"reference/bimmjax.md": _page("bimmjax", "What most users need.", _verbs(package))}
    for name, summary in MODULES.items():
        pages[f"reference/{name}.md"] = _page(f"bimmjax.{name}", summary, _public(package[name]))
    pages["reference/commands.md"] = _commands()
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def _page(module: str, summary: str, names: list[str]) -> str:
    listed = ", ".join(f"[`{name}`][{module}.{name}]" for name in names)
    parts = [f"# {module}", summary, listed, *(f"::: {module}.{name}" for name in names)]
    return "\n\n".join(parts) + "\n"


def _verbs(package: griffe.Object | griffe.Alias) -> list[str]:
    """What the package itself gives, less its subpackages, which have pages of their own."""
    exports = [str(name) for name in package.exports or []]
    return [name for name in exports if name not in MODULES and name != "__version__"]


def _public(module: griffe.Object | griffe.Alias) -> list[str]:
    """The names that `import X as X` makes public; of a single file what it defines itself."""
    return [
        name
        for name, member in module.members.items()
        if not name.startswith("_")
        and (
            member.target_path.startswith("bimmjax") and module.is_init_module
            if isinstance(member, griffe.Alias)
            else member.is_public and f"{module.path}.{name}" not in _PAGES
        )
    ]


def _commands() -> str:
    """What `--help` says, of all verbs."""
    from bimmjax.cli._main import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="bimmjax")
    with context:
        return get_docs_for_click(obj=command, ctx=context, name="bimmjax")
