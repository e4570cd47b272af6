"""Checks of the arguments and indices of loaders, streams and samples."""

import operator
from fractions import Fraction
from typing import Any, SupportsIndex

from phyagi_assets.formatting import LARGEST, counted


def checked_int(name: str, value: Any, least: int = 0) -> int:
    """Check and return an integer argument.

    Raises
    ------
    TypeError
        The value is not an integer. A float is not truncated, not even a whole one.
    ValueError
        The value is out of range.

    Examples
    --------
    >>> checked_int("batch_size", 4, least=1)
    4
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: is {value!r}; use an integer") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: is {value}; use an integer")
    if number < least:
        raise ValueError(f"{name}: is {number}; use {least} or more")
    if number > LARGEST:
        raise ValueError(f"{name}: is {number}; use at most {LARGEST:,}")
    return number


def checked_bool(name: str, value: Any) -> bool:
    """Check and return a boolean argument, such as one that was read from a configuration.

    Raises
    ------
    TypeError
        The value is not a boolean. The text ``"False"`` would be true, and 2 would shift labels by two tokens.

    Examples
    --------
    >>> checked_bool("shift_labels", True)
    True
    """
    if value not in (True, False):
        raise TypeError(f"{name}: is {value!r}; use True or False")
    return bool(value)


def plain_number(value: Any) -> Any:
    """Convert a scalar of NumPy, torch or JAX to the shortest Python number that equals it; return any other value unchanged.

    Examples
    --------
    >>> import numpy as np
    >>> plain_number(np.float32(0.1))
    0.1
    """
    if getattr(value, "ndim", None) != 0:
        return value
    number = value.item()
    if not isinstance(number, float):
        return number
    shorter = (float(f"{number:.{digits}g}") for digits in range(1, 17))
    return next((one for one in shorter if value * 0 + one == value), number)  # the sum has the precision of the scalar


def exact_decimal(number: Any) -> Fraction:
    """Return the printed decimal of a number as a fraction.

    Examples
    --------
    >>> exact_decimal(0.1)
    Fraction(1, 10)
    """
    return Fraction(str(plain_number(number)))


def checked_index(index: SupportsIndex, length: int, unit: str) -> int:
    """Convert an index that may count from the end to one that counts from 0.

    Raises
    ------
    IndexError
        The index is out of range.
    """
    number = operator.index(index)
    if not -length <= number < length:
        raise IndexError(f"index {number} is outside a dataset of {counted(length, unit)}")
    return number % length if length else 0
