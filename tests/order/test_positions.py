"""Every position leads to a sample, and every sample back to its positions."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.config import MixturePart
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.permutation import permuted, unpermuted
from phyagi_assets.order.schedule import Interleaved, InTurn
from phyagi_assets.pipeline.planning import extended
from phyagi_assets.plan import PlannedPartition
from tests.order.plans import partition, partitions, plan_of

RATES = st.lists(st.integers(0, 50) | st.integers(0, 2**44), min_size=1, max_size=12).filter(any)


@given(size=st.integers(1, 300) | st.integers(1, 10**12), key=st.integers(0, 2**64 - 1), data=st.data())
def test_a_permutation_is_undone(size: int, key: int, data: st.DataObject) -> None:
    index = np.array(data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=50)))
    assert unpermuted(permuted(index, size, key), size, key).tolist() == index.tolist()
    assert permuted(unpermuted(index, size, key), size, key).tolist() == index.tolist()


@pytest.mark.parametrize("kind", [Interleaved, InTurn])
@given(rates=RATES, data=st.data())
def test_a_draw_leads_back_to_its_position(kind: type[Interleaved | InTurn], rates: list[int], data: st.DataObject) -> None:
    schedule = kind(rates)
    position = np.array(
        data.draw(st.lists(st.integers(0, 200) | st.integers(0, 2**60 if sum(rates) < 2**40 else 2**50), max_size=30)), dtype=np.int64
    )
    source, drawn = schedule.locate(position)
    assert [schedule.position_of(of, before) for of, before in zip(source.tolist(), drawn.tolist(), strict=True)] == position.tolist()


CORPORA = st.dictionaries(
    st.sampled_from(["one", "two", "three"]),
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 9), min_size=1),
    min_size=1,
)


def versions(samples: dict[str, dict[str, int]]) -> dict[str, list[PlannedPartition]]:
    """Partitions that are another version wherever they have another number of samples."""
    return {name: [partition(f"{name}-{key}", f"{count}", train=count) for key, count in of.items()] for name, of in samples.items()}


def parts_of(found: dict[str, Any], weights: list[float]) -> list[MixturePart]:
    return [MixturePart(corpus=name, weight=weight) for name, weight in zip(found, weights, strict=False)]


@given(
    segments=st.lists(st.tuples(CORPORA, st.lists(st.sampled_from([0.5, 1.0, 2.5]), min_size=3, max_size=3)), min_size=1, max_size=3),
    concat=st.sampled_from(["interleaved", "sequential"]),
    shuffle=st.booleans(),
)
def test_the_positions_of_a_sample_are_those_at_which_it_stands(segments: Any, concat: str, shuffle: bool) -> None:
    samples, weights = segments[0]
    plan = plan_of(versions(samples), parts_of(samples, weights), concat=concat, shuffle=shuffle)
    for number, (samples, weights) in enumerate(segments[1:], 1):
        plan = extended(plan, f"plan {number}", 37 * number, parts_of(samples, weights), versions(samples))
    order, below = MixtureOrder(plan, "train"), 160
    located = order.locate(np.arange(below))
    standing: dict[tuple[int, int, int], list[int]] = {}
    for position, (shard, row) in enumerate(zip(located.shard.tolist(), located.row.tolist(), strict=True)):
        of = order.shards[shard]
        standing.setdefault((of.corpus, of.partition, row), []).append(position)
    for shard in order.shards:
        for row in range(shard.shard.samples):
            expected = standing.get((shard.corpus, shard.partition, row), [])
            assert order.positions_of(shard.corpus, shard.partition, row, below) == expected


def test_other_splits_lead_back_too() -> None:
    order = MixtureOrder(plan_of(partitions({"one": {"a": 3, "b": 2}}, splits=("train", "validation"))), "validation")
    assert order.positions_of(0, 1, 0, 12) == [3, 8]


def test_a_sample_among_billions_is_found_without_a_walk() -> None:
    order = MixtureOrder(plan_of(partitions({"one": {"a": 10**9}, "two": {"a": 3 * 10**9}})), "train")
    started = time.process_time()
    (position,) = order.positions_of(0, 0, 123_456_789, 4 * 10**9)
    assert order.locate(np.array([position])).row.tolist() == [123_456_789]
    assert time.process_time() - started < 5  # a walk would take an hour
