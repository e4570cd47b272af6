"""Trying again what a network kept from happening."""

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from phyagi_assets.errors import SourceDownError, SourceError, redacted

Result = TypeVar("Result")

logger = logging.getLogger(__name__)


class TransientError(Exception):
    """What may go away by itself: a server that is down or busy, a connection that broke off."""


def within(seconds: float | None, what: str, action: Callable[[], Result]) -> Result:
    """Do something, and give up when it takes too long.

    An action that is given up goes on in a daemon thread until its own timeouts end it; its result is ignored.

    Parameters
    ----------
    seconds
        The longest time; None waits as long as it takes, in this thread.
    what
        For the message: where it is done.

    Raises
    ------
    SourceDownError
        It took longer.
    """
    if seconds is None:
        return action()
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(action())
        except BaseException as problem:
            outcome.set_exception(problem)

    threading.Thread(target=run, name=f"look at {what}", daemon=True).start()
    done, _ = wait([outcome], timeout=seconds)
    if not done:
        raise SourceDownError(f"{what}: no answer within {seconds:g} s; check that the source is up and that its address is right")
    return outcome.result()


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """Number of attempts, and the pauses between them: each is twice as long as the one before, half of it random."""

    attempts: int = 6
    pause: float = 1.0
    """Pause after the first failure, in seconds."""

    def with_retries(self, what: str, action: Callable[[], Result]) -> Result:
        """Run an action, and run it again while it fails for a reason that may go away.

        Parameters
        ----------
        what
            Where it is done, for messages.

        Raises
        ------
        SourceError
            It failed in every attempt, or for a reason that does not go away.
        """
        for attempt in range(1, self.attempts + 1):
            try:
                return action()
            except SourceError as problem:
                raise type(problem)(f"{what}: {problem}") from None
            except TransientError as problem:
                if attempt == self.attempts:
                    tried = f"tried {attempt} times" if attempt > 1 else "tried once"
                    message = f"{what}: {problem} ({tried}); what was built of it before stands; look whether the source is up"
                    raise SourceDownError(message) from None
                pause = self.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1)
                logger.warning("%s; trying again in %.0f s", redacted(f"{what}: {problem}"), pause)
                time.sleep(pause)
        raise AssertionError("attempts are 1 or more")
