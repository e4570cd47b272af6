"""Tasks on a Ray cluster of two nodes: every task is done, even if processes or nodes fail."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets import __version__
from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.execution import ray_cluster, ray_link
from phyagi_assets.execution.executor import OnProgress, TaskCrashed, WorkerDied
from phyagi_assets.execution.node_check import Findings, NeededFolder, NodeCheck
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_cluster import RayExecutor
from phyagi_assets.execution.ray_connection import call_on_node, connected
from phyagi_assets.store.pickling import Pickling
from tests.ray_nodes import RayNodes

logger = logging.getLogger("phyagi_assets.tests")


def counting(folder: Path, item: int, on_progress: OnProgress) -> tuple[int, str]:
    """Record the call and log messages."""
    if item == 13:
        raise SourceError("thirteen is not an item")
    if item == 14:
        raise ZeroDivisionError("fourteen is not an item")
    with (folder / f"began {item}").open("a") as file:
        file.write(f"{os.getpid()} {os.environ['RAYON_NUM_THREADS']}\n")
    if item == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    if item >= 100:
        wait_for((folder / "go on").exists)
    (folder / f"did {item}").touch()
    on_progress(item)
    logger.info("did %d", item)
    return item, os.environ.get("PHYAGI_ASSETS_SCRATCH", "")


def wait_for(is_so: Callable[[], bool]) -> None:
    for _ in range(6_000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("waited for a minute")


def item_name(item: object) -> str:
    return f"item {item}"


def unheard(_task: object, _consumed: int) -> None:
    """Ignore progress."""


def executor_on(cluster: RayAddress, run: Any, **options: Any) -> RayExecutor[Any, Any]:
    options = {"check": NodeCheck(), "folders": lambda _task: (), "name": item_name, "on_start": id, "on_progress": unheard, **options}
    return RayExecutor[Any, Any](cluster=cluster, run=run, pickling=Pickling(Path(), "run"), **options)


def outcomes(executor: RayExecutor[Any, Any], tasks: Iterable[Any]) -> dict[Any, Any]:
    for task in tasks:
        executor.submit(task)
    return dict(executor.results())


@pytest.fixture(scope="module", autouse=True)
def connected_before(nodes: RayNodes) -> Iterator[None]:
    """One connection for all tests, so that their tasks share processes; otherwise, each run starts its own."""
    with connected(nodes.address):
        yield


def test_tasks_on_a_cluster_report_results_progress_logs_and_errors(
    nodes: RayNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "ATTEMPTS", 2)  # each is a process that imports Ray and the package
    told: list[tuple[int, int]] = []
    begun: list[int] = []
    executor = executor_on(
        nodes.address, partial(counting, tmp_path), on_progress=lambda *one: told.append(one), on_start=begun.append, processors=8
    )
    with caplog.at_level(logging.INFO, "phyagi_assets"):
        found = outcomes(executor, [1, 2, 13, 14, 66, 3])
    assert begun == [1, 2, 13, 14, 66, 3]
    assert [found[item][0] for item in (1, 2, 3)] == [1, 2, 3]
    assert isinstance(found[13], SourceError)
    assert isinstance(found[14], TaskCrashed)
    assert "ZeroDivisionError: fourteen is not an item" in str(found[14])
    assert isinstance(found[66], WorkerDied)
    assert str(found[66]) == "died in each of 2 attempts; the last time, a process of the Ray cluster died"
    assert len((tmp_path / "began 66").read_text().splitlines()) == 2
    assert sorted(told) == [(1, 1), (2, 2), (3, 3)]
    assert {"did 1", "did 2", "did 3"} <= set(caplog.messages)
    assert {line.split()[1] for line in (tmp_path / "began 1").read_text().splitlines()} == {"1"}  # thread: the nodes have one processor


def test_tasks_of_a_node_that_is_killed_run_on_another(nodes: RayNodes, tmp_path: Path) -> None:
    node = nodes.add()

    def begun() -> int:
        return sum(len(path.read_text().splitlines()) for path in tmp_path.glob("began *"))

    def kill() -> None:
        wait_for(lambda: begun() >= 3)  # each node has one processor
        nodes.kill(node)
        (tmp_path / "go on").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    found = outcomes(executor_on(nodes.address, partial(counting, tmp_path)), range(100, 108))
    killer.join()
    assert sorted(item for item, _ in found.values()) == list(range(100, 108))
    assert begun() == 9  # only the one of the node is done again


def losing(folder: Path, item: int, _on_progress: OnProgress) -> str:
    """Fail on the first node that runs a task."""
    node = os.environ["PHYAGI_ASSETS_SCRATCH"]
    with suppress(FileExistsError):
        (folder / "lost").symlink_to(node)
    if str((folder / "lost").readlink()) == node:
        raise SourceError(f"item {item}: the store cannot be reached")
    return node


@dataclass(frozen=True, kw_only=True, slots=True)
class LostFolder(NodeCheck):
    folder: Path
    everywhere: bool = False

    def findings(self) -> Findings:
        with (self.folder / "checks").open("a") as file:
            file.write(f"{os.getpid()}\n")
        node = os.environ.get("PHYAGI_ASSETS_SCRATCH", "")
        is_lost = os.path.lexists(self.folder / "lost") and (self.everywhere or str((self.folder / "lost").readlink()) == node)
        return Findings(problem="cannot use the store" if is_lost else "")


def test_tasks_of_a_node_that_no_longer_passes_the_check_are_run_on_others(
    nodes: RayNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "phyagi_assets")
    found = outcomes(executor_on(nodes.address, partial(losing, tmp_path), check=LostFolder(folder=tmp_path)), range(8))
    assert set(found.values()) <= {str(nodes.scratch / f"node{number}") for number in range(1, nodes.added + 1)}
    (message,) = caplog.messages
    assert message.endswith(" cannot use the store; its tasks are run on other nodes")


def losing_everywhere(folder: Path, item: int, _on_progress: OnProgress) -> str:
    (folder / "lost").touch()
    raise SourceError(f"item {item}: the store cannot be reached")


def test_tasks_that_would_fail_on_any_node_are_not_retried_and_the_driver_checks_once(nodes: RayNodes, tmp_path: Path) -> None:
    check = LostFolder(folder=tmp_path, everywhere=True)
    found = outcomes(executor_on(nodes.address, partial(losing_everywhere, tmp_path), check=check), range(4))
    assert [str(found[item]) for item in range(4)] == [f"item {item}: the store cannot be reached" for item in range(4)]
    assert (tmp_path / "checks").read_text().split().count(f"{os.getpid()}") == 1  # a check of a server that is down takes half a minute


@dataclass(frozen=True, kw_only=True, slots=True)
class OutageThatEnds(NodeCheck):
    """Check that fails after a task has failed, until the driver has checked."""

    folder: Path
    driver: int = field(default_factory=os.getpid)

    def findings(self) -> Findings:
        if os.getpid() == self.driver:
            (self.folder / "ended").touch()
        is_out = (self.folder / "failed").exists() and not (self.folder / "ended").exists()
        return Findings(problem="cannot use the store" if is_out else "")


def failing_once(folder: Path, item: int, _on_progress: OnProgress) -> str:
    with suppress(FileExistsError):
        (folder / "failed").touch(exist_ok=False)
        raise SourceError(f"item {item}: the store cannot be reached")
    return "done"


def test_node_is_not_avoided_after_an_outage_that_ends_between_its_check_and_that_of_the_driver(
    nodes: RayNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "phyagi_assets")
    found = outcomes(executor_on(nodes.address, partial(failing_once, tmp_path), check=OutageThatEnds(folder=tmp_path), size=1), range(2))
    assert found == {0: "done", 1: "done"}
    assert caplog.messages == []


def test_closing_interrupts_the_tasks_and_number_in_flight_is_bounded(nodes: RayNodes, tmp_path: Path) -> None:
    begun: list[int] = []
    executor = executor_on(nodes.address, partial(counting, tmp_path), on_start=begun.append, size=1)
    for item in (1, *range(100, 120)):
        executor.submit(item)
    results = executor.results()
    assert next(results)[1][0] == 1
    wait_for((tmp_path / "began 100").exists)
    results.close()
    assert begun == [1, 100]
    (tmp_path / "go on").touch()
    assert not (tmp_path / "did 100").exists()


def test_cluster_that_others_have_filled_is_reported(
    nodes: RayNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(ray_cluster, "_IDLE", 0.0)
    caplog.set_level(logging.INFO, "phyagi_assets")
    free = tmp_path / "go on"

    @ray.remote
    def hold() -> None:
        while not free.exists():
            time.sleep(0.05)

    others = [hold.remote() for _ in range(2)]

    def go_on() -> None:
        wait_for(lambda: any("are in use" in message for message in caplog.messages))
        free.touch()

    waiter = threading.Thread(target=go_on)
    waiter.start()
    found = outcomes(executor_on(nodes.address, partial(counting, tmp_path)), [1])
    waiter.join()
    assert found[1][0] == 1
    ray.get(others)
    assert "all 2 processors of the Ray cluster are in use, by tasks of this run or by other programs" in caplog.text


def test_node_without_a_required_package_is_reported_with_a_remedy() -> None:
    node, found = call_on_node()(__version__, b"cno_such_package\nfunction\n.")
    assert len(node) == 56
    assert found == (
        f"cannot run tasks: No module named 'no_such_package'; install phyagi-assets {__version__} on all nodes, in the environment that "
        "Ray runs in"
    )


def test_lost_connection_of_ray_client_is_reported_and_starts_no_cluster(
    nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    cancelled: list[Any] = []

    def lose(_run: object) -> None:
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "cancel", lambda reference, **_: cancelled.append(reference))
        raise ConnectionError("Client is shutting down.")

    monkeypatch.setattr(ray_cluster._Run, "_ended", lose)
    executor = executor_on(nodes.address, partial(counting, tmp_path))
    executor.submit(1)
    with pytest.raises(PhyagiAssetsError, match=r"--executor: the connection to the Ray cluster .* was lost; run the command again"):
        next(executor.results())
    assert cancelled == []


def test_death_of_the_node_of_the_driver_is_reported(nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = server.getsockname()
        monkeypatch.setattr(ray_link, "own_node", lambda: node)
        monkeypatch.setattr(ray_cluster, "_REFRESHED", 0.2)
        executor = executor_on(nodes.address, partial(counting, tmp_path))
        executor.submit(1)
        executor.submit(100)
        results = executor.results()
        assert next(results)[1][0] == 1
    with pytest.raises(
        PhyagiAssetsError, match=r"--executor: the Ray node at 127\.0\.0\.1, through which this .* has died; run the command again"
    ):
        next(results)
    (tmp_path / "go on").touch()
    assert not (tmp_path / "did 100").exists()


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Interrupts are exceptions, even in a process that was started in the background and ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_interrupt_is_raised_as_it_is_and_ends_the_tasks(nodes: RayNodes, tmp_path: Path) -> None:
    def interrupt() -> None:
        wait_for((tmp_path / "began 100").exists)
        os.kill(os.getpid(), signal.SIGINT)

    executor = executor_on(nodes.address, partial(counting, tmp_path))
    killer = threading.Thread(target=interrupt)
    killer.start()
    with pytest.raises(KeyboardInterrupt):
        outcomes(executor, [100])
    killer.join()
    (tmp_path / "go on").touch()
    assert not (tmp_path / "did 100").exists()


def test_tasks_are_run_on_the_nodes_that_see_their_folders_at_the_same_time(
    nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones, twos, both = (NeededFolder(what=name, path=tmp_path / name, by_all=False) for name in ("ones", "twos", "both"))
    for folder in (ones, twos, both):
        folder.path.mkdir()
    first, second = nodes.cluster.worker_nodes
    found_there = {first.node_id: Findings(unseen=frozenset({twos})), second.node_id: Findings(unseen=frozenset({ones}))}
    monkeypatch.setattr(ray_cluster, "check_nodes", lambda _check: found_there)
    needed = {1: {ones.path}, 2: {twos.path}, 3: {both.path}, 4: {ones.path, twos.path}, 10: {ones.path}, 20: {twos.path}}
    check = NodeCheck(folders=(ones, twos, both))
    executor = executor_on(nodes.address, partial(counting, tmp_path), check=check, folders=lambda task: needed[task // 10])

    def go_on() -> None:
        wait_for(lambda: all((tmp_path / f"began {task}").exists() for task in (100, 200)))
        (tmp_path / "go on").touch()

    waiter = threading.Thread(target=go_on)
    waiter.start()
    found = outcomes(executor, [100, 10, 200, 20, 30, 40, 11, 21])
    waiter.join()
    assert str(found[40]).startswith("no node of the Ray cluster sees all folders that it needs; mount them at the same path")
    assert [found[task][0] for task in (10, 11, 20, 21, 30, 100, 200)] == [10, 11, 20, 21, 30, 100, 200]
    scratch_of_ones, scratch_of_twos = ({found[task][1] for task in tasks} for tasks in ((10, 11, 100), (20, 21, 200)))
    assert (len(scratch_of_ones), len(scratch_of_twos), len(scratch_of_ones | scratch_of_twos)) == (1, 1, 2)


def test_tasks_fail_alone_if_all_nodes_that_see_their_folder_lose_it(
    nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ones, twos = (NeededFolder(what=name, path=tmp_path / name, by_all=False) for name in ("ones", "twos"))
    twos.path.mkdir()  # and not the other: the first process that is to run one of its tasks does not see it
    first, second = nodes.cluster.worker_nodes
    found_there = {first.node_id: Findings(unseen=frozenset({twos})), second.node_id: Findings(unseen=frozenset({ones}))}
    monkeypatch.setattr(ray_cluster, "check_nodes", lambda _check: found_there)
    folders = {1: {ones.path}, 2: {twos.path}}
    executor = executor_on(
        nodes.address, partial(counting, tmp_path), check=NodeCheck(folders=(ones, twos)), folders=lambda task: folders[task // 10]
    )
    found = outcomes(executor, [10, 11, 12, 15, 20, 21])
    assert [found[task][0] for task in (20, 21)] == [20, 21]
    for task in (10, 11, 12, 15):
        assert f"({first.node_id[:8]}) does not see the folder {ones.path} (ones) as this machine does" in str(found[task])


OTHER_VERSION = """
import sys, types
sys.modules["phyagi_assets"] = other = types.ModuleType("other")
other.__version__ = "0.0"
"""
OTHER_PACKAGE = """
import importlib.metadata
of = importlib.metadata.version
importlib.metadata.version = lambda name: "7.0" if name == "pyarrow" else of(name)
"""


def starting_with(folder: Path, code: str) -> str:
    """Return a `PYTHONPATH` of processes that run code when they start."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return str(folder)


@pytest.fixture(scope="module")
def other_version(nodes: RayNodes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A third node with another version of the package. Tests that use it come last."""
    node = nodes.add(PYTHONPATH=starting_with(tmp_path_factory.mktemp("nodes") / "version", OTHER_VERSION))
    yield node
    nodes.kill(node)


def test_nodes_without_a_folder_or_with_another_version_of_the_package_are_named(
    nodes: RayNodes, other_version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("/proc/self/cwd")  # another folder in each process
    executor = executor_on(nodes.address, counting, check=NodeCheck(folders=(NeededFolder(what="the store", path=own),)))
    with pytest.raises(PhyagiAssetsError) as raised:
        outcomes(executor, [1])
    lines = str(raised.value).splitlines()
    assert all(line.startswith("node ") for line in lines)
    unseen = "does not see the folder /proc/self/cwd (the store) as this machine does; mount it at the same path on all nodes"
    assert len([line for line in lines if unseen in line]) == 2
    version = f"({other_version.node_id[:8]}) has phyagi-assets 0.0, and this command {__version__}; install phyagi-assets {__version__} "
    assert [f"{version}on all nodes" in line for line in lines if unseen not in line] == [True]
    assert not list(tmp_path.iterdir())


def test_tasks_that_need_a_folder_that_no_node_sees_fail_alone(
    nodes: RayNodes, other_version: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("/proc/self/cwd")  # another folder in each process
    check = NodeCheck(folders=(NeededFolder(what="the store", path=tmp_path), NeededFolder(what="plays", path=own, by_all=False)))
    executor = executor_on(nodes.address, partial(counting, tmp_path), check=check, folders=lambda task: {own} if task < 3 else {tmp_path})
    found = outcomes(executor, [1, 3, 2, 4])
    reason = (
        "no node of the Ray cluster sees the folder /proc/self/cwd (plays) as this machine does; mount it at the same path on all nodes"
    )
    assert [str(found[task]).startswith(reason) for task in (1, 2)] == [True, True]
    assert [found[task][0] for task in (3, 4)] == [3, 4]
    avoided = [
        message for message in caplog.messages if "has phyagi-assets 0.0" in message
    ]  # on a busy machine, tasks that wait are logged too
    assert [f"({other_version.node_id[:8]})" in message for message in avoided] == [True]


def test_node_that_cannot_run_tasks_is_named_once_and_avoided_even_if_it_joins_later(
    nodes: RayNodes, other_version: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "phyagi_assets")
    executor = executor_on(nodes.address, partial(counting, tmp_path))
    for item in (1, *range(100, 106)):
        executor.submit(item)

    def go_on() -> None:
        with suppress(AssertionError):
            wait_for(lambda: len(caplog.messages) == 2)
        (tmp_path / "go on").touch()

    results = executor.results()
    assert next(results)[1][0] == 1
    other_package = nodes.add(PYTHONPATH=starting_with(tmp_path / "package", OTHER_PACKAGE))
    try:
        waiter = threading.Thread(target=go_on)
        waiter.start()
        found = dict(results)
        waiter.join()
    finally:
        nodes.kill(other_package)
    assert sorted(item for item, _ in found.values()) == list(range(100, 106))
    version, package = caplog.messages
    assert f"({other_version.node_id[:8]}) has phyagi-assets 0.0, and this command {__version__}; install phyagi-assets" in version
    assert f"({other_package.node_id[:8]}) has pyarrow 7.0, and this machine " in package
    assert all(message.endswith("; its tasks are run on other nodes") for message in caplog.messages)
