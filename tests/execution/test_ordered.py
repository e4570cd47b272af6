"""Threads change when results are computed, not which ones or their order."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.execution import ordered
from phyagi_assets.execution.ordered import map_in_order


@given(items=st.lists(st.integers(0, 3), max_size=30), threads=st.integers(1, 4))
def test_results_come_in_the_order_of_the_items(items: list[int], threads: int) -> None:
    def work(item: int) -> int:
        time.sleep(item / 10_000)
        return 2 * item

    assert list(map_in_order(work, iter(items), threads=threads)) == [2 * item for item in items]


def test_exception_of_the_work_comes_after_the_results_before_it() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("third")
        return item

    results = map_in_order(work, iter(range(10)), threads=3)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="third"):
        next(results)


def test_exception_of_the_source_comes_after_all_results() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("the disk")

    results = map_in_order(abs, failing(), threads=3)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(OSError, match="the disk"):
        next(results)


def test_consumer_that_stops_closes_the_source_and_leaves_no_thread() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    results = map_in_order(abs, endless(), threads=3)
    assert next(results) == 1
    results.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ordered")]


def test_consumer_that_stops_does_not_wait_for_work_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordered, "_TO_END", 0.01)
    closed, begun, to_end, ended = (threading.Event() for _ in range(4))

    def source() -> Iterator[int]:
        try:
            yield from range(10)
        finally:
            closed.set()

    def work(item: int) -> int:
        if item:
            begun.set()
            to_end.wait(30)
            ended.set()
        return item

    results = map_in_order(work, source(), threads=1)
    assert next(results) == 0
    assert begun.wait(10)
    results.close()
    assert closed.is_set()
    assert not ended.is_set()
    to_end.set()
    assert ended.wait(10)


def test_forked_process_gets_an_error_instead_of_waiting_for_threads_that_it_lacks() -> None:
    results = map_in_order(abs, iter(range(10)), threads=2)
    assert next(results) == 0
    child = os.fork()
    if not child:
        try:
            next(results)
        except RuntimeError as problem:
            os._exit(0 if "begin an iteration in each process" in str(problem) else 1)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(results) == list(range(1, 10))


def test_all_threads_work_at_once() -> None:
    meeting = threading.Barrier(3, timeout=30)

    def work(item: int) -> int:
        meeting.wait()
        return item

    assert list(map_in_order(work, iter(range(6)), threads=3)) == list(range(6))


def test_items_in_flight_are_bounded_by_number_and_by_size() -> None:
    taken: list[int] = []

    def counted() -> Iterator[int]:
        for size in (10, 10, 100, 10, 10, 10, 10, 10, 10):
            taken.append(size)
            yield size

    consumed = 0
    for _ in map_in_order(abs, counted(), threads=2, size=lambda item: item, ahead=100):
        time.sleep(0.01)
        assert len(taken) - consumed <= 4
        assert sum(taken[consumed:-1]) < 100
        consumed += 1
    assert consumed == 9


def test_program_that_ends_while_a_thread_works_prints_nothing() -> None:
    program = """
import threading
from contextlib import closing
from phyagi_assets.execution import ordered
from phyagi_assets.execution.ordered import map_in_order

def items():
    yield 1
    threading.Event().wait(60)

def results():
    with closing(map_in_order(str, items(), threads=1)) as found:
        yield from found

threading.kept = results()  # until the very end of the program
print(next(threading.kept))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
