"""Numbers to be read, and numbers that were written to be."""

import re

from phyagi_assets.errors import PhyagiAssetsError

LARGEST = 10**18
"""Positions, and tokens of a run, go up to this: they are 64-bit integers with room for arithmetic."""
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_WRITTEN = re.compile(r"(?P<number>[0-9][0-9_,]*(?:\.[0-9]+)?(?:e[0-9]+)?)(?P<unit>[kmgbt]?)", re.IGNORECASE)


def short(number: float) -> str:
    """A number in a few letters.

    Examples
    --------
    >>> short(950), short(1200), short(3_400_000)
    ('950', '1.2k', '3.4M')
    """
    for size, unit in _UNITS:
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def counted(number: int, what: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    Examples
    --------
    >>> counted(1, "document"), counted(2000, "document")
    ('1 document', '2,000 documents')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def parsed(written: str) -> int:
    """A whole number as people write it.

    Raises
    ------
    PhyagiAssetsError
        It is not a number, or larger than any position.

    Examples
    --------
    >>> parsed("300B"), parsed("1.5k"), parsed("2e6"), parsed("1,000")
    (300000000000, 1500, 2000000, 1000)
    """
    found = _WRITTEN.fullmatch(written.strip())
    if not found:
        raise PhyagiAssetsError(f"{written!r} is not a number; write it as in 2000000, 2M, 300B or 1.5T")
    sizes = {unit.lower(): size for size, unit in _UNITS} | {"b": 1e9, "": 1}
    number = float(re.sub("[_,]", "", found["number"])) * sizes[found["unit"].lower()]
    if number > LARGEST:
        raise PhyagiAssetsError(f"{written[:40]!r} is too large; the largest number is {LARGEST:,}")
    return round(number)
