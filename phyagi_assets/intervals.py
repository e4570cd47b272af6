"""Spans of time as people write them, and clocks as cron has them."""

import re
from datetime import timedelta

_SPAN = re.compile(r"(\d+) ?(minute|hour|day|week)s?")
_CRON = re.compile(r"@(hourly|daily|weekly|monthly)|[\d*][\d*/,-]*( [\d*?L][\dA-Za-z*/,#?-]*| \*){4}")


def parse_span(text: str) -> timedelta:
    """Read a span such as ``2 days`` or ``30 minutes``.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> parse_span("2 days")
    datetime.timedelta(days=2)
    """
    found = _SPAN.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is no span of time; one is a number and minutes, hours, days or weeks, as in 2 days")
    return timedelta(**{f"{found[2]}s": int(found[1])})


def is_cron(text: str) -> bool:
    """Whether a text has the form of a cron expression: five fields, or a name such as ``@daily``."""
    return _CRON.fullmatch(text) is not None
