"""Progress of a run that builds partitions, as a Dagster resource that the command replaces with a progress bar."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.work import Work
from phyagi_assets.formatting import counted, short_counted

_EVERY = 10.0
"""Shortest time between two lines of a log, in seconds."""


class RunProgress(Protocol):
    """Receiver of the progress of one run."""

    def started(self, name: str) -> None:
        """Handle the start of a partition, named as ``corpus/partition``."""

    def advanced(self, consumed: int) -> None:
        """Handle a number of processed bytes of source."""

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        """Handle the outcome of a partition. `is_current` says whether it was built already."""


class CommandProgress(RunProgress, Protocol):
    """Receiver of the progress of a command, which also builds artifacts that are not partitioned."""

    def started_step(self, name: str, step: str) -> None:
        """Handle the start of a step of a mixture or of a whole corpus."""

    def ended_step(self, name: str, failure: str, *, is_current: bool) -> None:
        """Handle the outcome of that step.

        Parameters
        ----------
        failure
            Reason of the failure; empty if the step succeeded.
        is_current
            Whether its version was published already, and was only recorded.
        """


Progress = Callable[[Sequence[Work], logging.Logger], AbstractContextManager[RunProgress]]
"""Returns the context of a run that builds partitions, given the log of the run."""


@contextmanager
def logged_progress(work: Sequence[Work], log: logging.Logger) -> Iterator[RunProgress]:
    """Write the progress of a run to its log: a line every ten seconds at most, and one at its end."""
    logged = _Logged(work, log)
    yield logged
    logged.write_line()


class _Logged:
    def __init__(self, work: Sequence[Work], log: logging.Logger) -> None:
        self._log = log
        self._partitions, self._bytes = len(work), sum(item.bytes for item in work)
        self._ended = self._failed = self._tokens = self._consumed = 0
        self._began = self._last_line = time.monotonic()

    def started(self, name: str) -> None:
        pass

    def advanced(self, consumed: int) -> None:
        self._consumed += consumed
        self._report_if_due()

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        del is_current
        self._ended += 1
        self._failed += bool(result.failure)
        self._tokens += result.tokens
        self._report_if_due()

    def _report_if_due(self) -> None:
        if time.monotonic() - self._last_line >= _EVERY:
            self.write_line()

    def write_line(self) -> None:
        """Write one line."""
        self._last_line = time.monotonic()
        if not self._partitions:
            self._log.info("nothing to build: all partitions are up to date")
            return
        failed = f" ({self._failed:,} failed)" if self._failed else ""
        done = f"{self._ended:,} of {counted(self._partitions, 'partition')}{failed}, {short_counted(self._tokens, 'token')}"
        rate = self._consumed / 1e6 / max(self._last_line - self._began, 1e-3)
        encoded = f", {self._consumed / 1e6:,.1f} of {self._bytes / 1e6:,.1f} MB of source encoded, {rate:,.1f} MB/s"
        self._log.info(done + encoded * bool(self._bytes))
