"""Cron expressions: accepted ones are valid in Dagster and fire."""

import re
from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string
from hypothesis import example, given
from hypothesis import strategies as st

from phyagi_assets.declare.cron import NICKNAMES, check_cron, looks_like_cron


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


def never_comes(text: str) -> bool:
    try:
        check_cron(text)
    except ValueError as problem:
        return "matches no date" in str(problem)
    return False


@example("0 3 * * MON-FRI")
@example("0 3 L 2 *")
@example("*/5 9-17/2 1,15 jan-jun *")
@example("0 3 30 2 MON")
@example("0 3 * * FRI-MON")
@example("0 3 * * 5#2")
@example("0 3 1,15 * ?")
@example("@Daily")
@given(expressions | st.sampled_from(NICKNAMES))
def test_accepted_expression_is_valid_for_dagster_and_fires(text: str) -> None:
    assert looks_like_cron(text)
    if accepts(text):
        assert is_valid_cron_string(text)
        start = datetime(2024, 1, 1, tzinfo=UTC)
        assert next(iter(cron_string_iterator(start.timestamp(), text, "UTC"))) >= start


@given(expressions)
def test_expression_is_accepted_where_dagster_accepts_it_and_it_fires(text: str) -> None:
    assert accepts(text) == is_valid_cron_string(text) or never_comes(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 3 30 2 *", "'0 3 30 2 *' matches no date: no such month has day 30"),
        ("0 3 31 4,6,9,11 *", "matches no date"),
        ("60 * * * *", "'60' is not a valid minute; use 0–59"),
        ("* * 0 * *", "'0' is not a valid day of the month; use 1–31"),
        ("* * * 13 *", "'13' is not a valid month; use 1–12 or JAN–DEC"),
        ("* * * * MO", "'mo' is not a valid day of the week; use 0–7 or SUN–SAT"),
        ("*/0 * * * *", "the step of the minute in '*/0' is 0"),
        ("a/b/c * * * *", "'a/b/c' is not a valid minute"),
        ("* * * *", "five fields"),
        ("@sometimes", "or one of @hourly"),
        ("² * * * *", "is not a valid minute"),
    ],
)
def test_invalid_expression_names_the_field(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_cron(text)


def test_schedule_takes_every_nickname() -> None:
    for nickname in NICKNAMES:
        dg.ScheduleDefinition(name="x", cron_schedule=nickname, job_name="y")
