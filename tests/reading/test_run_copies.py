"""Copies of short runs equal the runs, for any lengths and positions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.reading.run_copies import joined_runs


@given(
    dtype=st.sampled_from(["bool", "uint8", "uint16", "uint32"]),
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    seed=st.integers(0, 1 << 20),
    runs=st.integers(0, 40),
    least=st.sampled_from([-1, 0]),
)
def test_joined_runs_are_the_entries_of_the_runs(dtype: str, sizes: list[int], seed: int, runs: int, least: int) -> None:
    draw = np.random.default_rng(seed)
    arrays = [draw.integers(0, 200, size).astype(dtype) for size in sizes]
    number = draw.integers(least, len(arrays), runs)
    room = np.where(number < 0, 70, np.array(sizes)[number])
    start = np.where(number < 0, 0, (draw.random(runs) * room).astype(int))
    length = np.minimum((draw.random(runs) ** 3 * 400).astype(int), room - start)
    joined = joined_runs(arrays.__getitem__, number, start, length, dtype)
    pieces: list[Any] = np.split(joined, np.cumsum(length))[:-1]
    assert len(joined) == length.sum()
    for of, begin, many, piece in zip(number.tolist(), start.tolist(), length.tolist(), pieces, strict=True):
        assert of < 0 or piece.tolist() == arrays[of][begin : begin + many].tolist()


def test_run_beyond_its_array_is_refused() -> None:
    with pytest.raises(IndexError, match="a run ends at 11, beyond the 10 entries of its array"):
        joined_runs(lambda _: np.arange(10), np.array([0]), np.array([8]), np.array([3]), np.int64)
