"""Overlap: let a generator run ahead in a thread of its own.

Reading, encoding and writing each spend their time outside the interpreter's lock (in Arrow, in the engine, in the kernel), so
a thread for each of them keeps the cores busy. The depth bounds what is in flight, and with it the memory.
"""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar, cast

T = TypeVar("T")


def prefetch(source: Iterator[T], *, depth: int = 4) -> Generator[T, None, None]:
    """Yield what `source` yields, in its order, while a thread computes up to `depth` items ahead.

    An exception in the source surfaces here, after the items before it. When the consumer stops early, the source is closed in its
    own thread before this returns, so that no file of it stays open; ``contextlib.closing`` makes that sure where an exception may
    stop the consumer.
    """
    ready: queue.Queue[object] = queue.Queue(maxsize=depth)
    stopped = threading.Event()
    end = object()

    def put(item: object) -> bool:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.05)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in source:
                if not put(item):
                    break
            put(end)
        except BaseException as problem:
            put(_Failure(problem))
        finally:
            close = getattr(source, "close", None)
            if close:
                close()

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not end:
            if isinstance(item, _Failure):
                raise item.problem
            yield cast(T, item)
    finally:
        stopped.set()
        thread.join()


class _Failure:
    def __init__(self, problem: BaseException) -> None:
        self.problem = problem
