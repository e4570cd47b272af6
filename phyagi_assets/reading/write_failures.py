"""Failed writes to a cache folder: reading continues without the cache if it can; otherwise, it ends with a message."""

import errno
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.formatting import short_size

_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers of a disk that is full, or of a quota that is used up."""
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Error numbers of a folder that is no longer writable."""

logger = logging.getLogger(__name__)


class WriteFailures:
    """The failed writes of a process to a cache folder.

    Parameters
    ----------
    remedy
        End of messages about the folder, which says how to name another one.
    """

    def __init__(self, folder: Path, remedy: str) -> None:
        self._folder, self.remedy = folder, remedy
        self.limit: int | None = None
        """Size that the blocks had when the disk was full, in bytes; they do not grow beyond it. None if the disk was never full."""
        self._is_refused = False
        """Whether a write was refused."""

    @contextmanager
    def as_errors(self) -> Iterator[None]:
        """Turn errors of the disk into a `StoreError` that the user can act on."""
        try:
            yield
        except OSError as problem:
            raise StoreError(f"{problem.filename or self._folder}: cannot be written: {problem.strerror}; {self.remedy}") from None

    def goes_on(self, problem: BaseException, size: Callable[[], int]) -> bool:
        """Return whether reading continues after a failed write, with uncached data fetched for each sample.

        If the disk is full, the cache keeps its size from then on.

        Parameters
        ----------
        size
            Function that returns the size of the cache, in bytes. It is called if the disk is full: a refused folder may not be readable.
        """
        code = getattr(problem, "errno", None)
        if code in _FULL:
            used = size()
            if self.limit is None:
                self._warn(code, f"the cache stays at {short_size(used)}, and data that does not fit is fetched for each sample")
            self.limit = used if self.limit is None else min(used, self.limit)
        elif code in _REFUSED:
            if not self._is_refused:
                self._warn(code, "nothing is added to the cache, and data that it lacks is fetched for each sample")
            self._is_refused = True
        return code in _REFUSED or code in _FULL

    def _warn(self, code: int, then: str) -> None:
        logger.warning("%s: %s; %s; %s", self._folder, os.strerror(code), then, self.remedy)
