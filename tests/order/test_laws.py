"""The seven laws of the order of training, for plans that mix text, conversations and packed corpora, with segments and stages.

Laws that are about tokens are stated of batches read from files.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.formats.plan import Plan
from phyagi_assets.inspection.explain import Explainer
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.reading import LoadedMixture, MixtureLoader
from phyagi_assets.reading.mixture_samples import MixtureSamples
from tests.order.packed_plans import SEQ_LEN, open_index
from tests.order.plans import Sample, group_samples, read
from tests.order.whole_plans import histories, tokens, write_partitions

SOME = settings(max_examples=settings.default.max_examples // 2)
FEW = settings(SOME, max_examples=settings.default.max_examples // 5)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_partitions(tmp_path_factory.mktemp("partitions"))


def order_of(plan: Plan, split: str = "train") -> MixtureOrder:
    return MixtureOrder(plan, split, open_index)


def segments(plan: Plan, stop: int) -> Iterator[tuple[int, int, int]]:
    """Yield the number, first position and end of each segment."""
    for number, (start, end) in enumerate(pairwise([*(segment.start for segment in plan.segments), stop])):
        yield number, start, end


@SOME
@given(histories())
def test_law_1_epochs_of_a_group_hold_each_sample_once_in_orders_of_their_own(plans: list[Plan]) -> None:
    plan = plans[-1]
    order = order_of(plan)
    stop = plan.current.start + 2 * order.epoch_length + 30
    samples = read(order, 0, stop)
    seen: dict[tuple[int, int], list[Sample]] = {}
    for number, start, end in segments(plan, stop):
        of_group = {
            sample: (source.corpus, group)
            for source in plan.segments[number].sources
            for group in source.groups
            for sample in group_samples(plan, source, group)
        }
        for sample in samples[start:end]:
            corpus, group = of_group[sample]
            given_of = seen.setdefault((corpus, group.key), [])
            given_of.append(sample)
            epoch = given_of[(len(given_of) - 1) // group.samples * group.samples :]
            assert len(set(epoch)) == len(epoch)
    if plan.shuffle is True:
        for given_of in seen.values():
            size = len(set(given_of))
            epochs = [given_of[begin : begin + size] for begin in range(0, len(given_of) - size + 1, size)]
            if size > 10:  # of a few, two orders are alike now and then
                assert all(one != other for one, other in pairwise(epochs))


@SOME
@given(histories())
def test_law_2_every_prefix_of_a_segment_is_within_two_samples_of_its_weights(plans: list[Plan]) -> None:
    plan = plans[-1]
    if plan.concat == "sequential":
        return
    order = order_of(plan)
    stop = plan.current.start + 2 * order.epoch_length + 30
    corpora = order.locate(np.arange(stop)).corpus
    for number, start, end in segments(plan, stop):
        sources = plan.segments[number].sources
        rates = np.array([source.rate for source in sources])
        given_of = np.cumsum([corpora[start:end] == source.corpus for source in sources], axis=1)
        wanted = np.arange(1, end - start + 1) * (rates / rates.sum())[:, None]
        assert (np.abs(given_of - wanted) <= 2).all()
        assert (given_of[:, -1].sum() if end > start else 0) == end - start


@SOME
@given(histories(), st.lists(st.integers(0, 1 << 40), min_size=1, max_size=40))
def test_law_3_a_sample_depends_on_its_position_alone(plans: list[Plan], far: list[int]) -> None:
    order = order_of(plans[-1])
    positions = np.array([*range(60), *far])
    together = order.locate(positions)
    for chosen in {0, 59, len(positions) // 2, len(positions) - 1}:
        alone = order.locate(positions[chosen : chosen + 1])
        for name in ("corpus", "epoch", "piece", "start"):
            assert getattr(together, name)[chosen] == getattr(alone, name)[0]
    assert read(order, 40, 60) == read(order_of(plans[-1]), 0, 60)[40:]


@FEW
@given(plans=histories(), legs=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4)), min_size=2, max_size=4))
def test_law_4_one_integer_restores_a_run_on_other_ranks_and_batches(
    home: Path, plans: list[Plan], legs: list[tuple[int, int, int]]
) -> None:
    samples = MixtureSamples(plans[-1], home)
    state, done = MixtureLoader(samples, batch_size=1).state_dict(), 0
    for world_size, batch_size, steps in legs:
        options = {"batch_size": batch_size, "world_size": world_size, "endless": True, "prefetch": 0}
        loaders = [MixtureLoader(MixtureSamples(plans[-1], home), rank=rank, **options) for rank in range(world_size)]
        for loader in loaders:
            loader.load_state_dict(state)
        for batches, _ in zip(zip(*map(iter, loaders), strict=True), range(steps), strict=False):
            for batch in batches:
                positions = np.arange(done, done + batch_size)
                expected = samples.batch(positions)
                assert batch["position"].tolist() == positions.tolist()
                assert all(np.array_equal(batch[name], expected[name]) for name in ("input_ids", "labels", "dataset_idx"))
                done += batch_size
            states = [loader.state_dict() for loader in loaders]
            assert all(of == states[0] for of in states)
            state = states[0]
    assert state["position"] == done


@SOME
@given(histories())
def test_law_5_a_new_segment_does_not_change_the_order_before_it(plans: list[Plan]) -> None:
    for earlier, later in pairwise(plans):
        until = next(of.agrees_until for of in later.ancestors if of.fingerprint == earlier.fingerprint)
        assert later.segments[: len(earlier.segments)] == earlier.segments
        assert read(order_of(later), 0, until) == read(order_of(earlier), 0, until)
        assert later.agrees(earlier.fingerprint, until)
        assert not later.agrees(earlier.fingerprint, until + 1)


@FEW
@given(plans=histories())
def test_law_6_positions_lead_back_to_the_documents_of_their_tokens(home: Path, plans: list[Plan]) -> None:
    samples = MixtureSamples(plans[-1], home)
    explainer = Explainer(samples.plan, samples.order, samples.shards)
    positions = np.arange(plans[-1].current.start + 25)
    batch = samples.batch(positions)
    for sample, ids in zip(explainer.explain(positions.tolist()), batch["input_ids"].tolist(), strict=True):
        told = [
            (sample.corpus, document.file, document.row, document.skipped + i)
            for document in sample.documents
            for i in range(document.end - document.start)
        ]
        known = [tokens()[token] for token in ids if token]
        assert told == [(of.corpus, of.file, of.row, of.place) for of in known]
        assert all(document.file.startswith(f"{document.partition}@") for document in sample.documents)
    for position in (0, len(positions) - 1):
        (sample,) = explainer.explain([position])
        corpus = int(batch["dataset_idx"][position])
        same = [of for of, array in zip(samples.order.shards, samples.shards.arrays, strict=True) if array.path.samefile(sample.array)]
        found = {  # a partition that is packed later is there twice
            at for of in same for at in samples.order.positions_of(corpus, of.partition, sample.offset, sample.offset + 1, len(positions))
        }
        assert position in found


@SOME
@given(histories())
def test_law_7_an_epoch_holds_every_token_but_fewer_than_one_sample(plans: list[Plan]) -> None:
    plan = plans[-1]
    for source in plan.current.sources:
        own = [sample for group in source.groups for sample in group_samples(plan, source, group)]
        every = Counter((shard.path, token) for shard in plan.shards(source, "train") for token in range(shard.tokens))
        covered = Counter(token for sample in own for token in sample if token[0])
        assert len(own) == source.samples
        assert covered <= every
        assert sum((every - covered).values()) == plan.uncovered(source) <= (0 if source.packed else plan.seq_len)
        assert sum(token[0] == "" for sample in own for token in sample) == plan.padding(source)


@FEW
@given(plans=histories())
def test_law_7_evaluation_reads_every_token_once_and_in_order(home: Path, plans: list[Plan]) -> None:
    plan = plans[-1]
    mixture = LoadedMixture(plan=plan, home=home)
    read_of = {source.corpus: {i for of in source.groups for i in of.partitions} for source in plan.current.sources}
    wanted = {plan.corpora[corpus].name: Counter(_validation(plan, corpus, partitions)) for corpus, partitions in read_of.items()}
    for number in plan.evaluation:
        wanted["exam"] = Counter(_validation(plan, number, set(range(len(plan.corpora[number].partitions)))))
    found = {name: samples.batch(np.arange(len(samples))) for name, samples in mixture.validation_by_corpus.items()}
    assert {name: Counter(batch["input_ids"][batch["input_ids"] > 0].tolist()) for name, batch in found.items()} == {
        name: of for name, of in wanted.items() if of
    }
    for batch in found.values():
        first = batch["input_ids"][:, 0].tolist()
        assert "position_ids" in batch or [tokens()[token].file for token in first] == sorted(
            (tokens()[token].file for token in first), key=[tokens()[token].file for token in first].index
        )


def _validation(plan: Plan, corpus: int, partitions: set[int]) -> list[int]:
    """Return the ids of the validation split of some partitions."""
    paths = {shard.path for i in partitions if (shard := plan.corpora[corpus].partitions[i].shards.get("validation"))}
    names = {path.replace("/", "-").removesuffix(".npy") + ".jsonl" for path in paths}
    return [token for token, of in tokens().items() if of.file in names]


@FEW
@given(plans=histories(), boundaries=st.booleans())
def test_labels_are_the_trained_tokens_and_packed_samples_tell_of_their_documents(home: Path, plans: list[Plan], boundaries: bool) -> None:
    samples = MixtureSamples(plans[-1], home, boundaries=boundaries)
    positions = np.arange(plans[-1].current.start + 40)
    batch = samples.batch(positions)
    packed = samples.order.packed(samples.order.locate(positions)).tolist()
    columns = [batch[name].tolist() if name in batch else [None] * len(positions) for name in ("input_ids", "labels", "position_ids")]
    assert (columns[2][0] is None) == (not boundaries and not samples.plan.has_packed)
    for ids, labels, places, is_packed in zip(*columns, packed, strict=True):
        known = [tokens().get(token) for token in ids]
        for i, (token, of) in enumerate(zip(ids, known, strict=True)):
            begins = i == 0 or (known[i - 1] is None) != (of is None)
            if of is not None and not begins:
                before = known[i - 1]
                assert before is not None
                begins = (before.file, before.row, before.place + 1) != (of.file, of.row, of.place)
            is_label = of is not None and of.is_trained and not (is_packed and begins and i)
            assert labels[i] == (token if is_label else -100)
            if places is not None and (is_packed or boundaries):
                assert (places[i] == 0) == begins
    assert len(columns[0][0]) == SEQ_LEN
