"""The progress of a command: one line that is redrawn on a terminal; elsewhere, a line for each item that begins or ends."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.cli.console import print_text
from phyagi_assets.cli.output import Output
from phyagi_assets.formatting import counted, short_counted, short_size

_STARTED = 20
"""Number of items at which, outside of a terminal, only the ends of items are printed."""

_WIDE = 100
"""Smallest width of a terminal at which a bar is drawn, in characters; otherwise, the names of partitions and steps get the room."""


class ConsoleProgress:
    """Progress over the partitions that a command builds, and over all bytes of source that it reads.

    Parameters
    ----------
    output
        The output of the command. All lines are written to its log file.
    console
        Console for the messages. On a terminal, one line shows which item of how many is being worked on, its steps, the rate and the time
        left. Elsewhere, a line is printed for each item that begins and ends.
    """

    def __init__(self, output: Output, console: Console) -> None:
        self._output, self._console = output, console
        self._draws = console.is_terminal and not console.is_dumb_terminal and not output.quiet
        name = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        bar = [BarColumn(bar_width=12)] if console.width >= _WIDE else []
        columns = (name, *bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
        self._bar = Progress(*columns, console=console, disable=not self._draws, expand=True, transient=True)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._steps: dict[str, Collection[str]] = {}
        self._count = self._ended = 0

    @contextmanager
    def before(self, what: str) -> Iterator[None]:
        """Show an activity on a terminal until the amount of work is known; the line disappears at the end of the context."""
        with self._console.status(what, spinner="line") if self._draws else nullcontext():
            yield

    @contextmanager
    def track(self, steps: dict[str, Sequence[str]], size: int, *, verb: str = "building", noun: str = "partition") -> Iterator[None]:
        """Show the progress inside the context.

        Parameters
        ----------
        steps
            Names of the steps that are built, by name of the partition or other item.
        """
        self._steps, self._count = dict(steps), len(steps)
        self._bar.update(self._task, total=size)
        if steps:
            self._print_line(f"{verb} {counted(len(steps), noun)}, {short_size(size)} to read")
        with self._bar:
            yield

    def started(self, name: str) -> None:
        """Show the name of the partition or other item that is started."""
        steps = " … ".join(dict.fromkeys((names[0], names[-1]))) if (names := list(self._steps.get(name, ()))) else ""
        number = min(self._ended + 1, self._count)
        self._show(f"{number:,} of {self._count:,} {name}{': ' * bool(steps)}{steps}")
        if self._count < _STARTED:
            self._bar.refresh()  # a small one ends before the line is drawn by itself
            self._print_line(f"{name}: started{f' ({steps})' * bool(steps)}")

    def advanced(self, consumed: int) -> None:
        """Advance by a number of bytes."""
        self._bar.update(self._task, advance=consumed)

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        """Count a partition that has ended. The command prints the reason of a failure at its end; until then, others may take hours."""
        self._ended += 1
        tokens = f", {short_counted(result.tokens, 'token')}" if result.tokens else ""
        reason = f": {result.failure}" if self._ended < self._count else ""
        outcome = f"failed{reason}" if result.failure else "up to date" if is_current else f"built{tokens}"
        if self._ended == self._count:
            self._bar.refresh()
        self._print_line(f"{result.work.name}: {outcome} ({self._ended:,} of {self._count:,})")

    def copied(self, name: str, size: int, *, is_there: bool, is_left_out: bool) -> None:
        """Count a version that has been copied or left out, or that the target had already, which prints no line."""
        self._ended += 1
        number = f"{self._ended:,} of {self._count:,}"
        self._bar.update(self._task, advance=size)
        self._show(f"{number} {name}")
        if is_left_out or not is_there:
            self._print_line(f"{name}: {'left out' if is_left_out else f'copied, {short_size(size)}'} ({number})")

    def started_step(self, name: str, step: str) -> None:
        """Show the name and step of a mixture or whole corpus that is started."""
        self._show(f"{name}: {step}")
        self._print_line(f"{name}: started ({step})")

    def ended_step(self, name: str, failure: str, *, is_current: bool) -> None:
        """Print the outcome of the step of a mixture or whole corpus. `is_current` says whether it was published already."""
        self._print_line(f"{name}: {'failed' if failure else 'up to date' if is_current else 'built'}")

    def _show(self, description: str) -> None:
        self._bar.update(self._task, description=escape(description))

    def _print_line(self, message: str) -> None:
        self._output.note(message)
        if not self._draws and not self._output.quiet:
            print_text(self._console, message)
