"""Whether to ask for a run of a partition that is due, given the runs that were asked for with the same content.

A function of values, so that it can be tested as a table. A content is asked for once. What follows depends on how its last run ended:

=========== ==================================================================================================
last run    then
=========== ==================================================================================================
under way   wait for it
succeeded   settled, if the run published what is there now: another run would do the same; else ask
cancelled   a user stopped it: left until somebody asks for it, or its content changes
failed      for a reason that lasts: left likewise; for one that may go away: asked for again, at growing intervals
=========== ==================================================================================================
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from dagster import DagsterRunStatus

UNDER_WAY = frozenset(
    {
        DagsterRunStatus.QUEUED,
        DagsterRunStatus.NOT_STARTED,
        DagsterRunStatus.MANAGED,
        DagsterRunStatus.STARTING,
        DagsterRunStatus.STARTED,
        DagsterRunStatus.CANCELING,
    }
)
PROMPT_RETRIES, FIRST_PAUSE, LONGEST_PAUSE = 3, 60, 3600
"""Failures after which a retry waits; the first and the longest wait, in seconds."""


class Answer(Enum):
    """Whether to ask, and if not, why not."""

    ASK = "asked for"
    UNDER_WAY = "under way"
    SETTLED = "built, but not to what the code location expects"
    CANCELLED = "cancelled by a user, and left until they are asked for or their content changes"
    FAILED = "failed, and left until they are asked for or their content changes"
    PAUSED = "failed, and will be tried again later"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run of a content."""

    status: DagsterRunStatus
    ended: float = 0.0
    """Seconds since 1970; 0 if it has not ended."""
    lasting: bool = False
    """Whether the failure persists until an input changes."""


def answer(attempts: Sequence[Attempt], *, now: float, current: bool = False) -> Answer:
    """Decide whether to ask for another run of a content.

    Parameters
    ----------
    attempts
        Its runs so far, the oldest first.
    now
        Seconds since 1970.
    current
        Whether what is published was published by the last of them.
    """
    if any(attempt.status in UNDER_WAY for attempt in attempts):
        return Answer.UNDER_WAY
    if not attempts:
        return Answer.ASK
    last = attempts[-1]
    if last.status is DagsterRunStatus.SUCCESS:
        return Answer.SETTLED if current else Answer.ASK
    if last.status is DagsterRunStatus.CANCELED:
        return Answer.CANCELLED
    if last.lasting:
        return Answer.FAILED
    return Answer.PAUSED if now < last.ended + _pause(attempts) else Answer.ASK


def _pause(attempts: Sequence[Attempt]) -> float:
    """Return the wait after the failures since the last success, in seconds."""
    failures = 0
    for attempt in reversed(attempts):
        if attempt.status is not DagsterRunStatus.FAILURE:
            break
        failures += 1
    doublings = failures - PROMPT_RETRIES
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(doublings, 16)) if doublings >= 0 else 0.0
