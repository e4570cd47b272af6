"""Make several requests at the same time, with their results in order."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONCURRENT = 32
"""Number of requests at the same time."""


def concurrently(action: Callable[[Item], Result], items: Iterable[Item], threads: int = _CONCURRENT) -> Iterator[Result]:
    """Apply a function to items with several threads, and yield the results in their order. After a failure, no further items are begun."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="bucket")
    try:
        yield from pool.map(action, items)
    finally:
        pool.shutdown(cancel_futures=True)
