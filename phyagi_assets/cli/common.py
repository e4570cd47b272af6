"""What the commands have in common: where they work, what their exit codes mean, how they say what is wrong."""

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
from phyagi_assets.errors import PhyagiAssetsError

FAILED, MISUSED = 1, 2
LAST_POSITION = 10**18
"""Positions that options take go up to this; larger ones are outside every order."""

EPILOG = """\b
Exit codes:
  0  all is well
  1  something failed to build, or was found damaged
  2  the command or a declaration says something that cannot be
"""


def folders(command: Callable[..., Any]) -> Callable[..., Any]:
    """The two options that every command has."""
    data = click.option("--data", metavar="DIR", help="The data folder.  [default: $PHYAGI_ASSETS_DATA, else data]")
    store = click.option("--store", metavar="DIR", help="The store.  [default: $PHYAGI_ASSETS_STORE, else store in the data folder]")
    return data(store(command))


@contextmanager
def errors() -> Iterator[None]:
    """What the user can put right is a message, not a traceback."""
    from phyagi_assets.errors import DeclarationError

    try:
        yield
    except PhyagiAssetsError as problem:
        say_error(str(problem))
        sys.exit(MISUSED if type(problem) in (PhyagiAssetsError, DeclarationError) else FAILED)


def log_to(console: Console) -> None:
    """Show what the package logs above the bar that is drawn on the same console."""
    logger = logging.getLogger("phyagi_assets")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(RichHandler(console=console, show_time=False, show_path=False, highlighter=NullHighlighter()))


def say_error(message: str) -> None:
    new_console(stderr=True).print(f"[red]error:[/] {escape(message)}", soft_wrap=True, highlight=False)
