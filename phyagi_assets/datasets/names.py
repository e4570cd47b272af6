"""Lookup of arguments that are names."""

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")


def named(argument: str, known: Mapping[str, Value], name: str) -> Value:
    """Return the value for a name that was passed as an argument.

    Raises
    ------
    ValueError
        The name is unknown; the message names the argument and the known names.
    """
    if name not in known:
        raise ValueError(f"{argument}: unknown name {name!r}; use one of: {', '.join(known)}")
    return known[name]
