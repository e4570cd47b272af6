"""Integer arguments of loaders, streams and samples, checked in one way."""

import operator
from typing import Any

from phyagi_assets.formatting import LARGEST


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
