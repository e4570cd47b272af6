"""Retries and time limits for actions that depend on a network.

With a package such as tenacity, all of the rules (pauses that servers ask for, silences, the time limit of the caller) would be callbacks.
"""

import logging
import random
import time
from collections.abc import Callable
from concurrent.futures import wait
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from phyagi_assets.errors import AccessError, SourceDownError, SourceError, redacted
from phyagi_assets.objects.daemon_threads import LOOK, DaemonThreads

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class TransientError(Exception):
    """A failure that may not recur: a server that is down or busy, or a connection that broke off.

    Parameters
    ----------
    wait
        Time that the server asks to wait before the next request, in seconds.
    """

    def __init__(self, message: str, *, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
        self.is_repeated = False
        """Whether the previous request to the server, of any thread, failed with a transient error too."""


def is_disk_error(problem: BaseException) -> bool:
    """Return whether an exception is an error of a local disk: one that the system numbers and that is not about a connection."""
    return isinstance(problem, OSError) and problem.errno is not None and not isinstance(problem, ConnectionError | TimeoutError)


class NoAnswerError(TransientError):
    """A server that accepted a connection and sent nothing until the time limit of a request."""


class RefusedError(TransientError):
    """A request that was refused, although such requests were granted before."""


_end: ContextVar[float] = ContextVar("end", default=float("inf"))
"""Time of the monotonic clock at which the caller of `within` stops waiting for the action that runs."""

_LONGEST_WAIT = 300.0
"""Longest pause that a server can ask for, in seconds."""


def within(seconds: float | None, what: str, action: Callable[[], Result]) -> Result:
    """Run an action, and stop waiting for it after a time limit.

    The action runs in a daemon thread, so that signals interrupt the wait. After the time limit or a signal, it continues until its own
    timeouts end it; its result is ignored. Retries that would begin after the time limit are not made.

    Parameters
    ----------
    what
        The server or source that the action asks, for messages.

    Returns
    -------
    Result
        The result of the action. An exception of the action is raised here.

    Raises
    ------
    SourceDownError
        The action took longer than the time limit.
    """
    until = float("inf") if seconds is None else time.monotonic() + seconds

    def run() -> Result:
        _end.set(until)
        return action()

    outcome = DaemonThreads(1).submit(run)
    while not wait([outcome], timeout=max(0.0, min(LOOK, until - time.monotonic()))).done and time.monotonic() < until:
        pass
    if not outcome.done():
        raise SourceDownError(f"{what}: no answer within {seconds:g} s; check that the source is up and that its address is right")
    return outcome.result()


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Number of attempts, and the pauses between them.

    Each pause is twice as long as the one before it, and up to half of it is random. It is longer if the server asks for that.
    """

    attempts: int = 6
    pause: float = 1.0
    """Longest pause after the first failure, in seconds."""
    outage: float = 120.0
    """Time without any answer after which each request to a server is tried only once, in seconds."""

    def with_retries(self, what: str, action: Callable[[], Result], *, silences: int | None = None) -> Result:
        """Run an action, and retry it while it raises `TransientError`.

        Parameters
        ----------
        what
            The server or source that the action asks, for messages.
        silences
            Largest number of attempts that may end without an answer, each of which waits for the time limit of a request; by default,
            all. Fewer show that the address of a server that has never answered may be wrong.

        Raises
        ------
        SourceError
            The action raised it.
        SourceDownError
            The action raised `TransientError` in every attempt; if the last one was a `RefusedError`, it is an `AccessError`.
        """
        silent = 0
        for attempt in range(1, self.attempts + 1):
            try:
                return action()
            except SourceError as problem:
                raise type(problem)(f"{what}: {problem}") from None
            except TransientError as problem:
                silent += isinstance(problem, NoAnswerError)
                pause = max(self.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1), min(problem.wait, _LONGEST_WAIT))
                if attempt == self.attempts or silent == silences or time.monotonic() + pause >= _end.get():
                    tried = f"tried {attempt} times" if attempt > 1 else "tried once"
                    if isinstance(problem, RefusedError):
                        raise AccessError(f"{what}: {problem} ({tried})") from None
                    remedy = "what was built before is kept; check that the server is up and that its address is right"
                    raise SourceDownError(f"{what}: {problem} ({tried}); {remedy}") from None
                # One line for a server that is down, not one for each of the requests that are made at the same time.
                level = logging.WARNING if attempt == 1 and not problem.is_repeated else logging.DEBUG
                logger.log(
                    level, "%s; trying again up to %d times, in %.0f s", redacted(f"{what}: {problem}"), self.attempts - attempt, pause
                )
                time.sleep(pause)
        raise AssertionError("attempts are 1 or more")
