"""Parallel processes: every task is done once, even if processes die."""

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from threading import Barrier, Event, Lock, Thread, Timer
from typing import Any

import pytest

from phyagi_assets.errors import DeclarationError, MissingArtifactsError, OutOfMemoryError, PhyagiAssetsError, SourceError
from phyagi_assets.execution.executor import Executor, InProcessExecutor, OnProgress, TaskCrashed, WorkerDied, outcome_of
from phyagi_assets.execution.process_pool import ProcessPool
from phyagi_assets.execution.thread_pool import ThreadPool
from phyagi_assets.tokenizers.engines import translate_panics

logger = logging.getLogger("phyagi_assets.tests")


def counting(folder: Path, item: int, on_progress: OnProgress) -> tuple[int, str]:
    """Record the call and log messages."""
    (folder / f"came {os.getpid()}").touch()
    if item == 13:
        raise SourceError("thirteen is not an item")
    if item == 14:
        raise ZeroDivisionError("fourteen is not an item")
    if item == 15:
        bytearray(1 << 60)  # more than any process may have
    if item == 65:
        wait_for((folder / "nobody reads").exists)
        Thread(target=die_while_sending).start()
        (folder / "sending").write_text(str(os.getpid()))
        return 65, "x" * 50_000_000
    if item == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 67:
        os._exit(3)
    on_progress(item)
    logger.info("did %d", item)
    (folder / f"did {item}").touch(exist_ok=False)
    return item, os.environ["RAYON_NUM_THREADS"]


def die_while_sending() -> None:
    """Kill this process while it waits for a reader of its result, which the pipe cannot hold."""
    time.sleep(0.5)  # killed before it sends anything, it has died all the same
    os.kill(os.getpid(), signal.SIGKILL)


def item_name(item: object) -> str:
    return f"item {item}"


def unheard(_task: object, _consumed: int) -> None:
    """Ignore progress."""


def pool_of(run: Any, size: int = 2, **options: Any) -> ProcessPool[Any, Any]:
    options = {"threads": 3, "name": item_name, "on_start": id, "on_progress": unheard, **options}
    return ProcessPool[Any, Any](run=run, size=size, **options)


def results(executor: Executor[Any, Any], tasks: Iterable[Any]) -> Generator[tuple[Any, Any], None, None]:
    for task in tasks:
        executor.submit(task)
    return executor.results()


def done(folder: Path, *items: int, size: int = 2, on_progress: OnProgress = id) -> dict[int, Any]:
    pool = pool_of(partial(counting, folder), size, on_progress=lambda _task, consumed: on_progress(consumed))
    found = dict(results(pool, items))
    assert multiprocessing.active_children() == []
    return found


def test_process_out_of_memory_reports_it_and_continues(tmp_path: Path) -> None:
    found = done(tmp_path, 1, 15, 2)
    assert isinstance(found[15], OutOfMemoryError)
    assert str(found[15]).startswith("item 15: needs more memory than this process may use")
    assert (found[1], found[2]) == ((1, "3"), (2, "3"))


def test_everything_is_done_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    progress: list[int] = []
    with caplog.at_level(logging.INFO, "phyagi_assets"):
        found = done(tmp_path, *range(1, 12), on_progress=progress.append)
    assert found == {item: (item, "3") for item in range(1, 12)}
    assert sorted(progress) == list(range(1, 12))
    assert sorted(caplog.messages) == sorted(f"did {item}" for item in range(1, 12))
    assert len(list(tmp_path.glob("came *"))) == 2


def test_pool_without_tasks_finishes(tmp_path: Path) -> None:
    assert done(tmp_path) == {}


def test_error_is_the_result_of_its_task_and_others_finish(tmp_path: Path) -> None:
    found = done(tmp_path, 1, 13, 2, 3)
    assert isinstance(found[13], SourceError)
    assert str(found[13]) == "thirteen is not an item"
    assert {item for item, result in found.items() if isinstance(result, tuple)} == {1, 2, 3}


def test_dead_process_is_replaced(tmp_path: Path) -> None:
    found = done(tmp_path, 66, 1, 67, 2, size=1)
    assert [type(result) for result in found.values()] == [WorkerDied, tuple, WorkerDied, tuple]
    assert str(found[66]).startswith("was killed by SIGKILL, as the system does when memory runs out")
    assert str(found[67]) == "ended with 3"


@pytest.mark.skipif(sys.platform != "linux", reason="only there, another process starts the workers")
def test_worker_is_started_again_if_the_process_that_starts_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = forkserver.ForkServer()  # test processes share theirs
    monkeypatch.setattr(forkserver, "connect_to_new_process", own.connect_to_new_process)
    read, kills = forkserver.read_signed, [True, True]

    def killed(sentinel: int) -> Any:
        if kills and kills.pop():
            os.kill(vars(own)["_forkserver_pid"], signal.SIGKILL)
            raise EOFError("unexpected EOF")
        return read(sentinel)

    monkeypatch.setattr(forkserver, "read_signed", killed)
    assert set(done(tmp_path, *range(4))) == set(range(4))
    assert kills == []
    monkeypatch.setattr(forkserver, "read_signed", lambda _sentinel: kills.append(True) or killed(0))
    with pytest.raises(PhyagiAssetsError, match=r"no process for the tasks can be started: .* use fewer processes"):
        done(tmp_path, 1)


def test_worker_killed_while_sending_its_result_has_died(tmp_path: Path) -> None:
    def on_start(task: int) -> None:
        if task == 3:
            (tmp_path / "nobody reads").touch()
            wait_for((tmp_path / "sending").exists)
            wait_for(lambda: (said := (tmp_path / "sending").read_text()) != "" and not running(int(said)))

    found = dict(results(pool_of(partial(counting, tmp_path), on_start=on_start), (65, 1, 2, 3)))
    assert {item: type(result) for item, result in found.items()} == {1: tuple, 2: tuple, 3: tuple, 65: WorkerDied}


def test_fault_has_its_traceback_and_others_finish(tmp_path: Path) -> None:
    found = done(tmp_path, 14, 1, 2, size=1)
    assert isinstance(found[14], TaskCrashed)
    assert "test_process_pool.py" in str(found[14])
    assert "ZeroDivisionError: fourteen is not an item" in str(found[14])
    assert (found[1], found[2]) == ((1, "3"), (2, "3"))


class Unreceived:
    """A task that a process cannot receive."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, (SourceError("there is nothing to begin with"), id)


def test_task_that_a_process_cannot_receive_is_reported() -> None:
    found = dict(results(pool_of(refuse), [Unreceived(), Unreceived(), Unreceived()]))
    assert [str(problem) for problem in found.values()] == ["there is nothing to begin with"] * 3
    assert multiprocessing.active_children() == []


def test_closing_early_terminates_workers(tmp_path: Path) -> None:
    doing = results(pool_of(partial(counting, tmp_path)), range(20, 60))
    next(doing)
    doing.close()
    assert multiprocessing.active_children() == []


def slow(folder: Path, _item: int, on_progress: OnProgress) -> None:
    (folder / f"{os.getpid()}.came").touch()
    try:
        while True:
            time.sleep(0.1)
            on_progress(1)
    finally:
        (folder / f"{os.getpid()}.went").touch()


def work_slowly(folder: Path) -> None:
    for _ in results(pool_of(partial(slow, folder)), range(1000)):
        pass


def test_worker_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = f"from pathlib import Path; from tests.execution.test_process_pool import work_slowly; work_slowly(Path({str(tmp_path)!r}))"
    with subprocess.Popen([sys.executable, "-c", f"if __name__ == '__main__': {script}"]) as command:
        wait_for(lambda: len(list(tmp_path.glob("*.came"))) == 2)
        command.kill()
    wait_for(lambda: len(list(tmp_path.glob("*.went"))) == 2)
    for came in tmp_path.glob("*.came"):
        wait_for(lambda process=int(came.stem): not running(process))


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def refuse(error: PhyagiAssetsError, _on_progress: OnProgress) -> None:
    raise error


def test_errors_arrive_with_their_type_message_and_attributes() -> None:
    errors = [
        DeclarationError(Path("a.yaml"), "is wrong", line=3, key="splits"),
        MissingArtifactsError("c/numpy_cache/all", ["c/tokenized_arrow/all"]),
    ]
    found = [result for _, result in results(pool_of(refuse, 1), errors)]
    assert [(type(error), str(error), vars(error)) for error in found] == [(type(error), str(error), vars(error)) for error in errors]


def test_error_raised_while_an_interrupt_is_handled_is_the_interrupt() -> None:
    def work() -> None:
        try:
            raise KeyboardInterrupt
        finally:  # as `threading.Thread.start` does if a second interrupt follows
            Lock().release()

    with pytest.raises(KeyboardInterrupt):
        outcome_of("work", work)


def test_error_raised_while_a_panic_of_an_engine_is_handled_is_an_outcome() -> None:
    def work() -> None:
        with translate_panics():
            raise type("PanicException", (BaseException,), {})("index out of bounds")

    assert "the engine panicked: index out of bounds" in str(outcome_of("work", work))


def test_timeout_of_asyncio_is_an_outcome() -> None:
    def work() -> None:
        asyncio.run(asyncio.wait_for(asyncio.sleep(1), timeout=0.001))

    assert isinstance(outcome_of("work", work), TimeoutError)


def in_process(run: Any, **options: Any) -> InProcessExecutor[Any, Any]:
    return InProcessExecutor(run=run, **{"name": item_name, "on_start": id, "on_progress": unheard, **options})


def in_threads(run: Any, **options: Any) -> ThreadPool[Any, Any]:
    options = {"name": item_name, "on_start": id, "on_progress": unheard, "threads": 2, "weight": abs, "most": 1000, **options}
    return ThreadPool(run=run, **options)


@pytest.mark.parametrize("executor_of", [in_process, in_threads, pool_of])
def test_tasks_submitted_meanwhile_are_run_and_dropped_ones_are_not(executor_of: Callable[..., Executor[Any, Any]]) -> None:
    executor = executor_of(size_of)
    ended = []
    for task, _ in results(executor, range(1, 31)):
        ended.append(task)
        if len(ended) == 1:
            assert executor.drop(lambda waiting: waiting > 20) == 10
            executor.submit(101)
            executor.submit(100, first=True)
    assert sorted(ended) == [*range(1, 21), 100, 101]
    assert ended.index(100) < ended.index(20) < ended.index(101) or executor_of is not in_process


def size_of(item: int, _on_progress: OnProgress) -> int:
    return abs(item)


@pytest.mark.parametrize("executor_of", [in_process, in_threads])
def test_error_of_a_task_in_this_process_is_its_outcome_and_the_others_are_run(
    executor_of: Callable[..., Executor[Any, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    progress: list[tuple[int, int]] = []
    executor = executor_of(partial(counting, tmp_path), on_progress=lambda task, consumed: progress.append((task, consumed)))
    found = dict(results(executor, [1, 13, 14, 15, 2]))
    types = {1: tuple, 13: SourceError, 14: TaskCrashed, 15: OutOfMemoryError, 2: tuple}
    assert {item: type(outcome) for item, outcome in found.items()} == types
    assert sorted(progress) == [(1, 1), (2, 2)]


def test_threads_run_small_tasks_at_the_same_time_and_a_large_one_alone() -> None:
    running, seen, together = list[int](), dict[int, list[int]](), Barrier(3)

    def run(item: int, _on_progress: OnProgress) -> int:
        running.append(item)
        if item < 10:
            together.wait(30)
        seen[item] = sorted(running)
        if item < 10:
            together.wait(30)
        running.remove(item)
        return item

    found = dict(results(in_threads(run, threads=3, most=10), [1, 2, 3, 11, 12]))
    assert found == {item: item for item in (1, 2, 3, 11, 12)}
    assert seen == {1: [1, 2, 3], 2: [1, 2, 3], 3: [1, 2, 3], 11: [11], 12: [12]}


def test_interrupted_threads_finish_their_tasks_and_start_no_others() -> None:
    begun, goes_on = Barrier(3), Event()
    ended = list[int]()

    def run(item: int, _on_progress: OnProgress) -> int:
        if item:
            begun.wait(30)
            goes_on.wait(30)
        ended.append(item)
        return item

    running = results(in_threads(run, threads=3), [0, 1, 2, 3, 4])
    assert next(running) == (0, 0)
    Timer(0.1, goes_on.set).start()
    begun.wait(30)
    running.close()
    assert sorted(ended) == [0, 1, 2]


def test_exit_in_a_thread_ends_the_consumer() -> None:
    with pytest.raises(SystemExit):
        list(results(in_threads(lambda _item, _on_progress: sys.exit(3)), [1]))
