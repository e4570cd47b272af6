"""Threads that end when they have nothing to do."""

import threading

import pytest

from phyagi_assets.objects.daemon_threads import DaemonThreads


@pytest.mark.parametrize("idle", [0.0, 0.02])
def test_threads_without_calls_end_and_others_take_the_next_ones(idle: float) -> None:
    threads, used = DaemonThreads(4, idle=idle), set[threading.Thread]()

    def square(number: int) -> int:
        used.add(threading.current_thread())
        return number**2

    for _ in range(3):
        assert [threads.submit(square, i).result(10) for i in range(9)] == [i**2 for i in range(9)]
        for thread in used:
            thread.join(10)
            assert not thread.is_alive()
