"""Samples at each position of whole plans: laws 1, 3 and 5."""

import resource
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Plan, PlannedPartition, Shard, Window
from phyagi_assets.order.group_schedule import GroupSchedule
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.forks import in_fork
from tests.order.plans import SHUFFLES, Sample, cut, group_samples, partitions, plan_of, read, sized, stream
from tests.order.whole_plans import contents

BOOKS = {"one": {"a": 5, "b": 0, "c": 9}, "two": {"a": 4}, "three": {"a": 1, "b": 2}}


def by_corpus(found: list[Sample]) -> dict[str, list[Sample]]:
    of: dict[str, list[Sample]] = defaultdict(list)
    for sample in found:
        of[sample[0][0].split("-")[0]].append(sample)
    return of


@pytest.mark.parametrize("shuffle", [True, Window(window=200)])
@pytest.mark.parametrize("weights", [(1, 1, 1), (2.5, 0.5, 7), (0.1, 3, 1)])
def test_epoch_of_a_corpus_reads_every_sample_once_in_its_own_order(weights: tuple[float, ...], shuffle: bool | Window) -> None:
    parts = [MixturePart(corpus=name, weight=float(weight)) for name, weight in zip(BOOKS, weights, strict=True)]
    plan = plan_of(partitions(BOOKS), parts, shuffle=shuffle)
    order = MixtureOrder(plan, "train")
    own = {name: len(cut(stream(plan, name))) for name in BOOKS}
    assert len(order) == sum(-(-own[part.corpus] * 10 * part.weight // 10) for part in parts if part.weight)
    for corpus, found in by_corpus(read(order, 0, 40 * len(order))).items():
        samples = cut(stream(plan, corpus))
        epochs = [found[start : start + len(samples)] for start in range(0, len(found) - len(samples), len(samples))]
        assert all(sorted(epoch) == sorted(samples) for epoch in epochs)
        if len(samples) > 10:  # of a few, two orders are alike now and then
            assert all(one != other for one, other in pairwise(epochs))
            assert samples not in epochs[:3]


@pytest.mark.parametrize("shuffle", [True, Window(window=72)])
def test_positions_are_located_equally_alone_and_together(shuffle: bool | Window) -> None:
    plan = plan_of(partitions(BOOKS), shuffle=shuffle)
    plan = extended(plan, "second", 50, [MixturePart(corpus="two"), MixturePart(corpus="one", weight=0.3)], partitions(BOOKS))
    order = MixtureOrder(plan, "train")
    draw = np.random.default_rng(0)
    positions = np.concatenate([draw.integers(0, 200, 500), draw.integers(0, 2**50, 100_000)])
    together = order.locate(positions)
    for chosen in [*range(100), *draw.integers(500, len(positions), 100).tolist()]:
        alone = order.locate(positions[chosen : chosen + 1])
        for name in ("corpus", "epoch", "piece", "start"):
            assert getattr(together, name)[chosen] == getattr(alone, name)[0]
    assert len(order.locate(np.zeros(0, dtype=np.int64)).start) == 0


def test_unshuffled_samples_keep_their_order_and_sequential_corpora_follow_each_other() -> None:
    found = partitions({"one": {"a": 2, "b": 1}, "two": {"a": 2}})
    parts = [MixturePart(corpus="one", weight=1.5), MixturePart(corpus="two")]
    plan = plan_of(found, parts, concat="sequential", shuffle=False)
    own, second = cut(stream(plan, "one")), cut(stream(plan, "two"))
    assert [{path for path, _ in sample} for sample in own] == [
        {"one-a@1/train.npy"},
        {"one-a@1/train.npy"},
        {"one-a@1/train.npy", "one-b@1/train.npy"},
    ]
    first = [*own, *own[:2]]

    sequential = MixtureOrder(plan, "train")
    assert read(sequential, 0, 7) == first + second
    assert read(sequential, 7, 14) == [own[2], *own, own[0], *second]  # the epochs of a corpus go on
    interleaved = by_corpus(read(MixtureOrder(plan_of(found, parts, shuffle=False), "train"), 0, 7))
    assert interleaved == {"one": first, "two": second}
    shuffled = read(MixtureOrder(plan_of(found, parts, concat="sequential"), "train"), 0, 7)
    assert sorted(shuffled[:3]) == sorted(first[:3])
    assert sorted(shuffled[5:]) == second


@pytest.mark.parametrize("shares", [(0.3, 0.7), (0.123456789, 0.876543211), (0.5, None)])
def test_sequential_corpora_with_shares_yield_their_samples_per_epoch(shares: tuple[float, float | None]) -> None:
    parts = [MixturePart(corpus=name, share=share) for name, share in zip(("one", "two"), shares, strict=True)]
    plan = plan_of(partitions({"one": {"a": 60}, "two": {"a": 40}}), parts, concat="sequential")
    order = MixtureOrder(plan, "train")
    corpora = order.locate(np.arange(2 * len(order))).corpus.tolist()
    one, two = (source.drawn for source in plan.current.sources)
    assert corpora == 2 * (one * [0] + two * [1])
    assert one == pytest.approx((shares[0] or 0) * len(order), abs=1)


def test_other_splits_are_read_in_order_to_their_last_token() -> None:
    found = {
        "one": [sized("a", train=13, validation=6), sized("b", train=5), sized("c", train=5, validation=5)],
        "two": [sized("d", train=21, validation=1)],
    }
    plan = plan_of(found, [MixturePart(corpus="one", weight=9.0), MixturePart(corpus="two", share=0.2)])
    order = MixtureOrder(plan, "validation")
    a, c, d = (f"{key}@1/validation.npy" for key in "acd")
    once = [
        ((a, 0), (a, 1), (a, 2), (a, 3)),
        ((a, 4), (a, 5), (c, 0), (c, 1)),
        ((c, 2), (c, 3), (c, 4), ("", 0)),
        ((d, 0), ("", 0), ("", 1), ("", 2)),
    ]
    assert (len(order), order.epoch_length) == (4, 4)
    assert read(order, 0, 9) == [*once, *once, once[0]]
    with pytest.raises(ValueError, match="split: mixture 'mix' has no sample of a split 'test'"):
        MixtureOrder(plan, "test")


def test_plans_of_earlier_releases_cut_each_partition_on_its_own() -> None:
    found = {"one": [sized("a", train=13, validation=6), sized("b", train=7), sized("c", train=4, validation=5)]}
    plan = plan_of(found, crosses=False, shuffle=False)
    tokens = [[(f"{key}@1/train.npy", token) for token in range(count)] for key, count in (("a", 13), ("b", 7))]
    assert read(MixtureOrder(plan, "train"), 0, 4) == [*cut(tokens[0]), *cut(tokens[1])]
    validation = [tuple((f"{key}@1/validation.npy", token) for token in range(4)) for key in "ac"]
    assert read(MixtureOrder(plan, "validation"), 0, 2) == validation
    assert plan.uncovered() == 24 - 16


TEXTS = contents(packs=False)
CHANGES = st.lists(st.tuples(st.integers(1, 70), TEXTS), min_size=1, max_size=4)


def by_group(plan: Plan, stop: int) -> dict[tuple[str, int], tuple[int, list[Sample]]]:
    """Return, by shuffle group, its number of samples, and the samples drawn from it before a position, in order."""
    order = MixtureOrder(plan, "train")
    given_of: dict[tuple[str, int], tuple[int, list[Sample]]] = {}
    starts = [segment.start for segment in plan.segments]
    for segment, start, end in zip(plan.segments, starts, [*starts[1:], stop], strict=True):
        found = read(order, start, end)
        for source in segment.sources:
            corpus = plan.corpora[source.corpus]
            for group in source.groups:
                samples = set(group_samples(plan, source, group))
                assert len(samples) == group.samples
                _, so_far = given_of.setdefault((corpus.name, group.key), (group.samples, []))
                assert len(so_far) == group.offset
                so_far += [sample for sample in found if sample in samples]
    return given_of


def check_nothing_is_lost(plan: Plan) -> None:
    """Check law 7 for the last segment: every token is in one sample, except for fewer tokens than a sample has."""
    for source in plan.current.sources:
        samples = [sample for group in source.groups for sample in group_samples(plan, source, group)]
        tokens = [token for sample in samples for token in sample]
        assert len(set(tokens)) == len(tokens)
        every = {(shard.path, token) for shard in plan.shards(source, "train") for token in range(shard.tokens)}
        assert set(tokens) <= every
        assert plan.uncovered(source) == len(every) - len(tokens)
        assert len(every) - len(tokens) <= plan.seq_len or not plan.current.crosses


@settings(max_examples=settings.default.max_examples // 2)  # each is a plan of several segments, read as a whole
@given(
    first=TEXTS,
    changes=CHANGES,
    concat=st.sampled_from(["interleaved", "sequential"]),
    shuffle=st.sampled_from(SHUFFLES),
    crosses=st.booleans(),
)
def test_new_segment_keeps_the_order_before_it_and_loses_no_token(
    first: Any, changes: Any, concat: str, shuffle: bool | Window, crosses: bool
) -> None:
    parts, found = first
    plans = [plan_of(found, parts, concat=concat, shuffle=shuffle, crosses=crosses)]
    samples_before: list[list[Sample]] = []  # of each plan, up to the segment that the next one adds
    check_nothing_is_lost(plans[0])
    for number, (positions, (parts, found)) in enumerate(changes):
        before = plans[-1]
        start = before.current.start + positions
        plan = extended(before, f"plan {number}", start, parts, found)
        plans.append(plan)
        check_nothing_is_lost(plan)
        assert [segment.crosses for segment in plan.segments[1:]] == [True] * (len(plan.segments) - 1)
        assert plan.segments[:-1] == before.segments
        assert [corpus.name for corpus in plan.corpora[: len(before.corpora)]] == [corpus.name for corpus in before.corpora]
        after = MixtureOrder(plan, "train")
        samples = read(after, 0, start + after.epoch_length)
        samples_before.append(read(MixtureOrder(before, "train"), 0, start))
        for (earlier, following), expected in zip(pairwise(plans), samples_before, strict=True):  # back to the first plan
            until = next(ancestor.agrees_until for ancestor in plan.ancestors if ancestor.fingerprint == earlier.fingerprint)
            assert until == following.current.start
            assert samples[:until] == expected
            assert plan.agrees(earlier.fingerprint, until)
            assert not plan.agrees(earlier.fingerprint, until + 1)
        wanted = {part.shards["train"].path for of in found.values() for part in of if "train" in part.shards}
        assert {path for sample in samples[start:] for path, _ in sample} <= wanted

    plan = plans[-1]
    stop = plan.current.start + 100
    for samples, given_by_group in by_group(plan, stop).values():  # a group repeats nothing and skips nothing before its pass is complete
        for begin in range(0, len(given_by_group), max(1, samples)):
            once = given_by_group[begin : begin + samples]
            assert len(set(once)) == len(once)


@pytest.mark.parametrize("crosses", [True, False])
def test_kept_partitions_continue_their_shuffle_and_new_ones_form_a_group_with_the_remainders(crosses: bool) -> None:
    found = partitions({"one": {"a": 20, "b": 20}})
    parts = [MixturePart(corpus="one")]
    plan = plan_of(found, parts, crosses=crosses)
    grown = extended(plan, "grown", 25, parts, partitions({"one": {"a": 20, "b": 20, "c": 10}}))
    (source,) = grown.current.sources
    new = (1, 2) if crosses else (0, 1, 2)
    assert [(group.partitions, group.offset, group.crosses) for group in source.groups] == [((0, 1), 25, crosses), (new, 0, True)]
    whole, after = read(MixtureOrder(plan, "train"), 0, 65), read(MixtureOrder(grown, "train"), 25, 75)
    assert [sample for sample in after if sample in set(whole)] == whole[25:]
    tokens = {path: range(count) for path, count in ((f"one-{key}@1/train.npy", of) for key, of in (("a", 81), ("b", 81), ("c", 41)))}
    covered = {token for sample in whole for token in sample}
    left = [(path, token) for path, of in tokens.items() for token in of if (path, token) not in covered]
    assert [path for path, _ in left[:2]] == (["one-b@1/train.npy"] * 2 if crosses else ["one-a@1/train.npy", "one-b@1/train.npy"])
    assert sorted(sample for sample in after if sample not in set(whole)) == sorted(cut(left))
    assert GroupSchedule(grown.current, "interleaved").draws_before(50) == [[40, 10]]


def test_group_that_lost_a_partition_is_reshuffled_without_it() -> None:
    parts = [MixturePart(corpus="one")]
    plan = plan_of(partitions({"one": {"a": 20, "b": 20, "c": 20}}), parts)
    shrunk = extended(plan, "shrunk", 30, parts, partitions({"one": {"a": 20, "c": 20}}))
    (source,) = shrunk.current.sources
    assert [(group.partitions, group.offset) for group in source.groups] == [((0, 2), 0)]
    assert source.groups[0].key != plan.current.sources[0].groups[0].key
    kept = [token for token in stream(plan, "one") if "one-b" not in token[0]]
    assert sorted(read(MixtureOrder(shrunk, "train"), 30, 70)) == sorted(cut(kept))


@pytest.mark.parametrize("appended", [False, True])
def test_sixty_small_partitions_leave_less_than_one_sample_uncovered(appended: bool) -> None:
    found = [sized(f"one-{key:02}", train=700) for key in range(60)]
    plan = plan_of({"one": found[:1] if appended else found}, seq_len=512)
    for number in range(1, 60 if appended else 0):
        plan = extended(plan, f"{number}", number, [MixturePart(corpus="one")], {"one": found[: number + 1]})
    assert plan.uncovered() < 513
    assert plan.total("train", "tokens") == 60 * 700
    check_nothing_is_lost(plan)


def peak_memory() -> float:
    """Return the peak memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def opening_cost(folder: Path) -> tuple[int, float, float, float]:
    """Return the number of samples of a mixture, the seconds to open it and to locate 100,000 of them, and the memory of both."""
    from phyagi_assets.datasets import load_mixture

    bare, started = peak_memory(), time.process_time()
    train = load_mixture(folder).train
    assert train[len(train) // 3]["input_ids"] is not None
    opened = time.process_time()
    train.order.locate(np.random.default_rng(0).integers(0, len(train), 10**5))
    return len(train), opened - started, time.process_time() - opened, peak_memory() - bare


def write_large_plan(folder: Path, tokens: int) -> int:
    """Write a plan over 64 corpora with 10,000 arrays in total, all in one sparse file; return its number of tokens."""
    shards = {"train": Shard(path="empty.npy", tokens=tokens, documents=1)}
    counts = [157 if number < 16 else 156 for number in range(64)]
    found = {
        f"c{number}": [PlannedPartition(key=f"{at}", fingerprint=f"{number}-{at}", shards=shards) for at in range(count)]
        for number, count in enumerate(counts)
    }
    folder.mkdir()
    with (folder / "empty.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (tokens,)})
        file.truncate(file.tell() + 2 * tokens)
    parts = [MixturePart(corpus=name, weight=0.5 + number / 32) for number, name in enumerate(found)]
    (folder / "mixture.json").write_text(plan_of(found, parts, seq_len=2048).to_json(), encoding="utf-8")
    return sum(counts) * tokens


@pytest.mark.torch
def test_opening_cost_does_not_grow_with_the_number_of_tokens(tmp_path: Path) -> None:
    folder, tokens = tmp_path / "ten trillion", 1_000_000_000
    assert write_large_plan(folder, tokens) == 10_000 * tokens
    samples, opened, located, memory = in_fork(opening_cost, folder)
    assert samples > 4_000 * tokens / 1000
    assert opened < 1
    assert located < 2
    assert memory < 200
