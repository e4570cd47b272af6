"""The command ``phyagi-assets``."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.markup import escape

from phyagi_assets import __version__
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings

FAILED, MISUSED = 1, 2

_EPILOG = """\b
Exit codes:
  0  all is well
  1  something failed to build, or was found damaged
  2  the command or a declaration says something that cannot be
"""


def _folders(command: Callable[..., Any]) -> Callable[..., Any]:
    """The two options that every command has."""
    data = click.option("--data", metavar="DIR", help="The data folder.  [default: $PHYAGI_ASSETS_DATA, else data]")
    store = click.option("--store", metavar="DIR", help="The store.  [default: $PHYAGI_ASSETS_STORE, else store in the data folder]")
    return data(store(command))


@click.group(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__)
def main() -> None:
    """From declared text to training batches.

    Corpora and mixtures are YAML files under the data folder: corpora/*.yaml and mixtures/*.yaml. What they
    become is kept in the store, and shown by Dagster's UI.

    \b
    Start here:
      phyagi-assets init my_data                  a data folder to start from
      phyagi-assets check --data my_data          is it right?
      phyagi-assets materialize --data my_data    build it
      phyagi-assets inspect example --data my_data
      phyagi-assets ui --data my_data             look at it in Dagster
    """


@main.command(epilog=_EPILOG)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_folders
def materialize(names: tuple[str, ...], data: str | None, store: str | None) -> None:
    """Bring corpora and mixtures up to date, through Dagster.

    Works like make: only what changed is built, whatever else stands is left alone. A mixture's NAME brings its corpora
    up to date too. Without a NAME, everything that is declared is.
    """
    with _errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.components.catalog import catalog_definitions
        from phyagi_assets.components.instance import open_instance
        from phyagi_assets.components.runs import Runner
        from phyagi_assets.declarations import load_catalog
        from phyagi_assets.pipeline.step import Workspace
        from phyagi_assets.pipeline.store import Store
        from phyagi_assets.report import BarProgress, catalog_trees

        console = Console()
        catalog = load_catalog(settings.require_data())
        chosen = catalog.select(names)
        workspace = Workspace(data=settings.data, store=Store(settings.store))
        # A stderr of our own: Dagster captures the other one into the logs of its runs, where a bar has no place.
        messages = Console(file=os.fdopen(os.dup(2), "w"))
        progress = BarProgress(messages)
        _log_to(messages)
        with open_instance(settings) as instance:
            runner = Runner(chosen, catalog_definitions(catalog, workspace, progress), workspace, instance)
            work = runner.stale()
            with progress.over(sum(item.bytes for item in work)):
                outcome = runner.run(work, progress.started)
        for tree in catalog_trees(chosen, workspace.store):
            console.print(tree)
        console.print(f"{len(outcome.built)} built, {outcome.current} up to date, {len(outcome.failed)} failed", highlight=False)
        for name, reason in outcome.failed.items():
            _say_error(f"{name}: {reason}")
        sys.exit(FAILED if outcome.failed else 0)


@main.command(epilog=_EPILOG)
@_folders
def check(data: str | None, store: str | None) -> None:
    """Validate every declaration, and read the store against its checksums.

    Lists all that is wrong, not just the first of it.
    """
    with _errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.pipeline.integrity import declaration_problems, store_problems
        from phyagi_assets.pipeline.step import Workspace
        from phyagi_assets.pipeline.store import Store

        workspace = Workspace(data=settings.require_data(), store=Store(settings.store))
        console, checked = Console(), [0, 0]

        def count(kind: int) -> Callable[[str], None]:
            def on_checked(_name: str) -> None:
                checked[kind] += 1

            return on_checked

        declared = list(declaration_problems(workspace, count(0)))
        stored = list(store_problems(workspace.store, count(1)))
        for problem in [*declared, *stored]:
            _say_error(problem)
        console.print(
            f"{checked[0]} declarations and {checked[1]} artifacts checked, {len(declared) + len(stored)} problems", highlight=False
        )
        sys.exit(MISUSED if declared else FAILED if stored else 0)


@main.command(epilog=_EPILOG)
@click.argument("name", metavar="PATH|NAME")
@_folders
def inspect(name: str, data: str | None, store: str | None) -> None:
    """Show what an artifact is: its facts, its statistics, and the beginnings of some of its documents.

    \b
    It is named by
      a mixture or a corpus      demo, shakespeare
      an address in the store    shakespeare/numpy_cache/hamlet
      a path                     data/store/demo/mixed_dataset, …/hamlet/train.npy
    """
    with _errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.pipeline.inspection import inspect_named
        from phyagi_assets.pipeline.store import Store
        from phyagi_assets.report import show_inspection

        show_inspection(Console(), inspect_named(name, Store(settings.store)))


@main.command(epilog=_EPILOG)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
def init(folder: Path) -> None:
    """Make a data folder to start from: a commented corpus and mixture, and a few documents.

    What it makes can be materialized at once. DIR must not exist, or be empty.
    """
    with _errors():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise PhyagiAssetsError(f"{folder} is there already and not empty; name a folder that is yet to be")
        from phyagi_assets.pipeline.tokenizers.byte_level import save_byte_tokenizer

        with as_file(files("phyagi_assets") / "templates") as templates:
            shutil.copytree(templates, folder, dirs_exist_ok=True)
        save_byte_tokenizer(folder / "tokenizers" / "bytes")
        Console().print(f"{folder} is ready. Next: phyagi-assets materialize --data {folder}", highlight=False, soft_wrap=True)


@main.command(epilog=_EPILOG)
@click.option("--port", "-p", default=3000, show_default=True, help="Where the UI listens, on this machine only.")
@_folders
def ui(port: int, data: str | None, store: str | None) -> None:
    """Open Dagster's UI on the data folder and on what the command has built (dg dev)."""
    with _errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.components.instance import dagster_environment

        settings.require_data()
        workspace = Path(__file__).parents[1] / "workspace.yaml"  # of this project; one in the working directory may be another's
        where = ["-w", str(workspace)] if workspace.is_file() else ["-m", "phyagi_assets.definitions"]
        beside = Path(sys.executable).with_name("dg")
        dg = str(beside) if beside.exists() else "dg"
        os.execvpe(dg, [dg, "dev", "-p", str(port), *where], dagster_environment(settings))


@contextmanager
def _errors() -> Iterator[None]:
    """What the user can put right is a message, not a traceback."""
    from phyagi_assets.errors import DeclarationError

    try:
        yield
    except PhyagiAssetsError as problem:
        _say_error(str(problem))
        sys.exit(MISUSED if type(problem) in (PhyagiAssetsError, DeclarationError) else FAILED)


def _log_to(console: Console) -> None:
    """Show what the package logs above the bar that is drawn on the same console."""
    logger = logging.getLogger("phyagi_assets")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RichHandler(console=console, show_time=False, show_path=False, highlighter=NullHighlighter()))


def _say_error(message: str) -> None:
    Console(stderr=True, highlight=False).print(f"[red]error:[/] {escape(message)}", soft_wrap=True)
