"""The order of plans that mix packed corpora with others: laws 1 to 3 and 5 to 7."""

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.schema import MixturePart
from phyagi_assets.formats.plan import PACKED_FORMAT, Plan, PlannedPartition
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.order.packed_plans import SEQ_LEN, documents, open_index, packed_samples
from tests.order.plans import Sample, group_samples, plan_of, read, sized

LENGTHS = {"a": [], "b": [1], "c": [3, 1, 1], "d": [9, 2, 4, 1], "e": [4, 4, 3, 3, 2, 13], "f": [2] * 9 + [5]}
"""Lengths of the documents of partitions: none, few, longer than a sample, and as long as one."""
AMOUNTS = st.sampled_from([{"weight": weight} for weight in (0.2, 1.0, 1.7)] + [{"share": 0.3}])


@st.composite
def contents(draw: st.DrawFn) -> tuple[list[MixturePart], dict[str, list[PlannedPartition]]]:
    """Draw the content of a mixture at one time; corpora are packed or not, also the same one at different times."""
    names = draw(st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, unique=True))
    amounts = [draw(AMOUNTS) for _ in names]
    amounts[0] = {"weight": 1.0}
    found = {}
    for name in names:
        keys = draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True).filter(lambda keys: bool(set(keys) & set("def"))))
        is_packed = draw(st.booleans())
        found[name] = [_partition(f"{name}-{key}", LENGTHS[key] * int(draw(st.sampled_from("112"))), is_packed) for key in keys]
    return [MixturePart(corpus=name, **amount) for name, amount in zip(names, amounts, strict=True)], found


def _partition(key: str, lengths: list[int], is_packed: bool) -> PlannedPartition:
    version = str(len(lengths))
    return documents(key, version, train=lengths) if is_packed else sized(key, version, train=sum(lengths))


def order_of(plan: Plan, split: str = "train") -> MixtureOrder:
    return MixtureOrder(plan, split, open_index)


@settings(max_examples=15)
@given(
    first=contents(),
    changes=st.lists(st.tuples(st.integers(1, 50), contents()), max_size=3),
    concat=st.sampled_from(["interleaved", "sequential"]),
    shuffle=st.booleans(),
)
def test_segments_of_packed_and_other_corpora_obey_the_laws(first: Any, changes: Any, concat: str, shuffle: bool) -> None:
    parts, found = first
    plans = [plan_of(found, parts, concat=concat, shuffle=shuffle)]
    for number, (positions, (parts, found)) in enumerate(changes):
        plans.append(extended(plans[-1], f"plan {number}", plans[-1].current.start + positions, parts, found))
    for earlier, later in pairwise(plans):  # law 5
        assert later.segments[:-1] == earlier.segments
        assert read(order_of(later), 0, later.current.start) == read(order_of(earlier), 0, later.current.start)
    plan, order = plans[-1], order_of(plans[-1])
    stop = plan.current.start + 2 * order.epoch_length + 30
    samples = read(order, 0, stop)

    for source in plan.current.sources:  # laws 1 and 7
        own = [sample for group in source.groups for sample in group_samples(plan, source, group)]
        every = Counter((shard.path, token) for shard in plan.shards(source, "train") for token in range(shard.tokens))
        covered = Counter(token for sample in own for token in sample if token[0])
        assert len(own) == source.samples
        assert covered <= every
        assert sum((every - covered).values()) == plan.uncovered(source) <= (0 if source.packed else plan.seq_len)
        assert sum(token[0] == "" for sample in own for token in sample) == plan.padding(source)

    seen: dict[tuple[int, int], list[Sample]] = {}
    ends = [segment.start for segment in plan.segments[1:]] + [stop]
    for segment, end in zip(plan.segments, ends, strict=True):
        of_group = {
            sample: (source.corpus, group.key, group.samples)
            for source in segment.sources
            for group in source.groups
            for sample in group_samples(plan, source, group)
        }
        for sample in samples[segment.start : end]:
            corpus, key, count = of_group[sample]
            seen.setdefault((corpus, key), []).append(sample)
            epochs = seen[corpus, key]
            this = epochs[(len(epochs) - 1) // count * count :]
            assert len(set(this)) == len(this)

    positions = np.arange(stop)
    together = order.locate(positions)
    for chosen in np.random.default_rng(0).integers(0, stop, 3).tolist():  # law 3
        alone = order.locate(positions[chosen : chosen + 1])
        assert [getattr(together, name)[chosen] for name in ("corpus", "epoch", "piece", "start")] == [
            getattr(alone, name)[0] for name in ("corpus", "epoch", "piece", "start")
        ]
        corpus = int(together.corpus[chosen])  # law 6
        for path, token in (samples[chosen][0], [of for of in samples[chosen] if of[0]][-1]):
            partition = next(i for i, of in enumerate(plan.corpora[corpus].partitions) if _reads(plan, chosen, corpus, i, path))
            assert chosen in order.positions_of(corpus, partition, token, token + 1, stop)

    if concat == "interleaved":  # law 2
        rates = np.array([source.rate for source in plan.current.sources])
        given_of = np.stack([together.corpus[plan.current.start :] == source.corpus for source in plan.current.sources])
        passed = np.arange(1, stop - plan.current.start + 1)
        assert (np.abs(np.cumsum(given_of, axis=1) - passed * (rates / rates.sum())[:, None]) <= 2).all()


def _reads(plan: Plan, position: int, corpus: int, partition: int, path: str) -> bool:
    """Return whether the segment of a position reads a partition that has this array."""
    segment = next(of for of in reversed(plan.segments) if of.start <= position)
    shards = plan.corpora[corpus].partitions[partition].shards
    wanted = {index for source in segment.sources if source.corpus == corpus for group in source.groups for index in group.partitions}
    return partition in wanted and "train" in shards and shards["train"].path == path


def test_packed_partitions_continue_their_shuffle_and_new_ones_form_a_group() -> None:
    parts = [MixturePart(corpus="one")]
    old = [documents("one-a", train=[3, 4, 2, 2, 1] * 5), documents("one-b", train=[2, 4] * 6)]
    new = documents("one-c", train=[3] * 7)
    plan = plan_of({"one": old}, parts)
    grown = extended(plan, "grown", 9, parts, {"one": [*old, new]})
    (source,) = grown.current.sources
    assert [(group.partitions, group.offset, group.packed) for group in source.groups] == [((0, 1), 9, True), ((2,), 0, True)]
    whole, after = read(order_of(plan), 9, 60), read(order_of(grown), 9, 60)
    added = set(packed_samples(new))
    kept = [sample for sample in after if sample not in added]
    assert kept == whole[: len(kept)]
    assert {sample for sample in after if sample in added} == added


def test_other_splits_of_a_packed_corpus_are_read_once_and_in_order() -> None:
    found = {
        "one": [documents("one-a", train=[5, 3], validation=[2, 6, 1]), documents("one-b", train=[2], validation=[4])],
        "two": [sized("two-d", train=21, validation=5)],
    }
    plan = plan_of(found)
    a, b, d = (f"{key}@1/validation.npy" for key in ("one-a", "one-b", "two-d"))
    assert read(order_of(plan, "validation"), 0, 6) == [
        ((a, 0), (a, 1), (a, 6), (a, 7)),
        ((a, 2), (a, 3), (a, 4), (a, 5)),
        ((a, 8), ("", 0), ("", 1), ("", 2)),
        ((b, 0), (b, 1), (b, 2), (b, 3)),
        ((d, 0), (d, 1), (d, 2), (d, 3)),
        ((d, 4), ("", 0), ("", 1), ("", 2)),
    ]
    assert plan.total("validation", "samples") == 6


def test_packed_samples_are_followed_by_padding_where_labels_are_shifted() -> None:
    plan = plan_of({"one": [documents("one-a", train=[6, 3])]}, shuffle=False)
    order = order_of(plan)
    runs = order.runs(order.locate(np.arange(3)), ahead=1)
    columns = zip(runs.sample.tolist(), runs.at.tolist(), runs.shard.tolist(), runs.start.tolist(), runs.tokens.tolist(), strict=True)
    assert list(columns) == [(0, 0, 0, 0, 4), (0, 4, -1, 0, 1), (1, 0, 0, 4, 2), (1, 2, -1, 0, 3), (2, 0, 0, 6, 3), (2, 3, -1, 0, 2)]


def test_packed_plan_has_format_5_and_is_read_as_it_was_written(tmp_path: Any) -> None:
    parts = [MixturePart(corpus="one"), MixturePart(corpus="two")]
    found = {"one": [documents("one-a", train=[6, 3], validation=[2])], "two": [sized("two-a", train=30)]}
    plan = extended(plan_of(found, parts), "later", 3, parts, {**found, "one": [*found["one"], documents("one-b", train=[4])]})
    (tmp_path / "mixture.json").write_text(plan.to_json())
    assert f'"format": {PACKED_FORMAT}' in plan.to_json()
    assert read_plan(tmp_path / "mixture.json") == _with_format(plan)
    unpacked = plan_of({"two": found["two"]})
    assert '"format": 3' in unpacked.to_json()
    assert "packed" not in unpacked.to_json()


def _with_format(plan: Plan) -> Plan:
    from dataclasses import replace

    return replace(plan, format=PACKED_FORMAT)


def test_order_without_an_index_locates_packed_samples_and_refuses_to_find_their_tokens() -> None:
    order = MixtureOrder(plan_of({"one": [documents("one-a", train=[SEQ_LEN, 1])]}), "train")
    located = order.locate(np.arange(2))
    with pytest.raises(ValueError, match="open_index: is not given"):
        order.runs(located)
