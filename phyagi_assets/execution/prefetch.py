"""Prefetching: run a generator ahead of its consumer in its own thread."""

from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from phyagi_assets.execution.ordered import AHEAD, map_in_order

T = TypeVar("T")


def prefetch(
    source: Iterator[T], *, depth: int = 4, size: Callable[[T], int] | None = None, ahead: int = AHEAD
) -> Generator[T, None, None]:
    """Yield the items of a source in order, while a thread computes further items.

    An exception in the source is raised here, after the items before it. If the consumer stops early, the source is closed before the
    generator is closed, so that none of its files stays open. Use ``contextlib.closing`` if an exception may stop the consumer.

    Parameters
    ----------
    depth
        Largest number of computed items that wait for the consumer.
    size
        Function that returns the size of an item in bytes. By default, only the number of items is bounded.
    ahead
        Size of the items in flight, in bytes, from which on no further item is computed. The item that the consumer works on counts until
        the consumer asks for the next one. An item that is larger than this is computed when no other item is in flight.
    """
    return map_in_order(_unchanged, source, threads=1, in_flight=depth + 1, size=size, ahead=ahead, name="prefetch")


def _unchanged(item: T) -> T:
    return item
