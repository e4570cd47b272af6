"""Lookup of samples by position, and of positions by sample."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import PlannedPartition, Window
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import permuted, unpermuted
from phyagi_assets.order.planning import extended
from phyagi_assets.order.schedule import Interleaved, InTurn
from tests.order.plans import SHUFFLES, partitions, plan_of, sized

RATES = st.lists(st.integers(0, 50) | st.integers(0, 2**44), min_size=1, max_size=12).filter(any)


@given(size=st.integers(1, 300) | st.integers(1, 10**12), key=st.integers(0, 2**64 - 1), data=st.data())
def test_unpermuted_is_the_inverse_of_permuted(size: int, key: int, data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50)))
    assert unpermuted(permuted(index, size, key), size, key).tolist() == index.tolist()
    assert permuted(unpermuted(index, size, key), size, key).tolist() == index.tolist()


@pytest.mark.parametrize("kind", [Interleaved, InTurn])
@given(rates=RATES, data=st.data())
def test_position_of_a_draw_is_the_inverse_of_locate(kind: type[Interleaved | InTurn], rates: list[int], data: st.DataObject) -> None:
    schedule = kind(rates)
    position = np.array(
        data.draw(st.lists(st.integers(0, 200) | st.integers(0, 2**60 if sum(rates) < 2**40 else 2**50), max_size=30)), dtype=np.int64
    )
    source, drawn = schedule.locate(position)
    assert [schedule.position_of(of, before) for of, before in zip(source.tolist(), drawn.tolist(), strict=True)] == position.tolist()


CORPORA = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 30), min_size=1).filter(lambda of: max(of.values()) > 4),
    min_size=1,
)


def versions(tokens: dict[str, dict[str, int]]) -> dict[str, list[PlannedPartition]]:
    """Return partitions whose fingerprints are their numbers of tokens."""
    return {name: [sized(f"{name}-{key}", f"{count}", train=count) for key, count in of.items()] for name, of in tokens.items()}


def parts_of(found: dict[str, Any], weights: list[float]) -> list[MixturePart]:
    return [MixturePart(corpus=name, weight=weight) for name, weight in zip(found, weights, strict=False)]


@settings(max_examples=settings.default.max_examples // 2)  # each looks all tokens of several segments up
@given(
    segments=st.lists(st.tuples(CORPORA, st.lists(st.sampled_from([0.5, 1.0, 2.5]), min_size=3, max_size=3)), min_size=1, max_size=3),
    concat=st.sampled_from(["interleaved", "sequential"]),
    shuffle=st.sampled_from(SHUFFLES),
    crosses=st.booleans(),
    wanted=st.lists(st.tuples(st.integers(0, 29), st.integers(1, 9)), min_size=1, max_size=4),
)
def test_positions_of_tokens_include_samples_with_the_token_as_last_label(
    segments: Any, concat: str, shuffle: bool | Window, crosses: bool, wanted: list[tuple[int, int]]
) -> None:
    tokens, weights = segments[0]
    plan = plan_of(versions(tokens), parts_of(tokens, weights), concat=concat, shuffle=shuffle, crosses=crosses)
    for number, (tokens, weights) in enumerate(segments[1:], 1):
        plan = extended(plan, f"plan {number}", 37 * number, parts_of(tokens, weights), versions(tokens))
    order, below = MixtureOrder(plan, "train"), 160
    runs = order.runs(order.locate(np.arange(below)), ahead=1)
    standing: dict[tuple[int, int], set[int]] = {}
    for position, shard, start, count in zip(*(of.tolist() for of in (runs.sample, runs.shard, runs.start, runs.tokens)), strict=True):
        for token in range(start, start + count):
            standing.setdefault((shard, token), set()).add(position)
    for index, shard in enumerate(order.shards):
        for start, count in wanted:
            expected = set().union(*(standing.get((index, token), set()) for token in range(start, start + count)))
            assert order.positions_of(shard.corpus, shard.partition, start, start + count, below) == sorted(expected)


def test_positions_of_tokens_are_found_in_other_splits() -> None:
    order = MixtureOrder(plan_of({"one": [sized("a", train=9, validation=7), sized("b", validation=3)]}), "validation")
    assert order.positions_of(0, 0, 6, 7, 9) == [1, 4, 7]
    assert order.positions_of(0, 1, 1, 3, 9) == [1, 2, 4, 5, 7, 8]


def test_sample_among_billions_is_located_without_a_walk() -> None:
    order = MixtureOrder(plan_of(partitions({"one": {"a": 10**9}, "two": {"a": 3 * 10**9}})), "train")
    started = time.process_time()
    (position,) = order.positions_of(0, 0, 4 * 123_456_789 + 1, 4 * 123_456_789 + 4, 4 * 10**9)
    assert order.locate(np.array([position])).start.tolist() == [4 * 123_456_789]
    assert time.process_time() - started < 5  # a walk would take an hour
