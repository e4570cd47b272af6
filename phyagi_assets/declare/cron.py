"""Validation of cron expressions, including whether they ever fire.

Dagster validates an expression only when its definitions are loaded, and accepts dates that do not exist in any year. This module checks
the expression when a declaration is read, without importing Dagster. It accepts five fields of ``*``, values, ranges, steps and lists,
with names for months and days of the week, ``L`` for the last day of a month and ``5#2`` for the second Friday, or a name such as
``@daily``. A test compares it with Dagster's parser.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """One of the five fields of a cron expression."""

    name: str
    low: int
    high: int
    names: Mapping[str, int] = field(default_factory=dict)

    def values(self, text: str) -> set[int] | None:
        """Return the values that the text of the field selects, or None if it selects all by ``*`` or ``?``."""
        if text == "*" or (text == "?" and self.name in (_DAY.name, _WEEKDAY.name)):
            return None
        chosen: set[int] = set()
        for part in text.split(","):
            chosen |= self._part(part)
        return chosen

    def _part(self, part: str) -> set[int]:
        if self.name == _WEEKDAY.name and (special := _NTH_WEEKDAY.fullmatch(part)):
            return {self._value(special["day"] or special["last"])}
        found = _PART.fullmatch(part)
        if found is None or (found["first"] == "l" and part != "l"):
            raise ValueError(f"{part!r} is not a valid {self.name}; use {self._usable()}")
        step = int(found["step"] or 1)
        if not step:
            raise ValueError(f"the step of the {self.name} in {part!r} is 0; use 1 or more")
        if found["first"] == "*":
            return set(range(self.low, self.high + 1, step))
        first = self._value(found["first"])
        if found["last"] is None:
            return set(range(first, self.high + 1, step)) if found["step"] else {first}
        last = self._value(found["last"])
        if first < last:
            return set(range(first, last + 1, step))
        every = range(self.low, self.high + 1)  # Dagster reads 5-5 as every value, and lets FRI-MON wrap around
        return set(every[::step]) if first == last else {value for value in every if value >= first or value <= last}

    def _value(self, text: str) -> int:
        if self.name == _DAY.name and text == "l":
            return self.high
        value = self.names.get(text, int(text) if text.isdecimal() and text.isascii() else -1)
        if not self.low <= value <= self.high:
            raise ValueError(f"{text!r} is not a valid {self.name}; use {self._usable()}")
        return value

    def _usable(self) -> str:
        names = f" or {next(iter(self.names)).upper()}–{list(self.names)[-1].upper()}" if self.names else ""
        return f"{self.low}–{self.high}{names}, lists (1,3), ranges (1-5) and steps (*/5)"


_PART = re.compile(r"(?P<first>\*(?!-)|[0-9]{1,9}|[a-z]+)(?:-(?P<last>[0-9]{1,9}|[a-z]+))?(?:/(?P<step>[0-9]{1,9}))?")
_NTH_WEEKDAY = re.compile(r"(?P<day>[a-z]{3}|[0-7])#[1-5]|l(?P<last>[0-7])")
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_DAY = _Field(name="day of the month", low=1, high=31)
_MONTH = _Field(name="month", low=1, high=12, names=_MONTHS)
_WEEKDAY = _Field(name="day of the week", low=0, high=7, names=_WEEKDAYS)
_FIELDS = (_Field(name="minute", low=0, high=59), _Field(name="hour", low=0, high=23), _DAY, _MONTH, _WEEKDAY)
NICKNAMES = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_DAYS = dict(enumerate((31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), start=1))


def looks_like_cron(text: str) -> bool:
    """Return whether a text looks like a cron expression: five fields, or a name such as ``@daily``.

    `check_cron` checks whether the expression is valid.

    Examples
    --------
    >>> looks_like_cron("0 3 * * MON-FRI"), looks_like_cron("@daily"), looks_like_cron("10 minutes")
    (True, True, False)
    """
    return text.startswith("@") or len(text.split()) == len(_FIELDS)


def check_cron(text: str) -> None:
    """Check a cron expression by Dagster's rules: five fields with names, lists, ranges and steps, or a name such as ``@daily``.

    Dagster's own parser is not used, because importing Dagster takes seconds and reading declarations does not need it otherwise.

    Raises
    ------
    ValueError
        Dagster does not accept the expression, or the expression names a day that none of its months has.

    Examples
    --------
    >>> check_cron("0 3 * * MON-FRI")
    >>> check_cron("0 3 30 2 *")
    Traceback (most recent call last):
    ...
    ValueError: '0 3 30 2 *' matches no date: no such month has day 30
    """
    lowered = text.lower()
    if lowered in NICKNAMES:
        return
    parts = lowered.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"{text!r} is not a cron expression; write five fields, as in 0 3 * * *, or one of {', '.join(NICKNAMES)}")
    try:
        _, _, days, months, weekdays = (field.values(part) for field, part in zip(_FIELDS, parts, strict=True))
    except ValueError as problem:
        raise ValueError(f"{text!r} is not a cron expression: {problem}") from None
    if "#" in parts[4] and any("#" not in part for part in parts[4].split(",")):
        raise ValueError(f"{text!r} mixes days of the week with and without #; use one kind")
    if days is None or "l" in parts[2].split(","):
        return
    reachable = any(day <= _DAYS[month] for day in days for month in months or _DAYS)
    if not reachable and (weekdays is None or months == {2}):  # if both are given, either is enough; Dagster refuses 30 February anyway
        listed = ", ".join(map(str, sorted(days)))
        raise ValueError(f"{text!r} matches no date: no such month has day {listed}")
