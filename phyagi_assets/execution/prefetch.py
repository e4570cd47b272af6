"""Overlap: let a generator run ahead in a thread of its own.

Reading, encoding and writing each spend their time outside the interpreter's lock (in Arrow, in the engine, in the kernel), so
a thread for each of them keeps the cores busy. A number of items and of bytes bounds what is in flight, and with it the memory.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 16 << 20
"""Bytes in flight from which on a source waits: more than `depth` batches of usual size."""


def prefetch(
    source: Iterator[T], *, depth: int = 4, size: Callable[[T], int] | None = None, ahead: int = AHEAD
) -> Generator[T, None, None]:
    """Yield the items of `source` in their order, while a thread computes up to `depth` items ahead.

    An exception in the source surfaces here, after the items before it. When the consumer stops early, the source is closed in its
    own thread before this returns, so that no file of it stays open; ``contextlib.closing`` makes that sure where an exception may
    stop the consumer.

    Parameters
    ----------
    size
        Size of an item, in bytes. By default, only the number of items is bounded.
    ahead
        Bytes from which on the source is asked for no further item. The item that the consumer works on counts until the consumer
        asks for the next. An item that is larger is computed when it is the only one.
    """
    run = _Ahead(source, depth, size, ahead)
    thread = threading.Thread(target=run.produce, name="prefetch", daemon=True)
    thread.start()
    try:
        yield from run.items()
    finally:
        run.stop()
        thread.join()


class _Ahead(Generic[T]):
    """Queue between a producing thread and its consumer."""

    def __init__(self, source: Iterator[T], depth: int, size: Callable[[T], int] | None, ahead: int) -> None:
        self._source, self._depth, self._size, self._ahead = source, depth, size, ahead
        self._ready: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._stopped = self._ended = False
        self._problem: BaseException | None = None

    def produce(self) -> None:
        """Compute the items, in the thread."""
        try:
            # An item's size is known only when it takes the memory: the thread waits before it computes one.
            while self._wait(lambda: self._in_flight < self._ahead):
                try:
                    item = next(self._source)
                except StopIteration:
                    break
                if not self._wait(lambda: len(self._ready) < self._depth):
                    break
                size = self._size(item) if self._size else 0
                with self._changed:
                    self._ready.append((item, size))
                    self._in_flight += size
                    self._changed.notify_all()
                del item
        except BaseException as problem:
            self._problem = problem
        finally:
            try:
                close = getattr(self._source, "close", None)
                if close:
                    close()
            finally:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait in the thread until a condition holds; False once the consumer has stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or condition())
            return not self._stopped

    def items(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item, size = self._ready.popleft()
                self._changed.notify_all()
            yield item
            del item
            with self._changed:
                self._in_flight -= size
                self._changed.notify_all()
        if self._problem is not None:
            raise self._problem

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
