"""The pace at which a caller takes ranges from a reader."""

import time

JUDGED = 256
"""Number of ranges, of one read or several, after which the pace of a caller is judged."""
_SLOW = 2000
"""Number of ranges per second below which a caller is slow."""


class CallerPace:
    """The pace of the caller of a reader, measured by the time that it spends between its reads."""

    def __init__(self) -> None:
        self.is_slow = False
        """Whether the caller takes so few ranges that they can be fetched one by one."""
        self._taken = 0
        """Number of ranges that the caller took since it was judged."""
        self._own = 0.0
        """Time that the caller spent between reads since it was judged, in seconds."""
        self._returned = time.monotonic()
        """Time at which the last read ended."""

    def begin_read(self, ranges: int) -> None:
        """Begin a read of a number of ranges, and judge the caller if it has taken enough."""
        if self._taken:
            self._own += time.monotonic() - self._returned
        if self._taken >= JUDGED:
            self.is_slow = self._taken < _SLOW * self._own
            self._taken, self._own = 0, 0.0
        self._taken += ranges

    def end_read(self) -> None:
        """Note that the read has ended."""
        self._returned = time.monotonic()
