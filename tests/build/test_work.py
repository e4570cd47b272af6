"""How the processes of a command are shared out."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.build.work import Work, jobs_by_default, shared_out
from phyagi_assets.sources.files import Partition, SourceFile


def of_size(size: int, pieces: int = 1000) -> Work:
    file = SourceFile(name="a", origin="a", size=size, stamp=())
    return Work(corpus="c", partition=Partition(key=str(size), files=(file,)), stages=["tokenized_arrow"], pieces=pieces)


def shares(jobs: int, *sizes: int) -> list[int]:
    return [item.processes for item in shared_out([of_size(size) for size in sizes], jobs)]


def test_the_share_of_the_processes_is_that_of_the_bytes() -> None:
    assert shares(8, 1000) == [8]
    assert shares(8, 1000, 1000) == [4, 4]
    assert shares(8, 1000, 1, 2) == [7, 1, 1]
    assert shares(2, *[1000] * 5) == [1] * 5
    assert shares(8, 0) == [1]  # nothing of it has to be encoded
    assert shares(8) == []


def test_nothing_has_more_than_it_has_pieces() -> None:
    assert [item.processes for item in shared_out([of_size(1000, pieces=3), of_size(1000, pieces=1)], 16)] == [3, 1]


@given(jobs=st.integers(1, 100), sizes=st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_each_has_one_and_together_they_have_not_many_more_than_there_are(jobs: int, sizes: list[int]) -> None:
    found = shares(jobs, *sizes)
    assert min(found) >= 1
    assert sum(found) <= jobs + sum(share == 1 for share in found)
    assert all(larger >= smaller for larger, smaller in zip(sorted(found)[1:], sorted(found)[:-1], strict=True))


@pytest.mark.parametrize(("processors", "jobs"), [(1, 1), (15, 1), (16, 2), (64, 8)])
def test_by_default_there_is_a_process_for_every_eight_processors_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, processors: int, jobs: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: range(processors))
    assert jobs_by_default() == jobs
