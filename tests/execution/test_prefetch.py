"""Prefetching changes the timing of results, not the results."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.execution.ordered import prefetch


@given(items=st.lists(st.integers(), max_size=30), depth=st.integers(1, 5))
def test_everything_comes_in_its_order(items: list[int], depth: int) -> None:
    assert list(prefetch(iter(items), depth=depth)) == items


def test_at_most_depth_items_are_in_flight() -> None:
    made = 0

    def counted() -> Iterator[int]:
        nonlocal made
        for i in range(100):
            made += 1
            yield i

    for taken, _ in enumerate(prefetch(counted(), depth=3), 1):
        assert made <= taken + 3 + 1
