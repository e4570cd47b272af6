"""Progress of slow steps, as a Dagster resource that the command replaces with a progress bar."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import dagster as dg

from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step


class Progress(Protocol):
    """Receiver of the progress of steps."""

    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> AbstractContextManager[OnProgress]:
        """Return a context for the run of a step, and in it a callback that takes the bytes of source processed since the last call."""


class LoggedProgress:
    """Progress that is written to the run's log every few seconds.

    Parameters
    ----------
    every
        Shortest time between two lines, in seconds.
    """

    def __init__(self, every: float = 5.0) -> None:
        self._every = every

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        """Write the progress of a step to its run's log."""
        total = partition.bytes
        done, told = 0, time.monotonic()

        def on_progress(consumed: int) -> None:
            nonlocal done, told
            done += consumed
            if time.monotonic() - told >= self._every:
                told = time.monotonic()
                context.log.info(f"{step.name} {partition.key}: {min(done / max(total, 1), 1):.0%} of {total / 1e6:.1f} MB read")

        yield on_progress
