"""Threads for work that may be stuck in a connection. They are daemon threads, which do not keep the process alive."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

Result = TypeVar("Result")

LOOK = 0.5
"""Interval of checking for signals, in seconds: a signal just before a wait without a time limit would not interrupt the wait."""


class DaemonThreads:
    """Pool of threads that call functions. Each thread is started when it is needed.

    Parameters
    ----------
    idle
        Time after which a thread without a call ends, in seconds; by default, it ends at once.
    """

    def __init__(self, most: int, *, idle: float = 0.0) -> None:
        self._most, self._idle = most, idle
        self._queue: SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0

    def submit(self, action: Callable[..., Result], *arguments: Any) -> "Future[Result]":
        """Call a function; the future raises what the function raises. A future that is cancelled in time is not begun."""
        future: Future[Result] = Future()
        with self._lock:
            self._queue.put((future, action, arguments))
            if self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._work, name="daemon", daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            try:
                future, action, arguments = self._queue.get(timeout=self._idle)
            except Empty:
                with self._lock:
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(action(*arguments))
                except BaseException as problem:
                    future.set_exception(problem)
            del future, action, arguments  # otherwise the result would stay in memory until the next call


def result_of(future: "Future[Result]") -> Result:
    """Wait for a future, so that signals interrupt the wait, and return its result."""
    while not wait([future], timeout=LOOK).done:
        pass
    return future.result()
