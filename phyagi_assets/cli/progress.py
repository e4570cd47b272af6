"""The progress bar of the command."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from phyagi_assets.build.work import PartitionResult


class BarProgress:
    """Progress bars over the partitions that a command builds, and over all bytes of source that it reads.

    Parameters
    ----------
    console
        Console to draw the bars on. If the console is not a terminal, no bars are drawn.
    quiet
        Whether no bars are drawn.
    """

    def __init__(self, console: Console, *, quiet: bool = False) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, disable=quiet or not console.is_terminal)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._partitions = self._ended = 0
        self._name = ""

    @contextmanager
    def over(self, partitions: int, size: int) -> Iterator["BarProgress"]:
        """Draw the bar inside the context.

        Parameters
        ----------
        partitions
            Number of partitions to build.
        size
            Total size of the sources to read, in bytes.
        """
        self._partitions = partitions
        self._bar.update(self._task, total=size)
        with self._bar:
            yield self

    def started(self, name: str) -> None:
        """Show the name of the partition, corpus step or mixture that is started."""
        self._name = name
        self._describe()

    def advanced(self, consumed: int) -> None:
        """Advance the bar by a number of bytes."""
        self._bar.update(self._task, advance=consumed)

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        """Count a partition that has ended."""
        del result, is_current
        self._ended += 1
        self._describe()

    def _describe(self) -> None:
        self._bar.update(self._task, description=f"{self._ended:,}/{self._partitions:,} {self._name}")
