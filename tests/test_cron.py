"""Cron expressions: what is accepted is accepted by Dagster too, and fires."""

import re
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string
from hypothesis import example, given
from hypothesis import strategies as st

from phyagi_assets.cron import NICKNAMES, check_cron, looks_like_cron


def numbers(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """Return fields of a cron expression, most of them valid."""
    value = st.integers(low, high).map(str) | (st.sampled_from(names) if names else st.nothing())
    part = (
        st.just("*") | value | st.tuples(value, value).map("-".join) | st.tuples(st.just("*"), st.integers(1, high).map(str)).map("/".join)
    )
    return st.lists(part, min_size=1, max_size=3).map(",".join)


expressions = st.tuples(
    numbers(0, 59),
    numbers(0, 23),
    numbers(1, 31) | st.just("L"),
    numbers(1, 12, ("JAN", "feb", "Dec")),
    numbers(0, 7, ("SUN", "mon", "Fri")),
).map(" ".join)


def accepts(text: str) -> bool:
    try:
        check_cron(text)
    except ValueError:
        return False
    return True


@example("0 3 * * MON-FRI")
@example("0 3 L 2 *")
@example("*/5 9-17/2 1,15 jan-jun *")
@example("0 3 30 2 MON")
@example("@daily")
@given(expressions | st.sampled_from(NICKNAMES))
def test_accepted_expression_is_valid_for_dagster_and_fires(text: str) -> None:
    assert looks_like_cron(text)
    if accepts(text):
        assert is_valid_cron_string(text)
        start = datetime(2024, 1, 1, tzinfo=UTC)
        assert next(iter(cron_string_iterator(start.timestamp(), text, "UTC"))) >= start


@given(expressions)
def test_expression_that_dagster_refuses_is_refused(text: str) -> None:
    assert is_valid_cron_string(text) or not accepts(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 3 30 2 *", "no month of '0 3 30 2 *' has a day 30"),
        ("0 3 31 4,6,9,11 *", "has a day 31"),
        ("60 * * * *", "minute '60' is not between 0 and 59"),
        ("* * 0 * *", "day of the month '0' is not between 1 and 31"),
        ("* * * 13 *", "month '13' is not between 1 and 12, or jan-dec"),
        ("* * * * MO", "day of the week 'MO' is not between 0 and 7, or sun-sat"),
        ("*/0 * * * *", "the step of minute '*/0' is not between 1 and 59"),
        ("5-1 * * * *", "minute '5-1' begins after its end"),
        ("a/b/c * * * *", "minute 'a/b/c' is not *, a value"),
        ("0  3 * * *", "each after one blank"),
        ("@sometimes", "'@sometimes' is not one of @hourly"),
        ("² * * * *", "is not between 0 and 59"),
    ],
)
def test_invalid_expression_names_the_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_cron(text)


def test_schedule_takes_every_nickname() -> None:
    for nickname in NICKNAMES:
        dg.ScheduleDefinition(name="x", cron_schedule=nickname, job_name="y")
