"""Format numbers, lists and messages for people, and parse numbers that people write."""

import re
from collections.abc import Sequence

LARGEST = 10**18
"""Largest position and largest number of tokens of a run: 64-bit integers with room for arithmetic."""
_COUNTS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
_SIZES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_WRITTEN = re.compile(r"(?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9][0-9_]*)(?:\.[0-9]+)?(?:e[0-9]+)?) ?(?P<unit>[kmgbt]?)", re.IGNORECASE)
"""A number with a unit. A comma separates thousands: as a decimal point, it would make 25 billion of 2,5B."""


def short(number: float) -> str:
    """Return a count with three significant digits; B is a billion.

    Examples
    --------
    >>> short(950), short(1200), short(999_999_999), short(300e9), short(1.2e12)
    ('950', '1.2k', '1B', '300B', '1.2T')
    """
    return _scaled(number, _COUNTS, "")


def short_size(size: float) -> str:
    """Return a number of bytes with three significant digits.

    Examples
    --------
    >>> short_size(950), short_size(1200), short_size(300e9)
    ('950B', '1.2kB', '300GB')
    """
    return _scaled(size, _SIZES, "B")


def _scaled(number: float, units: tuple[tuple[float, str], ...], smallest: str) -> str:
    rounded = float(f"{number:.3g}")
    for scale, unit in units:
        if rounded >= scale:
            return f"{rounded / scale:,.0f}{unit}" if rounded >= 1000 * scale else f"{rounded / scale:.3g}{unit}"
    return f"{rounded:.3g}{smallest}"


def digits(number: float) -> str:
    """Return a number with three significant digits, without exponential notation.

    Examples
    --------
    >>> digits(78.512), digits(41_021.7)
    ('78.5', '41,022')
    """
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> counted(1, "document"), counted(2000, "document")
    ('1 document', '2,000 documents')
    """
    return f"{number:,} {_noun(number, what)}"


def short_counted(number: float, what: str) -> str:
    """Return a count with three significant digits and its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> short_counted(1, "token"), short_counted(282_341, "token")
    ('1 token', '282k tokens')
    """
    return f"{short(number)} {_noun(number, what)}"


def _noun(number: float, what: str) -> str:
    return what if number == 1 else f"{what}s"


def listed(items: Sequence[object], most: int = 5, separator: str = ", ") -> str:
    """Return the first items of a list, and the number of the others.

    Examples
    --------
    >>> listed(["a", "b"], 2), listed(["a", "b", "c"], 1), listed([], 3)
    ('a, b', 'a and 2 more', '')
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return f"{separator.join(map(str, items[:most]))}{more}"


def one_line(problem: object, most: int | None = None) -> str:
    """Return a text, such as the message of an exception, on one line.

    Parameters
    ----------
    most
        Largest number of characters, after which the text is cut; by default, it is not cut.

    Examples
    --------
    >>> one_line(ValueError("a\\n  b"))
    'a b'
    """
    return " ".join(str(problem).split())[:most]


def parsed(written: str) -> int:
    """Parse a whole number that can have a unit: k, M, B or G (billion), or T.

    Raises
    ------
    ValueError
        The text is not a number, or the number is larger than `LARGEST`.

    Examples
    --------
    >>> parsed("300B"), parsed("1.5k"), parsed("2e6"), parsed("1,000")
    (300000000000, 1500, 2000000, 1000)
    """
    found = _WRITTEN.fullmatch(written.strip())
    if not found:
        raise ValueError(f"{written!r} is not a number; write it as in 2000000, 2M, 300B or 1.5T")
    scales = {unit.lower(): scale for scale, unit in _COUNTS} | {"g": 1e9, "": 1}
    number = float(re.sub("[_,]", "", found["number"])) * scales[found["unit"].lower()]
    if number > LARGEST:
        raise ValueError(f"{written[:40]!r} is too large; the largest number is {LARGEST:,}")
    return round(number)


def parsed_size(given: int | str) -> int:
    """Return a size in bytes, given as a number or as text such as ``200GB``.

    Raises
    ------
    ValueError
        It is not a size, its unit is only a B, which in other numbers means billions, or it is larger than `LARGEST`.

    Examples
    --------
    >>> parsed_size("200GB"), parsed_size("1.5M"), parsed_size(4096)
    (200000000000, 1500000, 4096)
    """
    if isinstance(given, int):
        return given
    number = re.sub(r"(?<=[kmgt])b$", "", str(given).strip(), flags=re.IGNORECASE)
    if number.lower().endswith("b") or not _WRITTEN.fullmatch(number):
        raise ValueError(f"{given!r} is not a size; write it as in 8GB or 500MB")
    return parsed(number)
