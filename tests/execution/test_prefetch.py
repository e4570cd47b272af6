"""Running ahead changes when, not what."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.execution.prefetch import prefetch


@given(items=st.lists(st.integers(), max_size=30), depth=st.integers(1, 5))
def test_everything_comes_in_its_order(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth=depth)) == items


def test_exception_is_raised_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("third")

    ahead = prefetch(failing())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="third"):
        next(ahead)


def test_stopped_consumer_closes_the_source_and_ends_the_thread() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    ahead = prefetch(endless())
    assert next(ahead) == 1
    ahead.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_at_most_depth_items_are_in_flight() -> None:
    made = 0

    def counted() -> Iterator[int]:
        nonlocal made
        for i in range(100):
            made += 1
            yield i

    for taken, _ in enumerate(prefetch(counted(), depth=3), 1):
        assert made <= taken + 3 + 1


def test_source_waits_while_the_allowed_bytes_are_in_flight() -> None:
    made: list[int] = []

    def counted() -> Iterator[int]:
        for size in (30, 200, 200, 30, 30, 30, 200):
            made.append(size)
            yield size

    ahead = prefetch(counted(), size=lambda item: item, ahead=100)
    taken = 0
    for taken, item in enumerate(ahead, 1):
        assert item == made[taken - 1]
        assert sum(made[taken - 1 : -1]) < 100
    assert taken == len(made) == 7
