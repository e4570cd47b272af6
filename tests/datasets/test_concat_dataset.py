"""Weights determine how often samples are read."""

import json
import pickle
import random
from collections import Counter
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset

from phyagi_assets.datasets import (
    LMDataset,
    SequentialWeightedConcatDataset,
    StreamLMDataset,
    WeightedConcatChatDataset,
    WeightedConcatDataset,
    WeightedConcatIterableDataset,
)


class Stream(WeightedConcatIterableDataset):
    """A stream that ends after an epoch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, endless=False, **kwargs)


MAP_STYLE = [WeightedConcatDataset, SequentialWeightedConcatDataset]

sizes = st.lists(st.integers(0, 12), min_size=1, max_size=4)
weights = st.lists(st.decimals(0, 3, places=2).map(float), min_size=4, max_size=4)
kinds = st.sampled_from(MAP_STYLE)
epochs = st.integers(0, 20)


def _items(size: int) -> list[dict[str, Any]]:
    return [{"x": f"sample {i}"} for i in range(size)]


def _concat(kind: type[WeightedConcatDataset], sizes: Sequence[int], weights: Sequence[float], epoch: int = 0, **keys: Any) -> Any:
    dataset = kind([_items(size) for size in sizes], weights[: len(sizes)], **keys)
    dataset.set_epoch(epoch)
    return dataset


def _places(dataset: Any) -> list[tuple[int, int]]:
    return [(sample["dataset_idx"], sample["idx"]) for sample in dataset]


@given(kind=kinds, sizes=sizes, weights=weights)
@example(kind=WeightedConcatDataset, sizes=[10], weights=[1.1])
@example(kind=WeightedConcatDataset, sizes=[100], weights=[0.07])
def test_length_is_the_rounded_up_product_of_length_and_decimal_weight(
    kind: type[WeightedConcatDataset], sizes: list[int], weights: list[float]
) -> None:
    dataset = _concat(kind, sizes, weights)
    due = [
        int((size * Decimal(str(weight))).to_integral_value(ROUND_CEILING))
        for size, weight in zip(sizes, weights[: len(sizes)], strict=True)
    ]
    assert dataset.cumulative_sizes == np.cumsum(due).tolist()
    assert len(dataset) == sum(due) == len(list(dataset)) == len(Stream([_items(size) for size in sizes], weights[: len(sizes)]))


def test_ten_samples_at_weight_1_1_give_11_and_the_tutorial_gives_14154() -> None:
    assert len(_concat(WeightedConcatDataset, [10], [1.1])) == 11
    assert len(_concat(WeightedConcatDataset, [3], [Fraction(1, 3)])) == 1
    windows = LMDataset(np.broadcast_to(np.uint16(0), 2_415_651), seq_len=512)
    assert len(windows) == 4_718
    assert len(WeightedConcatDataset([windows, windows], [1.5, 1.5])) == 14_154


@given(kind=st.sampled_from([*MAP_STYLE, Stream]), sizes=sizes, weights=weights, epoch=epochs)
def test_sample_is_repeated_according_to_its_weight(kind: Any, sizes: list[int], weights: list[float], epoch: int) -> None:
    times = Counter(_places(_concat(kind, sizes, weights, epoch)))
    for dataset_idx, (size, weight) in enumerate(zip(sizes, weights[: len(sizes)], strict=True)):
        for idx in range(size):
            assert times[dataset_idx, idx] - int(weight) in ({0, 1} if weight % 1 else {0})


@given(kind=st.sampled_from([*MAP_STYLE, Stream]), sizes=sizes, weights=weights, epoch=epochs)
def test_indices_of_a_sample_identify_it_and_the_sample_is_not_modified(
    kind: Any, sizes: list[int], weights: list[float], epoch: int
) -> None:
    datasets = [_items(size) for size in sizes]
    concat = kind(datasets, weights[: len(sizes)])
    concat.set_epoch(epoch)
    for sample in concat:
        assert sample == {**datasets[sample["dataset_idx"]][sample["idx"]], "idx": sample["idx"], "dataset_idx": sample["dataset_idx"]}
    assert datasets == [_items(size) for size in sizes]


@given(kind=kinds, sizes=sizes, weights=weights, epoch=epochs)
def test_datasets_are_concatenated_in_order(kind: type[WeightedConcatDataset], sizes: list[int], weights: list[float], epoch: int) -> None:
    dataset = _concat(kind, sizes, weights, epoch)
    starts = [0, *dataset.cumulative_sizes]
    for dataset_idx, (start, end) in enumerate(pairwise(starts)):
        assert {dataset[i]["dataset_idx"] for i in range(start, end)} <= {dataset_idx}


@given(kind=kinds, sizes=sizes, weights=weights, epoch=epochs, seed=st.integers(0, 5))
def test_sample_depends_only_on_its_index(
    kind: type[WeightedConcatDataset], sizes: list[int], weights: list[float], epoch: int, seed: int
) -> None:
    in_order = _places(_concat(kind, sizes, weights, epoch))
    dataset = _concat(kind, sizes, weights, epoch)
    order = random.Random(seed).choices(range(len(in_order)), k=len(in_order)) if in_order else []
    for index in order:
        assert (dataset[index]["dataset_idx"], dataset[index - len(in_order)]["idx"]) == in_order[index]
    assert _places(pickle.loads(pickle.dumps(dataset))) == in_order


@pytest.mark.parametrize("kind", MAP_STYLE)
def test_persistent_loader_workers_see_the_next_epoch(kind: type[WeightedConcatDataset]) -> None:
    dataset = _concat(kind, [40, 10], [0.5, 1.3])
    loader = DataLoader(dataset, num_workers=2, persistent_workers=True, batch_size=None)
    read = []
    for epoch in (0, 1, 7):
        dataset.set_epoch(epoch)
        read.append(_places(loader))
        assert read[-1] == _places(_concat(kind, [40, 10], [0.5, 1.3], epoch))
    assert read[0] != read[1]


@given(size=st.integers(2, 40), weight=st.decimals("0.05", "2.95", places=2).map(float), cycle=st.integers(0, 3), seed=st.integers(0, 99))
def test_runs_of_a_fraction_cover_every_sample_before_repeating(size: int, weight: float, cycle: int, seed: int) -> None:
    dataset = _concat(WeightedConcatDataset, [size], [weight], seed=seed)
    part = len(dataset) % size
    extra = Counter[int]()
    for epoch in range(cycle * -(-size // part), (cycle + 1) * -(-size // part)) if part else ():
        dataset.set_epoch(epoch)
        of_epoch = [dataset[i]["idx"] for i in range(len(dataset) - part, len(dataset))]
        assert len(set(of_epoch)) == part
        extra.update(of_epoch)
    assert set(extra.values()) <= {1, 2}
    assert set(extra) == (set(range(size)) if part else set())


@pytest.mark.parametrize("kind", [WeightedConcatDataset, Stream])
@pytest.mark.parametrize("weight", [0.5, 1.5])
def test_epoch_and_seed_determine_the_drawn_part(kind: Any, weight: float) -> None:
    def part(epoch: int, seed: int = 42) -> frozenset[tuple[int, int]]:
        times = Counter(_places(_concat(kind, [60], [weight], epoch, seed=seed)))
        return frozenset(place for place, count in times.items() if count > int(weight))

    assert len({part(epoch) for epoch in range(5)} | {part(0, seed) for seed in range(5)}) == 10
    assert part(0) | part(1) == {(0, i) for i in range(60)}


@given(sizes=sizes, weights=weights)
def test_sequential_epochs_together_cycle_through_each_dataset(sizes: list[int], weights: list[float]) -> None:
    read: list[list[int]] = [[] for _ in sizes]
    for epoch in range(4):
        for dataset_idx, idx in _places(_concat(SequentialWeightedConcatDataset, sizes, weights, epoch)):
            read[dataset_idx].append(idx)
    for size, given_by in zip(sizes, read, strict=True):
        assert given_by == [i % size for i in range(len(given_by))]


@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4))
def test_stream_matches_the_weights_at_every_prefix(sizes: list[int]) -> None:
    places = _places(Stream([_items(size) for size in sizes], None))
    for taken in range(len(places)):
        times = Counter(dataset_idx for dataset_idx, _ in places[:taken])
        for dataset_idx, size in enumerate(sizes):
            assert abs(times[dataset_idx] - taken * size / len(places)) <= 2


def test_stream_shuffles_every_pass_over_a_dataset_differently() -> None:
    stream = Stream([_items(30)], [3])
    passes = []
    for epoch in (0, 1):
        stream.set_epoch(epoch)
        read = [idx for _, idx in _places(stream)]
        passes += [read[start : start + 30] for start in (0, 30, 60)]
    assert all(sorted(of) == list(range(30)) for of in passes)
    assert len({str(of) for of in passes}) == 6


class _Huge:
    def __len__(self) -> int:
        return 10**15

    def __getitem__(self, index: int) -> dict[str, int]:
        return {"x": index}


@pytest.mark.parametrize("kind", MAP_STYLE)
def test_memory_does_not_grow_with_the_number_of_samples(kind: type[WeightedConcatDataset]) -> None:
    dataset = kind([_Huge(), _Huge()], [1.5, 0.001])
    assert dataset.cumulative_sizes == [15 * 10**14, 15 * 10**14 + 10**12]
    assert len(pickle.dumps(dataset)) < 2_000
    assert len({dataset[index]["x"] for index in range(10**15, 10**15 + 50)}) == 50
    assert next(iter(Stream([_Huge()], [2.5])))["dataset_idx"] == 0


class _Foreign(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


@pytest.mark.parametrize("kind", MAP_STYLE)
@pytest.mark.parametrize("index", [5, -6, 10**9])
def test_index_out_of_range_raises_an_error_with_the_number_of_samples(kind: type[WeightedConcatDataset], index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside a dataset of 5 samples"):
        _concat(kind, [2, 3], [1, 1])[index]
    with pytest.raises(IndexError):
        _concat(kind, [2], [0])[0]


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
@pytest.mark.parametrize(
    ("datasets", "weights", "refusal"),
    [
        ([], None, "datasets: is empty"),
        ([_items(2)], [1, 1], "weights: there are 2 for 1 datasets"),
        ([_items(2)], [-0.5], r"weights: -0\.5 is not a valid weight; use 0 or more"),
        ([_items(2)], [float("nan")], "weights: nan is not a valid weight"),
        ([_items(2)], [float("inf")], "weights: inf is not a valid weight"),
    ],
)
def test_invalid_concatenation_raises(kind: Any, datasets: list[Any], weights: list[float] | None, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        kind(datasets, weights)


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
def test_stream_of_another_library_raises_an_error_with_the_remedy(kind: Any) -> None:
    from datasets import Dataset

    for foreign in (_Foreign(), Dataset.from_list(_items(2)).to_iterable_dataset()):
        refusal = f"datasets: a {type(foreign).__name__} is a stream.*; give a map-style dataset"
        with pytest.raises(ValueError, match=refusal):
            kind([_items(2), foreign], [1, 1])


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
def test_negative_epoch_raises(kind: Any) -> None:
    with pytest.raises(ValueError, match="epoch: is -1; use 0 or more"):
        kind([_items(2)], None).set_epoch(-1)


@pytest.mark.parametrize("kind", MAP_STYLE)
def test_map_style_concatenation_is_a_torch_concat_dataset_and_rejects_streams(kind: type[WeightedConcatDataset]) -> None:
    assert issubclass(kind, ConcatDataset)
    with pytest.raises(ValueError, match=r"datasets: a StreamLMDataset is a stream; .* a stream's `windows`"):
        kind([StreamLMDataset("tokens", np.arange(9), seq_len=2)], [1])


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
def test_additional_columns_have_one_value_per_dataset(kind: Any) -> None:
    concat = kind(iter([_items(2), _items(3)]), iter([1, 2]), corpus=["news", "talk"], level=(1, 2))
    assert [(sample["corpus"], sample["level"]) for sample in concat].count(("talk", 2)) == 6
    assert {(sample["dataset_idx"], sample["corpus"]) for sample in concat} == {(0, "news"), (1, "talk")}
    with pytest.raises(ValueError, match="corpus: has 1 values for 2 datasets"):
        kind([_items(2), _items(2)], [1, 1], corpus=["news"])
    with pytest.raises(ValueError, match="x: the samples of dataset 0 have a column of that name"):
        next(iter(kind([_items(1)], [1], x=["news"])))


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
def test_sample_length_is_that_of_the_datasets(kind: Any) -> None:
    windows = [LMDataset(np.arange(20), seq_len=seq_len) for seq_len in (4, 4, 5)]
    assert kind(windows[:2], [1, 1]).seq_len == 4
    with pytest.raises(ValueError, match="samples of 4, 5 tokens"):
        kind(windows, [1, 1, 1]).seq_len  # noqa: B018
    assert getattr(kind([_items(1)], [1]), "seq_len", None) is None


def test_streams_of_streams_mix_their_samples() -> None:
    streams = [StreamLMDataset("tokens", np.arange(start, start + 9), seq_len=2) for start in (0, 100)]
    nested = Stream([Stream(streams[:1], [1]), streams[1]], [1.0, 2.0])
    starts = Counter(int(sample["input_ids"][0]) for sample in nested)
    assert starts == {**dict.fromkeys(range(0, 8, 2), 1), **dict.fromkeys(range(100, 108, 2), 2)}
    assert (len(nested), nested.seq_len) == (12, 2)


def test_state_is_saved_per_step_and_rank_and_the_last_one_is_loaded(tmp_path: Path) -> None:
    def stream(rank: int = 0) -> Stream:
        return Stream([_items(9)], [1], rank=rank, world_size=2)

    for rank in (0, 1):
        reader = iter(of_rank := stream(rank))
        for step in (9, 10):
            next(reader)
            of_rank.save_state(tmp_path / "run", step)
    for step, left in ((9, 4), ("10", 3), (None, 3)):
        resumed = stream(1)
        resumed.load_state(str(tmp_path / "run"), step)
        assert list(resumed) == list(stream(1))[5 - left :]
    with pytest.raises(FileNotFoundError, match="saved steps: 9, 10"):
        stream().load_state(tmp_path / "run", "11")
    with pytest.raises(FileNotFoundError, match="saved steps: none"):
        stream().load_state(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"rank-2\.json: does not exist"):
        Stream([_items(9)], [1], rank=2, world_size=3).load_state(tmp_path / "run")


def test_chat_concatenation_names_the_dataset_of_each_sample() -> None:
    named = WeightedConcatChatDataset([_items(2), _items(3)], [1.0, 2.0], labels=["math", "code"])
    assert [sample["dataset_name"] for sample in named] == ["math"] * 2 + ["code"] * 6
    assert {sample["dataset_name"] for sample in WeightedConcatChatDataset([_items(1), _items(1)], [1, 1])} == {"0", "1"}
    assert WeightedConcatChatDataset([_items(1)], [1])[0]["dataset_name"] is None
    with pytest.raises(ValueError, match="dataset_name: has 1 values for 2 datasets"):
        WeightedConcatChatDataset([_items(1), _items(1)], [1, 1], labels=["math"])


@pytest.mark.parametrize("world_size", [1, 2])
def test_endless_stream_goes_on_with_the_next_epoch(world_size: int) -> None:
    def stream(endless: bool, epoch: int = 0) -> WeightedConcatIterableDataset:
        made = WeightedConcatIterableDataset([_items(5), _items(3)], [1, 0.5], rank=0, world_size=world_size, endless=endless)
        made.set_epoch(epoch)
        return made

    epochs = [_places(stream(False, epoch)) for epoch in range(3)]
    one = len(epochs[0])
    assert _places(islice(stream(True), 3 * one)) == [place for epoch in epochs for place in epoch]
    assert one == len(stream(True))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize("taken", [3, 7, 8, 20])
def test_endless_stream_resumes_in_any_epoch(taken: int) -> None:
    def stream() -> WeightedConcatIterableDataset:
        return WeightedConcatIterableDataset([_items(5), _items(3)], [1, 1])

    whole = _places(islice(stream(), taken + 20))
    before, after = stream(), stream()
    assert _places(islice(before, taken)) == whole[:taken]
    after.load_state_dict(before.state_dict())
    assert _places(islice(after, 20)) == whole[taken:]


def test_reader_without_samples_of_an_endless_stream_ends() -> None:
    assert list(WeightedConcatIterableDataset([[]], [1])) == []


class _Numbers(IterableDataset[Any]):
    """A stream of numbers, which are not dicts."""

    def __init__(self, numbers: range) -> None:
        self._numbers = numbers
        self.length = len(numbers)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Any:
        return iter(self._numbers)


def test_stream_of_another_class_is_read_in_its_own_order() -> None:
    streams = [_Numbers(range(10)), _Numbers(range(20, 30))]
    finite = WeightedConcatIterableDataset(streams, [0.5, 1], endless=False)
    for _ in range(2):  # each iteration begins again
        read = list(finite)
        assert [x for x in read if x < 10] == list(range(5))
        assert [x for x in read if x >= 20] == list(range(20, 30))
    with pytest.raises(ValueError, match="a _Numbers has no position to save"):
        finite.state_dict()
    assert pickle.loads(pickle.dumps(finite)) is not None


def test_stream_of_another_class_begins_again_at_its_end() -> None:
    streams = [_Numbers(range(10)), _Numbers(range(20, 22))]
    finite = list(WeightedConcatIterableDataset(streams, [0.5, 2], endless=False))
    assert [x for x in finite if x >= 20] == [20, 21, 20, 21]
    endless = list(islice(WeightedConcatIterableDataset(streams, [1, 1]), 24))
    assert [x for x in endless if x < 10] == [*range(10), *range(10)]
    lying = _Numbers(range(0))
    lying.length = 3
    with pytest.raises(RuntimeError, match="a _Numbers has a length of 3, but yields no sample"):
        next(iter(WeightedConcatIterableDataset([lying], [1])))


class _Ranked(_Numbers):
    """A stream that divides its numbers among ranks, and can resume."""

    rank, world_size, taken, seq_len = 0, 1, 0, 4

    def set_rank_and_world_size(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size

    def __iter__(self) -> Any:
        for number in self._numbers[self.rank :: self.world_size][self.taken :]:
            self.taken += 1
            yield number
        self.taken = 0

    def state_dict(self) -> dict[str, int]:
        return {"taken": self.taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.taken = state["taken"]


def _ranked(**options: Any) -> WeightedConcatIterableDataset:
    return WeightedConcatIterableDataset([_Ranked(range(10)), _Ranked(range(20, 30))], [1, 2], **options)


@pytest.mark.parametrize("by_setter", [False, True])
def test_stream_of_another_class_gets_the_rank(by_setter: bool) -> None:
    for rank in range(2):
        stream = _ranked(endless=False) if by_setter else _ranked(rank=rank, world_size=2, endless=False)
        if by_setter:
            stream.set_rank_and_world_size(rank, 2)
        assert {x % 2 for x in stream} == {rank}
        assert (stream.seq_len, len(stream)) == (4, 15)


@pytest.mark.parametrize("taken", [0, 1, 17, 30, 44])
def test_stream_of_another_class_resumes_from_its_own_state(taken: int) -> None:
    stream = _ranked()
    samples = iter(stream)
    for _ in range(taken):
        next(samples)
    resumed = _ranked()
    resumed.load_state_dict(json.loads(json.dumps(stream.state_dict())))
    again = _ranked()
    again.load_state_dict(resumed.state_dict())  # not read in between
    expected = list(islice(samples, 40))
    assert list(islice(resumed, 40)) == list(islice(again, 40)) == expected
    if taken:
        with pytest.raises(ValueError, match="streams: the state does not have the states of 2 streams"):
            _ranked().load_state_dict({**stream.state_dict(), "streams": []})


@pytest.mark.parametrize("kind", [*MAP_STYLE, Stream])
@pytest.mark.parametrize(
    "given",
    [
        torch.tensor([0.1, 0.7], requires_grad=True),
        torch.tensor([0.1, 0.7], dtype=torch.bfloat16),
        [torch.tensor(0.1), np.float32(0.7)],
        np.array([0.1, 0.7], dtype=np.float16),
    ],
)
def test_weights_are_the_decimals_that_scalars_print(kind: Any, given: Any) -> None:
    dataset = kind([_items(10), _items(10)], given)
    assert len(dataset) == 1 + 7
    assert getattr(dataset, "windows", dataset).weights == [0.1, 0.7]
