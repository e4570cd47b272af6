"""Small objects whose beginning is examined before they are read: one request per object serves both."""

import threading
from collections import OrderedDict
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
    """Objects whose beginning was read, kept until their end is read, or until others need their room."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, Stamp], bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def read(self, origin: str, stamp: Stamp, part: ByteRange, size: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """Return a part of an object, given its size and a function that fetches a part. All of it is fetched with its beginning."""
        (start, stop), key = part, (origin, stamp)
        with self._lock:
            content = self._kept.get(key)
            if content and stop == size:
                self._size -= len(self._kept.pop(key))
        if content is None:
            if start:  # what was kept is gone
                return fetch(start, stop)
            content = fetch(0, size)
            if stop < size:
                self._keep(key, content)
        return content[start:stop]

    def _keep(self, key: tuple[str, Stamp], content: bytes) -> None:
        with self._lock:
            self._size += len(content) - len(self._kept.pop(key, b""))
            self._kept[key] = content
            while self._size > _KEPT:
                self._size -= len(self._kept.popitem(last=False)[1])
