"""The bar that the command draws while it builds."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step


class BarProgress:
    """One bar over all that a command has to read, in bytes of source.

    Parameters
    ----------
    console
        Where it is drawn; nothing is where that is no terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._base = 0

    @contextmanager
    def over(self, total: int) -> Iterator["BarProgress"]:
        """Draw the bar while inside."""
        self._bar.update(self._task, total=total)
        with self._bar:
            yield self

    def started(self, name: str) -> None:
        """Name what is being worked on."""
        self._bar.update(self._task, description=name)

    def advance(self, consumed: int) -> None:
        """Go on by some bytes."""
        self._bar.update(self._task, advance=consumed)

    @contextmanager
    def watch(self, context: object, step: Step, partition: Partition) -> Iterator[OnProgress]:
        """Advance with a step, by what it says and at its end by what it left unsaid."""
        del context
        before, said = self._bar.tasks[self._task].completed, 0
        size = partition.bytes if step.is_slow else 0

        def on_progress(consumed: int) -> None:
            nonlocal said
            said += consumed
            self._bar.update(self._task, completed=before + min(said, size))

        yield on_progress
        self._bar.update(self._task, completed=before + size)
