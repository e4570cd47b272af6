"""The class of the commands: options that every command has, error messages, and exit codes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from phyagi_assets.cli.collector import few_collections
from phyagi_assets.cli.common import EPILOG, FAILED, INTERRUPTED, MISUSED, print_error
from phyagi_assets.cli.output import Output
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, translate_limit_errors, translate_missing_packages
from phyagi_assets.store.disk import NOT_PERMITTED, OUT_OF_REACH

_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print the report as one JSON document.")
_SHARED = (
    click.Option(["--verbose", "-v"], is_flag=True, help="Also print details, such as each request that is tried again."),
    click.Option(["--quiet", "-q"], is_flag=True, help="Print no progress and no messages on stderr except warnings and errors."),
    click.Option(["--log-file"], metavar="PATH", help="Append all messages, with times, to a file."),
)


class Verb(click.Command):
    """A command with the options that every command has.

    Its function takes an `Output` as `output`. User errors are printed without a traceback.

    Parameters
    ----------
    reports
        Whether the command prints a report, so that it has the option ``--json``.
    """

    def __init__(self, *args: Any, reports: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.epilog = EPILOG
        self.params += [*([_JSON] if reports else []), *_SHARED]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the function of the command."""
        shared = {name: ctx.params.pop(name) for name in ("as_json", "verbose", "quiet", "log_file") if name in ctx.params}
        with few_collections(), _exit_codes():
            ctx.obj = ctx.params["output"] = Output(**shared)
            with ctx.obj.opened(sys.argv), _exit_codes():
                return super().invoke(ctx)


def verb(*, reports: bool = True) -> Callable[[Callable[..., Any]], Verb]:
    """Return a decorator that makes a command of a function; see `Verb`."""
    return click.command(cls=Verb, reports=reports)


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Print user errors without a traceback, and exit with the code of their kind."""
    try:
        with translate_limit_errors("the command"), translate_missing_packages():
            yield
    except PhyagiAssetsError as problem:
        print_error(str(problem))
        sys.exit(MISUSED if type(problem) in (PhyagiAssetsError, DeclarationError) else FAILED)
    except OSError as problem:
        if problem.errno not in NOT_PERMITTED | OUT_OF_REACH or problem.filename is None:
            raise
        print_error(f"{problem.filename}: {problem.strerror}; correct its permissions, or try again when its disk can be read")
        sys.exit(FAILED)
    except KeyboardInterrupt:
        print_error("interrupted; what was published is kept, and the command can be repeated")
        sys.exit(INTERRUPTED)
