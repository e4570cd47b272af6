"""Progress of long steps: a Dagster resource, so that the command can put a bar in its place."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import dagster as dg

from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step


class Progress(Protocol):
    """Watches a step and is told of every batch that it finishes."""

    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> AbstractContextManager[OnProgress]:
        """While the step runs; the callback takes the bytes of source that it has done since the last call."""


class LoggedProgress:
    """Writes how far a step is to the run's log, every few seconds.

    Parameters
    ----------
    every
        Seconds between two lines.
    """

    def __init__(self, every: float = 5.0) -> None:
        self._every = every

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        total = partition.bytes
        done, told = 0, time.monotonic()

        def on_progress(consumed: int) -> None:
            nonlocal done, told
            done += consumed
            if time.monotonic() - told >= self._every:
                told = time.monotonic()
                context.log.info(f"{step.name} {partition.key}: {min(done / max(total, 1), 1):.0%} of {total / 1e6:.1f} MB read")

        yield on_progress
