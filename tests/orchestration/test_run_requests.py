"""Each content requests one run; a further run depends on the outcome."""

import itertools

import pytest
from dagster import DagsterRunStatus

from phyagi_assets.orchestration.run_requests import LONGEST_PAUSE, UNDER_WAY, Attempt, Decision, decide

FAILED = Attempt(status=DagsterRunStatus.FAILURE, ended=1000)
LASTING = Attempt(status=DagsterRunStatus.FAILURE, ended=1000, lasting=True)
CANCELLED = Attempt(status=DagsterRunStatus.CANCELED, ended=1000)
BUILT = Attempt(status=DagsterRunStatus.SUCCESS, ended=1000)


@pytest.mark.parametrize(
    ("attempts", "current", "now", "expected"),
    [
        ([], False, 1000, Decision.REQUEST),
        ([], True, 1000, Decision.REQUEST),
        ([BUILT], True, 10**9, Decision.SETTLED),
        ([BUILT], False, 1000, Decision.REQUEST),  # something else was published since, or what it published is gone
        ([CANCELLED], False, 10**9, Decision.CANCELLED),
        ([FAILED, CANCELLED], False, 10**9, Decision.CANCELLED),
        ([CANCELLED, BUILT], False, 1000, Decision.REQUEST),
        ([LASTING], False, 10**9, Decision.FAILED),
        ([FAILED, LASTING], False, 10**9, Decision.FAILED),
        ([LASTING, FAILED], False, 1000, Decision.REQUEST),
        ([FAILED], False, 1000, Decision.REQUEST),
        ([FAILED] * 2, False, 1000, Decision.REQUEST),
        ([FAILED] * 3, False, 500, Decision.REQUEST),  # the clock was set back
        ([FAILED] * 3, False, 1059, Decision.PAUSED),
        ([FAILED] * 3, False, 1060, Decision.REQUEST),
        ([FAILED] * 4, False, 1119, Decision.PAUSED),
        ([FAILED] * 4, False, 1120, Decision.REQUEST),
        ([FAILED] * 5000, False, 999 + LONGEST_PAUSE, Decision.PAUSED),
        ([FAILED] * 5000, False, 1000 + LONGEST_PAUSE, Decision.REQUEST),
        ([FAILED] * 3 + [BUILT, FAILED], False, 1000, Decision.REQUEST),
    ],
)
def test_content_is_requested_again_only_if_another_run_may_succeed(
    attempts: list[Attempt], current: bool, now: float, expected: Decision
) -> None:
    assert decide(attempts, now=now, current=current) is expected


def test_content_is_not_requested_while_a_run_for_it_is_in_progress() -> None:
    ended = [FAILED, LASTING, CANCELLED, BUILT]
    for status, other in itertools.product(UNDER_WAY, ended):
        running = Attempt(status=status)
        for attempts in ([running], [running, other], [other, running]):
            assert decide(attempts, now=10**9) is Decision.UNDER_WAY


def test_every_run_status_of_dagster_is_handled() -> None:
    for status in DagsterRunStatus:
        assert decide([Attempt(status=status, ended=1000)], now=10**9) in Decision
