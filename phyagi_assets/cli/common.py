"""Options, exit codes and error messages shared by the commands."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.markup import escape

from phyagi_assets.cli.console import new_console
from phyagi_assets.errors import PhyagiAssetsError, translate_memory_errors, translate_missing_packages

FAILED, MISUSED = 1, 2
LAST_POSITION = 10**18
"""Largest position that an option accepts; larger positions are outside every order."""

EPILOG = """\b
Exit codes:
  0  success
  1  a build failed, or an artifact is damaged
  2  the command line or a declaration is not valid
"""


def folder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --data and --store to a command."""
    data = click.option("--data", metavar="DIR", help="The data folder.  [default: $PHYAGI_ASSETS_DATA, else data]")
    told = "The store: a folder, or s3://bucket/folder, gs://… or az://…  [default: $PHYAGI_ASSETS_STORE, else store in the data folder]"
    store = click.option("--store", metavar="PLACE", help=told)
    return data(store(command))


@contextmanager
def report_errors() -> Iterator[None]:
    """Print user errors without a traceback."""
    from phyagi_assets.errors import DeclarationError

    try:
        with translate_memory_errors("the command"), translate_missing_packages():
            yield
    except PhyagiAssetsError as problem:
        print_error(str(problem))
        sys.exit(MISUSED if type(problem) in (PhyagiAssetsError, DeclarationError) else FAILED)


def log_to(console: Console) -> None:
    """Print the package's log records on a console, above its progress bar."""
    logger = logging.getLogger("phyagi_assets")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RichHandler(console=console, show_time=False, show_path=False, highlighter=NullHighlighter()))


def print_error(message: str) -> None:
    """Print an error message to standard error."""
    new_console(stderr=True).print(f"[red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
