"""Work on the items of a source in several threads, with the results in the order of the items.

Each thread takes an item and works on it to the end, so that no item moves between threads. The work has to spend most of its time outside
the global interpreter lock (in Arrow, in the engine, in the kernel).
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 16 << 20
"""Size of the items in flight at which no further item is taken, in bytes: more than the usual number of batches of usual size."""
_TO_END = 10.0
"""Time for the threads to end after the consumer has stopped, in seconds."""


def map_in_order(
    work: Callable[[T], R],
    items: Iterator[T],
    *,
    threads: int,
    in_flight: int | None = None,
    size: Callable[[T], int] | None = None,
    ahead: int = AHEAD,
    name: str = "ordered",
) -> Generator[R, None, None]:
    """Yield ``work(item)`` for each item, in order, while threads work on the items after it.

    An exception of the source or of the work is raised here, after the results of the items before it. A forked process, which does not
    have the threads, gets an error. If the consumer stops early, the source is closed before the generator is closed, and the threads end
    at once; only a thread that works on an item for long may end later, so that an interrupt does not wait for it. Use
    ``contextlib.closing`` if an exception may stop the consumer.

    Parameters
    ----------
    work
        Function to apply; called from several threads.
    items
        The source. One thread at a time takes an item from it.
    in_flight
        Largest number of items that are taken and whose results are not consumed; by default, twice the number of threads. The item that
        the consumer works on counts until the consumer asks for the next one.
    size
        Function that returns the size of an item in bytes. By default, only the number of items is bounded.
    ahead
        Size of the items that are taken and whose results are not consumed, in bytes, at which no further item is taken. An item that
        is larger than this is worked on alone.
    """
    run = _Run(work, items, in_flight or 2 * threads, size, ahead)
    workers = [threading.Thread(target=run.work, name=name, daemon=True) for _ in range(threads)]
    program_ends = sys.is_finalizing  # by then, globals may be gone
    for worker in workers:
        worker.start()
    try:
        yield from run.results()
    finally:
        if not program_ends() and not run.is_forked:  # in both cases, the threads do not run any more
            run.stop()
            until = time.monotonic() + _TO_END
            for worker in workers:
                worker.join(max(0.0, until - time.monotonic()))
            run.close()


def prefetch(source: Iterator[T], *, depth: int = 4, size: Callable[[T], int] | None = None) -> Generator[T, None, None]:
    """Yield the items of a source in order, while a thread computes further items; see `map_in_order`.

    Parameters
    ----------
    depth
        Largest number of computed items that wait for the consumer.
    """
    return map_in_order(lambda item: item, source, threads=1, in_flight=depth + 1, size=size, name="prefetch")


class _Run(Generic[T, R]):
    """State that the threads and the consumer share."""

    def __init__(self, work: Callable[[T], R], items: Iterator[T], in_flight: int, size: Callable[[T], int] | None, ahead: int) -> None:
        self._work, self._items, self._size, self._ahead = work, items, size, ahead
        self._in_flight = in_flight
        self._changed = threading.Condition()
        self._taking = threading.Lock()
        self._done: dict[int, tuple[R | None, BaseException | None]] = {}
        """Results by number of the item, until they are consumed."""
        self._sizes: dict[int, int] = {}
        """Sizes of the items that are taken and whose results are not consumed, by number."""
        self._taken = 0
        self._end: int | None = None
        """Number of items of the source; None while it is not known."""
        self._stopped = False
        self._process = os.getpid()

    @property
    def is_forked(self) -> bool:
        """Whether this process was forked after the threads began."""
        return os.getpid() != self._process

    def work(self) -> None:
        """Process items until none are left. Each thread runs this method."""
        while (taken := self._take()) is not None:
            number, item = taken
            del taken
            try:
                done: tuple[R | None, BaseException | None] = self._work(item), None
            except BaseException as problem:
                done = None, problem
            del item
            with self._changed:
                self._done[number] = done
                self._changed.notify_all()
            del done

    def _take(self) -> tuple[int, T] | None:
        """Take the next item with its number; None if there is none. An exception of the source counts as the result of the last item."""
        with self._taking:
            with self._changed:
                # The size of an item is known only when it is in memory already, so the thread waits before it takes one.
                self._changed.wait_for(lambda: self._stopped or self._end is not None or self._has_room())
                if self._stopped or self._end is not None:
                    return None
            try:
                item = next(self._items)
            except BaseException as problem:
                with self._changed:
                    self._end = self._taken
                    if not isinstance(problem, StopIteration):
                        self._done[self._end] = None, problem
                    self._changed.notify_all()
                return None
            with self._changed:
                number = self._taken
                self._taken += 1
                self._sizes[number] = self._size(item) if self._size else 0
            return number, item

    def _has_room(self) -> bool:
        return len(self._sizes) < self._in_flight and sum(self._sizes.values()) < self._ahead

    def results(self) -> Iterator[R]:
        """Yield the results in the order of the items, and raise the first exception."""
        for number in count():
            if self.is_forked:
                raise RuntimeError(
                    f"process {self._process} began this iteration with threads that process {os.getpid()}, which was forked from it, does "
                    "not have; begin an iteration in each process"
                )
            with self._changed:
                self._changed.wait_for(partial(self._is_settled, number))
                if number not in self._done:
                    return
                result, problem = self._done.pop(number)
            if problem is not None:
                raise problem
            yield result  # type: ignore[misc]
            del result
            with self._changed:
                del self._sizes[number]
                self._changed.notify_all()

    def _is_settled(self, number: int) -> bool:
        return number in self._done or number == self._end

    def stop(self) -> None:
        """Let the threads take no further item."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close the source, after the thread that takes an item from it."""
        close = getattr(self._items, "close", None)
        if close:
            with self._taking:
                close()
