"""How work says how far it is."""

from collections.abc import Callable

OnProgress = Callable[[int], None]
"""Called by long steps with the bytes of source that are done since the last call."""
