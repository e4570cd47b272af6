"""The progress of a command: one line that is redrawn on a terminal, and a line for what begins and ends elsewhere."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from phyagi_assets.build.work import PartitionResult
from phyagi_assets.cli.output import Output
from phyagi_assets.formatting import counted, short, short_size

_STARTED = 20
"""Number of items from which on, outside of a terminal, only the ends of items are printed, not their beginnings."""


class CommandProgress:
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
        self._draws = console.is_terminal and not output.quiet
        name = TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"))
        columns = (name, BarColumn(bar_width=12), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True))
        self._bar = Progress(*columns, console=console, disable=not self._draws, expand=True)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._steps: dict[str, Collection[str]] = {}
        self._count = self._ended = 0
        self._name = ""

    @contextmanager
    def over(self, steps: dict[str, Sequence[str]], size: int, *, verb: str = "building", noun: str = "partition") -> Iterator[None]:
        """Show the progress inside the context.

        Parameters
        ----------
        steps
            Names of the steps that are built, by name of the partition or other item.
        size
            Total size of the sources to read, in bytes.
        verb
            What is done to the items.
        noun
            What the items are.
        """
        self._steps, self._count = dict(steps), len(steps)
        self._bar.update(self._task, total=size)
        if steps:
            self._tell(f"{verb} {counted(len(steps), noun)}, {short_size(size)} to read")
        with self._bar:
            yield

    def started(self, name: str) -> None:
        """Show the name of the partition, corpus step or mixture that is started."""
        self._name = name
        self._describe()
        if self._count < _STARTED or name not in self._steps:
            steps = self._shown_steps(name)
            self._tell(f"{name}: started{f' ({steps})' * bool(steps)}")

    def advanced(self, consumed: int) -> None:
        """Advance by a number of bytes."""
        self._bar.update(self._task, advance=consumed)

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        """Count a partition that has ended."""
        self._ended += 1
        self._describe()
        tokens = f", {short(result.tokens)} tokens" if result.tokens else ""
        outcome = f"failed: {result.failure}" if result.failure else "up to date" if is_current else f"built{tokens}"
        self._tell(f"{result.work.name}: {outcome} ({self._ended:,} of {self._count:,})")

    def _describe(self) -> None:
        number = min(self._ended + 1, self._count)
        of = f"{number:,} of {self._count:,} " if self._count else ""
        steps = self._shown_steps(self._name)
        self._bar.update(self._task, description=escape(f"{of}{self._name}{': ' * bool(steps)}{steps}"))

    def _shown_steps(self, name: str) -> str:
        steps = list(self._steps.get(name, ()))
        return " … ".join(dict.fromkeys((steps[0], steps[-1]))) if steps else ""

    def _tell(self, message: str) -> None:
        self._output.note(message)
        if not self._draws and not self._output.quiet:
            self._console.print(message, markup=False, soft_wrap=True)
