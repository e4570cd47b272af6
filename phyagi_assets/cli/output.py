"""The output of a command: its report on standard output, and its messages on standard error and in a log file."""

import io
import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler

from phyagi_assets.cli.console import new_console, print_text, visible
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.report import Report

_LOGGER = "phyagi_assets"


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """The output of a command.

    The report goes to standard output, for people or as one JSON document; everything else goes to standard error.
    """

    as_json: bool = False
    verbose: bool = False
    """Whether details are printed."""
    quiet: bool = False
    """Whether only warnings and errors are printed on standard error."""
    log_file: str | None = None
    """File to which all messages are appended, with times; None for no file."""
    _handlers: list[logging.Handler] = field(default_factory=list)
    _opened: ExitStack = field(default_factory=ExitStack)
    """Files to close at the end."""

    @contextmanager
    def opened(self, words: Sequence[str]) -> Iterator[None]:
        """Write the command line and messages to the log file inside the context, and stop printing messages at its end.

        Raises
        ------
        PhyagiAssetsError
            The log file cannot be written.
        """
        logger = logging.getLogger(_LOGGER)
        level, propagates = logger.level, logger.propagate
        if self.log_file is not None:
            self._add(_file_handler(Path(self.log_file)))
            self.note(f"started: {shlex.join(['phyagi-assets', *words[1:]])}")
        try:
            yield
        except SystemExit as ended:
            self.note(f"ended with exit code {ended.code or 0}")
            raise
        else:
            self.note("ended with exit code 0")
        finally:
            for handler in self._handlers:
                logger.removeHandler(handler)
                handler.close()
            self._handlers.clear()
            self._opened.close()
            logger.setLevel(level)
            logger.propagate = propagates

    def report(self, report: Report, show: Callable[[Console], None]) -> None:
        """Print a report: as JSON, or by a function that prints it on a console."""
        with _printing():
            if self.as_json:
                sys.stdout.write(_encodable_json(report.to_json()))
            else:
                show(new_console())

    def say(self, message: str) -> None:
        """Print a line on standard output, for a command without a report."""
        with _printing():
            print_text(new_console(), message)

    def messages(self, *, detached: bool = False) -> Console:
        """Return a console on standard error, on which log messages of the package are printed from now on.

        Parameters
        ----------
        detached
            Whether the console writes to a duplicate of standard error: Dagster captures the original into the logs of its runs.
        """
        own = self._opened.enter_context(os.fdopen(os.dup(2), "w", errors="replace")) if detached else None
        console = new_console(stderr=not detached, file=own)
        self._add(
            RichHandler(console=console, show_time=False, show_path=False, highlighter=NullHighlighter())
            if console.is_terminal
            else _LineHandler(console)
        )
        self._handlers[-1].setLevel(logging.WARNING if self.quiet else logging.DEBUG if self.verbose else logging.INFO)
        return console

    def note(self, message: str, level: int = logging.INFO) -> None:
        """Write a message to the log file only."""
        for handler in self._handlers:
            if isinstance(handler, logging.FileHandler):
                handler.handle(logging.LogRecord(_LOGGER, level, "", 0, message, (), None))

    def _add(self, handler: logging.Handler) -> None:
        logger = logging.getLogger(_LOGGER)
        logger.setLevel(logging.DEBUG if self.verbose else logging.INFO)
        logger.propagate = False
        logger.addHandler(handler)
        self._handlers.append(handler)


@contextmanager
def _printing() -> Iterator[None]:
    """Turn an error of writing to standard output into one without a traceback. The caller handles a closed pipe."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        sys.stdout = io.StringIO()  # what is left in the buffer cannot be written at the end either
        raise PhyagiAssetsError(f"standard output cannot be written: {problem.strerror}") from None


def _encodable_json(text: str) -> str:
    """Return JSON with escapes in place of the characters that the encoding of standard output does not have."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), indent=1) + "\n"
    return text


class _LineHandler(logging.Handler):
    """Handler that prints each message as one line, in place of the tables for terminals."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        print_text(self._console, f"{record.levelname:8} {record.getMessage()}")


class _LogFormatter(logging.Formatter):
    """Formatter of lines with times in UTC that shows unsafe characters as symbols."""

    converter = staticmethod(time.gmtime)

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def _file_handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as problem:
        raise PhyagiAssetsError(f"--log-file: {path} cannot be written: {problem.strerror}; name another file") from None
    handler.setFormatter(_LogFormatter("%(asctime)sZ %(process)d %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    return handler
