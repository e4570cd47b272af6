"""Decide whether to request a run of a partition that is due, given the earlier runs for the same content.

The decision is a pure function, so that it can be tested as a table. A run is requested once per content. Whether another one follows
depends on how the last run ended:

=========== ==============================================================================================================
last run    decision
=========== ==============================================================================================================
in progress wait for it
succeeded   no request if the run published the current version, because another run would publish the same; else request
cancelled   no request until a user asks for a run or the content changes, because a user stopped it
failed      for a lasting reason: no request, as for cancelled; for any other reason: request again, at growing intervals
=========== ==============================================================================================================
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
"""Number of failures from which on a retry waits; the first and the longest wait, in seconds."""


class Decision(Enum):
    """The decision: request a run, or the reason not to."""

    ASK = "asked for"
    UNDER_WAY = "under way"
    SETTLED = "built, but not to what the code location expects"
    CANCELLED = "cancelled by a user, and left until asked for or changed"
    FAILED = "failed, and left until asked for or changed"
    PAUSED = "failed, and will be tried again later"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One run for a content."""

    status: DagsterRunStatus
    ended: float = 0.0
    """End of the run, in seconds since 1970; 0 if it has not ended."""
    lasting: bool = False
    """Whether the failure persists until an input changes."""


def decide(attempts: Sequence[Attempt], *, now: float, current: bool = False) -> Decision:
    """Decide whether to request another run for a content.

    Parameters
    ----------
    attempts
        Earlier runs for the content, the oldest first.
    now
        Current time, in seconds since 1970.
    current
        Whether the last of these runs made the latest materialization.
    """
    if any(attempt.status in UNDER_WAY for attempt in attempts):
        return Decision.UNDER_WAY
    if not attempts:
        return Decision.ASK
    last = attempts[-1]
    if last.status is DagsterRunStatus.SUCCESS:
        return Decision.SETTLED if current else Decision.ASK
    if last.status is DagsterRunStatus.CANCELED:
        return Decision.CANCELLED
    if last.lasting:
        return Decision.FAILED
    return Decision.PAUSED if 0 <= now - last.ended < _pause(attempts) else Decision.ASK  # an end in the future: the clock was set back


def _pause(attempts: Sequence[Attempt]) -> float:
    """Return the wait after the failures since the last success, in seconds."""
    failures = 0
    for attempt in reversed(attempts):
        if attempt.status is not DagsterRunStatus.FAILURE:
            break
        failures += 1
    doublings = failures - PROMPT_RETRIES
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(doublings, 16)) if doublings >= 0 else 0.0
