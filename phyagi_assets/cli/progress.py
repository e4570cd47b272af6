"""The progress bar of the command."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step


class BarProgress:
    """A single progress bar over all bytes of source that a command reads.

    Parameters
    ----------
    console
        Console to draw the bar on. If the console is not a terminal, no bar is drawn.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._base = 0

    @contextmanager
    def over(self, total: int) -> Iterator["BarProgress"]:
        """Draw the bar inside the context.

        Parameters
        ----------
        total
            Total size of the sources to read, in bytes.
        """
        self._bar.update(self._task, total=total)
        with self._bar:
            yield self

    def started(self, name: str) -> None:
        """Show the name of the partition, corpus step or mixture that is started."""
        self._bar.update(self._task, description=name)

    def advance(self, consumed: int) -> None:
        """Advance the bar by a number of bytes."""
        self._bar.update(self._task, advance=consumed)

    @contextmanager
    def watch(self, context: object, step: Step, partition: Partition) -> Iterator[OnProgress]:
        """Advance the bar with the progress of a step and, when the step ends, by the bytes that it did not report."""
        del context
        before, said = self._bar.tasks[self._task].completed, 0
        size = partition.bytes if step.is_slow else 0

        def on_progress(consumed: int) -> None:
            nonlocal said
            said += consumed
            self._bar.update(self._task, completed=before + min(said, size))

        yield on_progress
        self._bar.update(self._task, completed=before + size)
