"""The arithmetic of positions, epochs, ranks and loader workers."""

import pickle
from functools import partial
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from phyagi_assets.datasets import MixtureLoader, MixtureStream
from phyagi_assets.datasets.cursor import Cursor
from phyagi_assets.reading.numbers import checked_index
from phyagi_assets.reading.steps import Reader, Shard
from tests.datasets.mixtures import mixture_of
from tests.datasets.processes import in_processes


@given(steps=st.integers(0, 9), run=st.integers(1, 4), world_size=st.integers(1, 4), workers=st.integers(0, 3))
def test_readers_together_read_every_position_of_the_steps_once(steps: int, run: int, world_size: int, workers: int) -> None:
    readers = [
        Reader(rank=rank, world_size=world_size, worker=worker, workers=workers)
        for rank in range(world_size)
        for worker in range(max(workers, 1))
    ]
    read = [reader.positions(reader.turns(steps), run) for reader in readers]
    assert sorted(np.concatenate(read).tolist()) == list(range(steps * run * world_size))


@given(positions=st.integers(-9, 99), run=st.integers(1, 4), world_size=st.integers(1, 4))
def test_steps_that_cover_some_positions_are_as_few_as_possible(positions: int, run: int, world_size: int) -> None:
    shard = Shard(rank=0, world_size=world_size)
    covered = shard.covered(positions, run)
    assert covered % shard.step(run) == 0
    assert 0 <= covered - max(0, positions) < shard.step(run)


@pytest.mark.parametrize(("index", "expected"), [(0, 0), (2, 2), (-1, 2), (-3, 0), (np.int64(1), 1)])
def test_negative_index_counts_from_the_end(index: int, expected: int) -> None:
    assert checked_index(index, 3, "sample") == expected


@pytest.mark.parametrize(("index", "length"), [(3, 3), (-4, 3), (0, 0)])
def test_index_out_of_range_raises(index: int, length: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside a dataset of {length} samples"):
        checked_index(index, length, "sample")


def test_cursor_copies_see_changes_of_the_training_process() -> None:
    cursor = Cursor(position=1, given=0)
    copy = pickle.loads(ForkingPickler.dumps(cursor))
    cursor.setter("position", "given")(5, 2)
    cursor.move(given=3)
    assert (copy["position"], cursor["given"], copy.moves) == (5, 3, 1)


def _two_epochs(loader: MixtureLoader, _rank: int) -> list[list[int]]:
    return [[position for batch in loader for position in batch["position"].tolist()] for _ in range(2)]


@pytest.mark.parametrize("workers", [0, 1])
def test_training_processes_that_are_forked_with_a_loader_each_keep_their_own_position(tmp_path: Path, workers: int) -> None:
    loader = MixtureLoader(mixture_of(tmp_path / "mixture").train, batch_size=4, num_workers=workers)
    first, second = in_processes(tmp_path, 2, partial(_two_epochs, loader))
    assert [sorted(one + other) for one, other in zip(first, second, strict=True)] == [list(range(48)), list(range(48, 88))]
    assert loader.position == 0


def _second_epoch(loader: DataLoader, stream: MixtureStream, _rank: int) -> list[int]:
    next(iter(loader))
    stream.set_epoch(1)
    return [position for batch in loader for position in batch["position"].tolist()]


def test_loader_workers_share_the_position_of_their_training_process_and_not_of_its_parent(tmp_path: Path) -> None:
    stream = MixtureStream(mixture_of(tmp_path / "mixture").train, batch_size=4, rank=0, world_size=1)
    loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    assert in_processes(tmp_path, 1, partial(_second_epoch, loader, stream)) == [list(range(44, 84))]
    assert stream.position == 0
