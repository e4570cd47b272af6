"""Streams divide samples by ranks and loader workers, and have epochs and states."""

import copy
import json
import logging
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch.distributed
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import StreamLMDataset, WeightedConcatIterableDataset
from phyagi_assets.datasets.divided_stream import shard_of_process
from phyagi_assets.datasets.sharding import SharedStream
from phyagi_assets.reading.steps import Reader, Shard

Make = Callable[..., SharedStream]


def _mixed(sizes: list[int], weights: list[float]) -> Make:
    return partial(
        WeightedConcatIterableDataset, [[{"input_ids": np.array([i])} for i in range(size)] for size in sizes], weights, endless=False
    )


def _windows(samples: int, shuffle: bool) -> Make:
    return partial(StreamLMDataset, "tokens", np.arange(2 * samples + 1), seq_len=2, shuffle=shuffle)


TWO = [_mixed([10, 7], [1.5, 1.0]), _windows(22, True)]  # 22 samples each
streams = st.one_of(
    st.builds(
        _mixed, st.lists(st.integers(0, 9), min_size=2, max_size=2), st.lists(st.sampled_from([0.5, 1.0, 2.3]), min_size=2, max_size=2)
    ),
    st.builds(_windows, st.integers(0, 15), st.booleans()),
)
epochs = st.integers(0, 3)


def _read(samples: Iterable[dict[str, Any]]) -> list[tuple[int, ...]]:
    return [(int(sample.get("dataset_idx", 0)), *np.asarray(sample["input_ids"]).ravel().tolist()) for sample in samples]


def _through_json(stream: SharedStream) -> Any:
    return json.loads(json.dumps(stream.state_dict()))


@given(make=streams, world_size=st.integers(1, 12), epoch=epochs)
def test_ranks_read_the_next_samples_in_each_step_and_repeat_the_first_ones_to_read_equally_many(
    make: Make, world_size: int, epoch: int
) -> None:
    ranks = [make(rank=rank, world_size=world_size) for rank in range(world_size)]
    whole = make()
    for stream in (whole, *ranks):
        stream.set_epoch(epoch)
    order, parts = _read(whole), [_read(stream) for stream in ranks]
    assert len(order) == len(whole)
    assert [len(part) for part in parts] == [len(stream) for stream in ranks] == [-(-len(order) // world_size)] * world_size
    due = iter((order * world_size)[: world_size * len(parts[0])])
    for step in zip(*parts, strict=True):
        assert Counter(step) == Counter(islice(due, world_size))


@given(samples=st.integers(0, 60), world_size=st.integers(1, 7), workers=st.integers(0, 6))
def test_workers_divide_the_turns_of_their_rank(samples: int, world_size: int, workers: int) -> None:
    readers = [Reader(rank=0, world_size=world_size, worker=worker, workers=workers) for worker in range(max(workers, 1))]
    turns = [turn for reader in readers for turn in reader.turns(reader.steps(samples))]
    assert sorted(turns) == list(range(readers[0].steps(samples)))
    for reader in readers:
        for taken in range(4):
            assert list(reader.turns(reader.steps(samples), taken)) == list(reader.turns(reader.steps(samples)))[taken:]


@pytest.mark.parametrize("make", TWO)
@pytest.mark.parametrize(("world_size", "workers"), [(1, 2), (3, 2), (50, 1)])
def test_loader_workers_of_all_ranks_together_read_every_sample_without_repetition(make: Make, world_size: int, workers: int) -> None:
    due = Counter[Any]()
    for rank in range(world_size):
        stream = make(rank=rank, world_size=world_size)
        read = _read(DataLoader(stream, batch_size=None, num_workers=workers if rank < 2 else 0))
        assert sorted(read) == sorted(_read(stream))
        assert len(read) == len(stream)
        due.update(read)
    whole = _read(make())
    assert due == Counter((whole * world_size)[: due.total()])
    assert due.total() >= len(whole)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_every_rank_and_worker_of_a_mixture_reads_all_datasets_in_proportion(world_size: int, workers: int) -> None:
    make = _mixed([512 * world_size, 512 * world_size], [1.0, 3.0])
    for rank in range(world_size if not workers else 1):
        loader = DataLoader(make(rank=rank, world_size=world_size), batch_size=256, num_workers=workers, collate_fn=_read)
        for batch in loader:  # which one worker read
            assert 0.62 < sum(dataset_idx for dataset_idx, _ in batch) / len(batch) < 0.88


def test_state_of_an_earlier_release_resumes_in_its_division_until_the_epoch_ends() -> None:
    def stream() -> SharedStream:
        return _mixed([8, 8], [1, 1])(rank=1, world_size=2)

    begun = stream()
    list(islice(begun, 3))
    state = begun.state_dict()
    assert state.pop("is_rotated")
    resumed = stream()
    resumed.load_state_dict(state)
    assert [dataset_idx for dataset_idx, _ in _read(resumed)] == [1] * 5  # the ranks had a dataset each
    resumed.set_epoch(1)
    assert len({dataset_idx for dataset_idx, _ in _read(resumed)}) == 2


def test_states_of_workers_of_an_earlier_release_resume_together_if_one_had_read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, rest = _read(_mixed([8, 8], [1, 1])()), list[tuple[int, ...]]()
    for worker, taken in enumerate((3, 0)):
        monkeypatch.setattr(
            torch.utils.data._utils.worker, "_worker_info", SimpleNamespace(id=worker, num_workers=2, seed=worker, dataset=None)
        )
        begun, resumed = (_mixed([8, 8], [1, 1])() for _ in range(2))
        list(islice(iter(begun), taken))
        state = begun.state_dict()
        assert state.pop("is_rotated")
        resumed.load_state_dict(state)
        rest += _read(resumed)
    assert Counter(rest + whole[0:6:2]) == Counter(whole)


@given(make=streams, taken=st.integers(0, 30), epoch=epochs, world_size=st.integers(1, 3), data=st.data())
def test_state_at_any_sample_resumes_with_the_rest_and_then_whole_epochs(
    make: Make, taken: int, epoch: int, world_size: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world_size - 1))
    before, after = (make(rank=rank, world_size=world_size) for _ in range(2))
    before.set_epoch(epoch)
    whole = _read(before)
    reading = iter(before)
    assert _read(islice(reading, taken)) == whole[:taken]
    state = _through_json(before)
    after.load_state_dict(state)
    assert _through_json(after) == state
    assert _read(after) == whole[taken:] == _read(reading)
    assert _read(after) == whole


@given(make=streams, epoch=epochs)
def test_state_at_either_end_of_an_epoch_resumes_with_all_or_no_samples(make: Make, epoch: int) -> None:
    stream, first, last = make(), make(), make()
    stream.set_epoch(epoch)
    first.load_state_dict(_through_json(stream))
    whole = _read(stream)
    last.load_state_dict(_through_json(stream))
    assert (_read(first), _read(first)) == (whole, whole)
    assert (_read(last), _read(last)) == ([], whole)
    last.load_state_dict(_through_json(stream))
    last.set_epoch(epoch + 1)
    stream.set_epoch(epoch + 1)
    assert _read(last) == _read(stream)


@given(make=streams, taken=st.integers(1, 9))
def test_iterations_of_one_stream_are_independent(make: Make, taken: int) -> None:
    stream = make()
    whole = _read(stream)
    one, other = iter(stream), iter(stream)
    read = _read(islice(one, taken))
    stream.set_epoch(1)  # of the iterations to come
    assert _read(other) == whole
    assert read + _read(one) == whole
    stream.set_epoch(0)
    assert _read(stream) == whole


def test_state_of_another_epoch_starts_the_epoch_again_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    stream, other = TWO[1](), TWO[1]()
    next(iter(stream))
    other.load_state_dict(stream.state_dict())
    other.set_epoch(1)
    stream.set_epoch(1)
    with caplog.at_level(logging.WARNING):
        assert _read(other) == _read(stream)
    assert "is from epoch 0 after 1 sample; the rest of that epoch is not read, because the epoch was set to 1" in caplog.text


@pytest.mark.parametrize(
    ("saved", "resumed", "message"),
    [
        (TWO[0], TWO[1], "kind: .* with WeightedConcatIterableDataset, but this stream has StreamLMDataset"),
        (TWO[0], _mixed([10, 8], [1.5, 1.0]), r"samples: .* with \[10, 7\], but this stream has \[10, 8\]"),
        (TWO[0], _mixed([10, 7], [1.5, 1.1]), r"weights: .* with \['3/2', '1'\], but this stream has \['3/2', '11/10'\]"),
        (TWO[0], partial(TWO[0], seed=7), "seed: .* with 42, but this stream has 7"),
        (TWO[1], _windows(21, True), "tokens: .* with 45, but this stream has 43"),
        (TWO[1], _windows(22, False), "shuffle: .* with True, but this stream has False"),
        (TWO[1], partial(TWO[1], seed=7), "seed: .* with 42, but this stream has 7"),
    ],
)
def test_state_of_another_stream_raises_an_error_with_the_difference(saved: Make, resumed: Make, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}; resume with the same value"):
        resumed().load_state_dict(_through_json(saved()))


@pytest.mark.parametrize("junk", [{}, {"epoch": 0}, {"epoch": 0, "taken": 1, "reader": {"rang": 0}, "stream": {}}, {"epoch": None}])
def test_invalid_state_raises(junk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a state of a stream"):
        TWO[0]().load_state_dict(junk)


@pytest.mark.parametrize(("rank", "world_size", "said"), [(1, 2, "rank: .* with 0 .* with 1"), (0, 3, "world_size: .* with 2 .* with 3")])
def test_state_of_another_rank_or_world_raises_when_the_iteration_begins(rank: int, world_size: int, said: str) -> None:
    stream = TWO[0](rank=0, world_size=2)
    next(iter(stream))
    other = TWO[0]()
    other.load_state_dict(stream.state_dict())
    other.set_rank_and_world_size(rank, world_size)
    for _ in range(2):
        with pytest.raises(ValueError, match=said):
            iter(other)
    other.set_rank_and_world_size(0, 2)
    assert _read(other) == _read(stream)[1:]


def test_state_of_a_loader_worker_raises_in_a_process_without_workers() -> None:
    stream = TWO[0]()
    of_worker = list(DataLoader(stream, num_workers=1, collate_fn=lambda _: stream.state_dict()))[2]
    assert (of_worker["taken"], of_worker["reader"]) == (3, {"rank": 0, "world_size": 1, "worker": 0, "workers": 1})
    stream.load_state_dict(of_worker)
    with pytest.raises(ValueError, match="workers: the state was saved with 1 and is resumed with 0; resume with the same value"):
        iter(stream)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")
@pytest.mark.parametrize(("make", "workers", "persistent"), [(TWO[0], 0, False), (TWO[1], 0, False), (TWO[0], 2, False), (TWO[1], 2, True)])
def test_stateful_loader_resumes_from_any_batch_and_continues_with_the_next_epoch(
    make: Make, workers: int, persistent: bool, pytestconfig: pytest.Config
) -> None:
    def loader() -> Any:
        return StatefulDataLoader(make(), batch_size=4, num_workers=workers, persistent_workers=persistent, collate_fn=_read)

    whole = list(loader())
    assert sorted(sample for batch in whole for sample in batch) == sorted(_read(make()))
    tries_all = workers == 0 or pytestconfig.getoption("soak")  # workers are processes: the others are a start and a middle
    for taken in range(len(whole) + 1) if tries_all else (0, 3):
        before, after = loader(), loader()
        assert list(islice(before, taken)) == whole[:taken]
        after.load_state_dict(copy.deepcopy(before.state_dict()))
        assert list(after) == whole[taken:]
        assert list(after) == whole
    finished, after, following = loader(), loader(), loader()
    assert list(finished) == whole
    after.load_state_dict(finished.state_dict())
    assert list(after) == whole
    following.load_state_dict(finished.state_dict())
    for resumed in (finished, following):
        resumed.dataset.set_epoch(1)
    assert list(following) == list(finished)


@pytest.mark.parametrize("make", TWO)
def test_persistent_loader_workers_see_the_next_epoch(make: Make) -> None:
    stream = make()
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True)
    for epoch in (0, 1, 2):
        stream.set_epoch(epoch)
        assert _read(loader) == _read(stream)
    assert _read(loader) != _read(make())


def _in_two_processes(folder: Path, do: Callable[[int], Any]) -> list[Any]:
    """Return the results of a function of the rank, called in each of two gloo processes."""
    torch.multiprocessing.start_processes(_as_one_of_two, (folder, do), nprocs=2, start_method="fork")
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def _as_one_of_two(rank: int, folder: Path, do: Callable[[int], Any]) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(do(rank)), encoding="utf-8")


def _read_in_three_ways(stream: SharedStream, _rank: int) -> list[Any]:
    pickled = pickle.dumps(stream)
    read = [_read(stream), _read(DataLoader(stream, batch_size=None, num_workers=1))]
    torch.distributed.destroy_process_group()
    return [*read, _read(pickle.loads(pickled))]


def test_stream_without_a_rank_uses_that_of_torch_distributed_when_read(tmp_path: Path) -> None:
    stream = TWO[0]()  # made before there are processes
    of_ranks = [[list(place) for place in _read(TWO[0](rank=rank, world_size=2))] for rank in (0, 1)]
    assert _in_two_processes(tmp_path, partial(_read_in_three_ways, stream)) == [[places] * 3 for places in of_ranks]


def _read_by_accelerate(rank: int) -> Any:
    os.environ |= {
        "RANK": f"{rank}",
        "LOCAL_RANK": f"{rank}",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "1",
        "OMP_NUM_THREADS": "1",
    }
    from accelerate import Accelerator

    accelerator, stream = Accelerator(cpu=True), TWO[0]()
    with pytest.raises(ValueError, match=r"both accelerate and this stream would divide .* call set_rank_and_world_size\(0, 1\)"):
        next(iter(stream))
    stream.set_rank_and_world_size(0, 1)
    return [place for batch in accelerator.prepare(DataLoader(stream, batch_size=2)) for place in _read(_samples_of(batch))]


def _samples_of(batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: column[i] for name, column in batch.items()} for i in range(len(batch["idx"]))]


def test_accelerate_divides_a_stream_that_is_read_as_a_whole(tmp_path: Path) -> None:
    one, other = _in_two_processes(tmp_path, _read_by_accelerate)
    assert sorted(map(tuple, [*one, *other])) == sorted(_read(TWO[0]()))
    assert len(one) == len(other)


@pytest.mark.parametrize("make", TWO)
@pytest.mark.parametrize(
    ("told", "refusal"),
    [
        ({"rank": 0}, "only one is given"),
        ({"world_size": 2}, "only one is given"),
        ({"rank": 2, "world_size": 2}, "rank: is 2 with world_size 2"),
        ({"rank": -1, "world_size": 2}, "rank: is -1; use 0 or more"),
    ],
)
def test_rank_outside_the_world_raises(make: Make, told: dict[str, int], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        make(**told)


def test_process_without_torch_distributed_is_the_only_rank() -> None:
    assert shard_of_process() == Shard(rank=0, world_size=1)
    assert Shard.given(1, 3) == Shard(rank=1, world_size=3)
