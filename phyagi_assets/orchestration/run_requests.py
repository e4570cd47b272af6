"""Decide whether to request a run for a stale partition or mixture, given the earlier runs for the same inputs.

The decision is a pure function, so that it can be tested as a table. The first run for the same inputs is always requested. Later requests
depend on how the last run ended:

=========== ==============================================================================================================
last run    decision
=========== ==============================================================================================================
in progress wait for it
succeeded   no request if the run published the current version, because another run would publish the same; else request
cancelled   no request until a user launches a run or an input changes
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
    """Request a run, or the reason not to request one."""

    REQUEST = "requested"
    UNDER_WAY = "under way"
    SETTLED = "built, but to another version than the code location expects"
    CANCELLED = "cancelled by a user; not requested again until an input changes"
    FAILED = "failed; not requested again until an input changes"
    PAUSED = "failed; will be requested again later"


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """An earlier run for the same inputs."""

    status: DagsterRunStatus
    ended: float = 0.0
    """End of the run, in seconds since 1970; 0 if it has not ended."""
    lasting: bool = False
    """Whether the failure persists until an input changes."""


def decide(attempts: Sequence[Attempt], *, now: float, current: bool = False) -> Decision:
    """Decide whether to request another run for the same inputs.

    Parameters
    ----------
    attempts
        Earlier runs for these inputs, oldest first.
    current
        Whether the latest materialization is that of the last of these runs.
    """
    if any(attempt.status in UNDER_WAY for attempt in attempts):
        return Decision.UNDER_WAY
    if not attempts:
        return Decision.REQUEST
    last = attempts[-1]
    if last.status is DagsterRunStatus.SUCCESS:
        return Decision.SETTLED if current else Decision.REQUEST
    if last.status is DagsterRunStatus.CANCELED:
        return Decision.CANCELLED
    if last.lasting:
        return Decision.FAILED
    return Decision.PAUSED if 0 <= now - last.ended < _pause(attempts) else Decision.REQUEST  # `ended` may be in the future


def _pause(attempts: Sequence[Attempt]) -> float:
    """Return the wait after the failures since the last success, in seconds."""
    failures = 0
    for attempt in reversed(attempts):
        if attempt.status is not DagsterRunStatus.FAILURE:
            break
        failures += 1
    doublings = failures - PROMPT_RETRIES
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(doublings, 16)) if doublings >= 0 else 0.0
