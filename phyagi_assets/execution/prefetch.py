"""Prefetching: run a generator ahead of its consumer in its own thread."""

from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from phyagi_assets.execution.ordered import map_in_order

T = TypeVar("T")


def prefetch(source: Iterator[T], *, depth: int = 4, size: Callable[[T], int] | None = None) -> Generator[T, None, None]:
    """Yield the items of a source in order, while a thread computes further items; see `map_in_order`.

    Parameters
    ----------
    depth
        Largest number of computed items that wait for the consumer.
    """
    return map_in_order(_unchanged, source, threads=1, in_flight=depth + 1, size=size, name="prefetch")


def _unchanged(item: T) -> T:
    return item
