"""Cron expressions: which are valid, and which of them ever fire.

Dagster validates an expression only when its definitions are loaded, and accepts dates that no year has. A declaration is checked here
when it is read, without importing Dagster: five fields of ``*``, values, ranges, steps and lists, with names for months and days of the
week, ``L`` for the last day of a month, or a name such as ``@daily``. Dagster accepts all that is accepted here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

NICKNAMES = ("@hourly", "@daily", "@weekly", "@monthly", "@yearly")
_MONTHS = {name: i for i, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)}
_DAYS = {name: i for i, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_LONGEST_MONTHS = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(r"(?:(?P<any>\*)|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Field:
    """One of the five fields."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]

    def values(self, text: str) -> set[int]:
        """Return the values that a field matches."""
        return {value for part in text.split(",") for value in self._part(part)}

    def _part(self, text: str) -> range:
        found = _PART.fullmatch(text)
        if found is None:
            raise ValueError(f"{self.name} {text!r} is not *, a value, a range such as 1-5, or one of them with a step such as */5")
        step = int(found["step"] or 1)
        if not 0 < step <= self.high:
            raise ValueError(f"the step of {self.name} {text!r} is not between 1 and {self.high}")
        low = self.low if found["any"] else self._value(found["low"])
        high = self.high if found["any"] or (found["step"] and not found["high"]) else self._value(found["high"] or found["low"])
        if low > high:
            raise ValueError(f"{self.name} {text!r} begins after its end")
        return range(low, high + 1, step)

    def _value(self, text: str) -> int:
        value = self.names.get(text.lower(), int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else -1)
        if not self.low <= value <= self.high:
            names = f", or {'-'.join((next(iter(self.names)), list(self.names)[-1]))}" if self.names else ""
            raise ValueError(f"{self.name} {text!r} is not between {self.low} and {self.high}{names}")
        return value


_FIELDS = (
    _Field(name="minute", low=0, high=59, names={}),
    _Field(name="hour", low=0, high=23, names={}),
    _Field(name="day of the month", low=1, high=31, names={}),
    _Field(name="month", low=1, high=12, names=_MONTHS),
    _Field(name="day of the week", low=0, high=7, names=_DAYS),
)


def looks_like_cron(text: str) -> bool:
    """Return whether a text is meant as a cron expression: five fields separated by blanks, or a name such as ``@daily``.

    Examples
    --------
    >>> looks_like_cron("0 3 * * MON-FRI"), looks_like_cron("@daily"), looks_like_cron("10 minutes")
    (True, True, False)
    """
    return text.startswith("@") or len(text.split()) == len(_FIELDS)


def check_cron(text: str) -> None:
    """Check that a cron expression is valid and fires.

    Raises
    ------
    ValueError
        A field is not valid, or the day does not exist in any of the months. The message names the field.

    Examples
    --------
    >>> check_cron("*/10 9-17 * * MON-FRI")
    >>> check_cron("0 3 30 2 *")
    Traceback (most recent call last):
    ...
    ValueError: no month of '0 3 30 2 *' has a day 30; it would never fire
    """
    if text.startswith("@"):
        if text not in NICKNAMES:
            raise ValueError(f"{text!r} is not one of {', '.join(NICKNAMES)}")
        return
    fields = text.split(" ")
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{text!r} has {len(fields)} fields; a cron expression has 5, each after one blank: minute hour day month weekday")
    values = [{1} if field.low == 1 and part.lower() == "l" else field.values(part) for field, part in zip(_FIELDS, fields, strict=True)]
    days, months = values[2], values[3]
    if not any(min(days) <= _LONGEST_MONTHS.get(month, 31) for month in months):
        raise ValueError(f"no month of {text!r} has a day {min(days)}; it would never fire")
