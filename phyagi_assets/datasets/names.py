"""Lookup of what an argument names."""

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def named(argument: str, known: Mapping[str, Value], name: str) -> Value:
    """Return the value of a name that was passed as an argument; the error names the argument.

    Raises
    ------
    ValueError
        The name is unknown; the message lists the known ones.
    """
    if name not in known:
        raise ValueError(f"{argument}: unknown name {name!r}; the names are: {', '.join(known)}")
    return known[name]
