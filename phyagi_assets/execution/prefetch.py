"""Prefetching: run a generator ahead of its consumer in its own thread.

Reading, encoding and writing spend most of their time outside the global interpreter lock (in Arrow, in the engine, in the kernel), so
that one thread for each keeps the cores busy. The number of items in flight and their size in bytes are bounded, which bounds the memory.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

AHEAD = 16 << 20
"""Size of the items in flight at which the source waits, in bytes: more than the default `depth` in batches of usual size."""


def prefetch(
    source: Iterator[T], *, depth: int = 4, size: Callable[[T], int] | None = None, ahead: int = AHEAD
) -> Generator[T, None, None]:
    """Yield the items of a source in order, while a thread computes further items.

    An exception in the source is raised here, after the items before it. If the consumer stops early, the source is closed in its thread
    before the generator is closed, so that none of its files stays open. Use ``contextlib.closing`` if an exception may stop the consumer.

    Parameters
    ----------
    source
        The iterator to run ahead.
    depth
        Largest number of computed items that wait for the consumer.
    size
        Function that returns the size of an item in bytes. By default, only the number of items is bounded.
    ahead
        Size of the items in flight, in bytes, from which on no further item is computed. The item that the consumer works on counts until
        the consumer asks for the next one. An item that is larger than this is computed when no other item is in flight.

    Yields
    ------
    T
        The next item.
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
    """Bounded queue between a producing thread and its consumer."""

    def __init__(self, source: Iterator[T], depth: int, size: Callable[[T], int] | None, ahead: int) -> None:
        self._source, self._depth, self._size, self._ahead = source, depth, size, ahead
        self._ready: deque[tuple[T, int]] = deque()
        self._changed = threading.Condition()
        self._in_flight = 0
        self._stopped = self._ended = False
        self._problem: BaseException | None = None

    def produce(self) -> None:
        """Compute the items; runs in the producing thread."""
        try:
            # The size of an item is known only when it is in memory already, so the thread waits before it computes one.
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
        """Wait in the producing thread until a condition holds. Return False if the consumer has stopped."""
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
