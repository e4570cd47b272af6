"""Spans of time in words, such as ``2 days``."""

import re
from datetime import timedelta

_SPAN = re.compile(r"(\d+) ?(minute|hour|day|week)s?")
_LONGEST = timedelta(days=3650)


def parse_span(text: str) -> timedelta:
    """Parse a span such as ``2 days`` or ``30 minutes``.

    Raises
    ------
    ValueError
        The text is not a span of time, or the span is longer than ten years.

    Examples
    --------
    >>> parse_span("2 days")
    datetime.timedelta(days=2)
    """
    found = _SPAN.fullmatch(text)
    if found is None or not int(found[1]):
        raise ValueError(f"{text!r} is not a span of time; write a number and minutes, hours, days or weeks, as in 2 days")
    try:
        span = timedelta(**{f"{found[2]}s": int(found[1])})
    except (OverflowError, ValueError):  # larger than a timedelta, or than an int read from text, can be
        span = timedelta.max
    if span > _LONGEST:
        raise ValueError(f"{text[:40]!r} is longer than ten years; write a shorter span of time")
    return span
