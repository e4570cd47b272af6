"""Cache of small objects, whose beginnings are examined before they are read, so that one request per object serves both."""

import threading
from collections.abc import Callable, Iterable

from phyagi_assets.sources.readable import ByteRange, Stamp

_SMALL = 1 << 20
"""Largest size of a small object, in bytes: a request for its beginning takes a server about as long as one for all of it."""
_KEPT = 64 << 20
"""Largest size of the objects that are kept, in bytes."""


def fit(sizes: Iterable[int]) -> bool:
    """Return whether objects with these sizes are small, and all of them can be kept until they are read."""
    sizes = list(sizes)
    return sum(sizes) <= _KEPT and max(sizes, default=0) <= _SMALL


class SmallObjects:
    """Cache of small objects. An object is dropped once as many bytes were read as it has, or when others need the space."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, Stamp], bytes] = {}
        self._unread: dict[tuple[str, Stamp], int] = {}
        """Number of bytes of each kept object that are still to be read."""
        self._size = 0
        self._lock = threading.Lock()

    def read(self, origin: str, stamp: Stamp, part: ByteRange, size: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """Return a part of an object, given its size and a function that fetches a part. A read of its beginning fetches all of it."""
        (start, stop), key = part, (origin, stamp)
        with self._lock:
            content = self._kept.get(key)
        if content is None:
            if start:  # the object was dropped
                return fetch(start, stop)
            content = fetch(0, size)
            with self._lock:
                if key not in self._kept:
                    self._kept[key], self._unread[key] = content, size
                    self._size += size
        with self._lock:
            if key in self._kept:
                self._unread[key] -= stop - start
                if self._unread[key] <= 0:
                    self._drop(key)
            while self._size > _KEPT:
                self._drop(next(iter(self._kept)))
        return content[start:stop]

    def _drop(self, key: tuple[str, Stamp]) -> None:
        self._size -= len(self._kept.pop(key))
        del self._unread[key]
