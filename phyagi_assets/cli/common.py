"""Options, exit codes and error messages shared by the commands."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.markup import escape

from phyagi_assets.cli.console import new_console
from phyagi_assets.cli.output import Output
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import listed
from phyagi_assets.settings import Settings

if TYPE_CHECKING:
    from phyagi_assets.declare.catalog import Broken
    from phyagi_assets.steps.step import Workspace

FAILED, MISUSED, INTERRUPTED = 1, 2, 130
"""Exit codes of a command that did not succeed."""

EPILOG = """\b
Exit codes:
  0    success
  1    something failed, such as a build, or an artifact is damaged
  2    the command line or a declaration is not valid
  130  interrupted with Ctrl-C
"""


class WholeNumber(click.IntRange):
    """Whole number in a range, under the name that messages use."""

    name = "whole number"


class _NumberOption(click.Option):
    """Option whose value is a number. The help shows its default, and only an error message its range."""

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return the text that follows the description of the option in the help."""
        extra = super().get_help_extra(ctx)
        extra.pop("range", None)
        return extra


number_option = partial(click.option, cls=_NumberOption, metavar="N")
"""Decorator that adds an option whose value is a number; it takes the arguments of `click.option`."""


def folder_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --data and --store to a command."""
    data = click.option("--data", metavar="DIR", help="The data folder.  [default: $PHYAGI_ASSETS_DATA, else data]")
    text = "The store: a folder, or s3://bucket/folder, gs://… or az://…  [default: $PHYAGI_ASSETS_STORE, else store in the data folder]"
    store = click.option("--store", metavar="PLACE", help=text)
    return data(store(command))


def with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --data and --store to a command, which is called with the `settings` that they choose."""

    @wraps(command)
    def run(*args: Any, data: str | None, store: str | None, **options: Any) -> Any:
        return command(*args, settings=Settings.resolve(data=data, store=store), **options)

    return folder_options(run)


def open_workspace(settings: Settings) -> "Workspace":
    """Return the data folder and the opened store of a command."""
    from phyagi_assets.steps.step import Workspace
    from phyagi_assets.store.places import open_store

    return Workspace(data=settings.data, store=open_store(settings.store))


def write_file(target: str, content: bytes) -> None:
    """Write a file that an option names, in place of an earlier one.

    Raises
    ------
    PhyagiAssetsError
        The file cannot be written.
    """
    try:
        Path(target).write_bytes(content)
    except OSError as problem:
        raise PhyagiAssetsError(f"{target}: cannot be written: {problem.strerror}; name another file") from None


def print_error(message: str) -> None:
    """Print an error message to standard error, and write it to the log file."""
    context = click.get_current_context(silent=True)
    if context and isinstance(context.obj, Output):
        context.obj.note(message, logging.ERROR)
    new_console(stderr=True).print(f"[red]error:[/] {escape(message)}", soft_wrap=True)


def exit_after(failed: Mapping[str, str], broken: "Sequence[Broken]") -> NoReturn:
    """Print the failures of a command and the declarations that it left out, and exit with the code of the worst of them.

    Failures with the same reason, such as a server that is down, share a line.
    """
    by_reason: dict[str, list[str]] = {}
    for name, reason in failed.items():
        by_reason.setdefault(reason, []).append(name)
    for reason, names in by_reason.items():
        print_error(f"{listed(names)}: {reason}")
    for each in broken:
        print_error(f"{each.reason}; {each.name} was left out")
    sys.exit(FAILED if failed else MISUSED if broken else 0)
