"""The type of progress callbacks."""

from collections.abc import Callable

OnProgress = Callable[[int], None]
"""Function that long steps call with the number of bytes of source that they processed since the last call."""
