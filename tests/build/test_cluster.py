"""Partitions built on a Ray cluster: the same bytes as on one machine, on a disk and in a bucket, even if nodes fail."""

import multiprocessing
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.build import on_nodes
from phyagi_assets.build.executors import new_executor
from phyagi_assets.build.on_nodes import folders_of_task, needed_folders, node_check, run_on_node
from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.partitions import build_partitions
from phyagi_assets.build.tasks import Builder, PartitionTask, Task, TaskResult
from phyagi_assets.build.work import Work, work_of
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals
from phyagi_assets.errors import PhyagiAssetsError, SourceError, StoreError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.sources.files import Partition, SourceFile
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.bucket_store import BucketStore
from phyagi_assets.store.copying import copy_versions, version_copies
from phyagi_assets.store.disk import stamp_of
from phyagi_assets.store.exchange import UNFINISHED
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.pickling import Pickling
from phyagi_assets.store.scratch import SCRATCH_VARIABLE
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN
from phyagi_assets.tokenizers.prepare import tokenizer_store
from tests.bucket_stores import store_in_bucket
from tests.project import Project
from tests.ray_nodes import RayNodes
from tests.s3 import SECRET, S3Server
from tests.support import copy_store, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import give_report, store_contents

BYTES = "tokenizers/bytes"
KILLS = 17
ATTEMPTS = 10
SPAWN = multiprocessing.get_context("spawn")
TEXTS = [f"document {i}: " + "words and more of them " * (i % 7) if i % 11 else "" for i in range(300)]


@pytest.fixture
def sources(data: Path, s3: S3Server, prepared_store: Path) -> Path:
    """A data folder with two corpora in a bucket, one of them copied, one on this disk, a mixture of all, and their prepared tokenizer."""
    rows = write_jsonl(data.parent / "rows.jsonl", TEXTS)
    s3.put("source/rows.jsonl", rows)
    write_text(data / "raw" / "one.txt", "Word for word.\n" * 600)
    write_text(data / "raw" / "two.txt", "Two words.\n")
    save_byte_tokenizer(data / BYTES)
    keys: dict[str, Any] = {"tokenizer": BYTES, "splits": {"validation": 0.2}}
    remote = declare_corpus(data, "remote", "s3://raw/source/*.jsonl", snapshot=True, **keys)
    declare_corpus(data, "placed", "s3://raw/source/*.jsonl", **keys)
    declare_corpus(data, "local", "raw/*.txt", tokenizer=BYTES, partition_by="file", source={"sample_by": "line"})
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": name, "weight": 1} for name in ("remote", "placed", "local")])
    give_report(remote, GIGATOKEN.name, data, LocalStore(data / "prepared"), LocalStore(prepared_store))
    return data


def on(store: Store, sources: Path) -> Workspace:
    """Return a workspace with chunks of 4 KB, and a store in which the tokenizer is prepared."""
    if isinstance(store, LocalStore):
        copy_store(sources / "prepared", store.root)
    else:
        for version in tokenizer_store(LocalStore(sources / "prepared")).versions():
            tokenizer_store(store).put(version)
    return Workspace(data=sources, store=store, chunk_bytes=4096)


def build_all(
    workspace: Workspace, processes: int | None = None, cluster: RayAddress | None = None, on_progress: Callable[[int], None] = id
) -> list[PartitionResult]:
    """Build all corpora, and the mixture if no partition failed."""
    catalog = load_catalog(workspace.data)
    steps = [step.name for step in FLOW.in_scope(Scope.PARTITION)]
    listed = {name: workspace.sources.partitions(corpus) for name, corpus in catalog.corpora.items()}
    work = [work_of(catalog.corpora[name], partition, steps, workspace, FLOW) for name, of in listed.items() for partition in of.values()]
    list(workspace.store.list())  # what was seen before the run is not taken for what is there after it
    executor = new_executor(
        Builder(corpora=catalog.corpora, workspace=workspace),
        work,
        processes,
        cluster=cluster,
        on_start=id,
        on_progress=lambda _work, consumed: on_progress(consumed),
    )
    results = list(build_partitions(work, executor))
    workspace.store.refresh()
    if not any(result.problem for result in results):
        build_mixture(catalog.mixtures["mix"], catalog.corpora, {name: list(of) for name, of in listed.items()}, workspace)
    return results


def contents(store: Store, folder: Path) -> dict[str, str]:
    """Return the digests of all files of a store that other machines see, as on a disk."""
    if not isinstance(store, LocalStore):
        copied = LocalStore(folder)
        list(copy_versions(version_copies(store, copied)))
        store = copied
    return {name: digest for name, digest in store_contents(store.root).items() if not name.startswith(".")}


def bucket(name: str, tmp_path: Path) -> BucketStore:
    return store_in_bucket(f"s3://raw/{name}", scratch=tmp_path / f"scratch of {name}", retry_policy=RetryPolicy(pause=0.0))


def test_two_nodes_build_the_same_store_in_a_bucket_although_one_is_killed(
    nodes: RayNodes, s3: S3Server, sources: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node, done = nodes.add(), list[int]()
    scratch_of_killed = f"node{nodes.added}"
    unfit = nodes.add(**{SCRATCH_VARIABLE: str(sources / "raw" / "one.txt")})

    def kill_after_the_third_task(consumed: int) -> None:
        done.append(consumed)
        if len(done) == 3:
            nodes.kill(node)

    stores = [LocalStore(tmp_path / "a"), LocalStore(tmp_path / "b"), bucket("c", tmp_path), bucket("d", tmp_path)]
    workspaces = [on(store, sources) for store in stores]
    built = [
        build_all(workspaces[0], 1),
        build_all(workspaces[1], 2),
        build_all(workspaces[2], 1),
        build_all(workspaces[3], cluster=nodes.address, on_progress=kill_after_the_third_task),
    ]
    nodes.kill(unfit)
    assert f"({unfit.node_id[:8]}) cannot use its scratch space: {sources / 'raw' / 'one.txt'}: " in caplog.text
    assert [result.failure for results in built for result in results] == [""] * 16
    assert len(done) > 8  # a task per chunk
    first, *others = [contents(store, tmp_path / f"copy{i}") for i, store in enumerate(stores)]
    assert len([name for name in first if "/.versions/" in name and name.endswith(".arrow")]) > 8
    # On a disk, objects are copied, and in a bucket they are read in place: the same content under another fingerprint.
    assert others[0] == first
    assert others[2] == others[1]
    in_bucket = others[1]
    for name in first:
        assert name.startswith(("placed", "mix")) or in_bucket[name] == first[name], name
    made = [
        {re.sub("@[0-9a-f]{32}", "", path): of for path, of in found.items() if path.endswith((".npy", ".arrow"))}
        for found in (first, in_bucket)
    ]
    assert made[0] == made[1]
    assert [key for key in s3.listed() if UNFINISHED in key or "/.nodes/" in key or "/.leases/" in key] == []
    kept = nodes.scratch.glob("*/*/.chunks/**/*.*")
    assert {path.relative_to(nodes.scratch).parts[0] for path in kept} <= {scratch_of_killed}


def test_cluster_builds_the_store_of_one_process_on_a_shared_disk(
    nodes: RayNodes, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", nodes.cluster.address)
    outcome = project.bring_up_to_date(executor="ray")
    assert (sorted(outcome.built), outcome.failed) == (["mix", "plays/one", "plays/three", "plays/two"], {})
    on_cluster = store_contents(project.workspace.store.root)
    for name in ("plays", "mix"):
        shutil.rmtree(project.workspace.store.root / name)
    project.bring_up_to_date()
    assert store_contents(project.workspace.store.root) == on_cluster


def test_refused_run_leaves_the_store_as_it_was(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store_contents(project.workspace.store.root)
    outcome = project.bring_up_to_date(executor="ray:127.0.0.1:1")
    reason = "executor: the Ray cluster 127.0.0.1:1 cannot be reached: Connection refused"
    assert {name: outcome.failed[name] for name in ("plays/one", "plays/two")} == dict.fromkeys(("plays/one", "plays/two"), reason)
    monkeypatch.setenv("RAY_ADDRESS", "head")
    assert "$RAY_ADDRESS: 'head' is not the address of a Ray cluster" in project.bring_up_to_date(executor="ray").failed["plays/one"]
    assert store_contents(project.workspace.store.root) == before


def test_nodes_without_credentials_or_with_another_endpoint_are_found(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = on(bucket("d", tmp_path), sources)
    check = node_check((), (), workspace, Pickling.of(workspace.store, "run"))
    with check.marked():
        assert check.problem() == ""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not the secret")
        problem = check.problem()
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert problem.startswith("cannot use the store: s3://raw/d: cannot be read: the secret key is not right")
    assert problem.endswith("the processes of a node use the credentials and endpoints of their own environment")
    assert "not the secret" not in problem
    with check.marked():
        shutil.rmtree(tmp_path / "scratch of d")
        (tmp_path / "scratch of d").touch()
        problem = check.problem()
    assert problem.startswith(f"cannot use its scratch space: {tmp_path / 'scratch of d'}: cannot be written to: File exists")
    assert problem.endswith("with $PHYAGI_ASSETS_SCRATCH in the environment in which Ray was started there")
    assert check.problem().startswith("reaches another store at s3://raw/d than this machine")


def test_errors_of_a_disk_name_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_nodes, "node_name", lambda: "node 10.0.0.2 (abc)")
    work = Work(corpus="news", key="all", partition=None, steps=())
    full, bad = StoreError("/scratch: cannot be written to"), SourceError("raw/a.txt: row 3")

    def failure(problem: Exception, *, is_raised: bool = False) -> str:
        def run(task: Task, _on_progress: OnProgress) -> TaskResult:
            if is_raised:
                raise problem
            return PartitionResult(work=task.work, problem=problem)

        try:
            result = run_on_node(run, PartitionTask(work=work), id)
        except StoreError as found:
            return str(found)
        assert isinstance(result, PartitionResult)
        return result.failure

    assert failure(full) == failure(full, is_raised=True) == "node 10.0.0.2 (abc): /scratch: cannot be written to"
    assert failure(OSError(28, "No space left on device"), is_raised=True).startswith("node 10.0.0.2 (abc): [Errno 28] No space left")
    assert failure(bad) == "raw/a.txt: row 3"


def test_local_file_that_differs_on_a_node_is_named_with_the_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_nodes, "node_name", lambda: "node 10.0.0.2 (abc)")
    path = tmp_path / "a.txt"
    path.write_text("one")
    listed = SourceFile(name="a.txt", origin=str(path), size=3, stamp=stamp_of(path), path=path)
    task = PartitionTask(work=Work(corpus="news", key="all", partition=Partition(key="all", files=(listed,)), steps=()))

    def run(task: Task, _on_progress: OnProgress) -> TaskResult:
        return PartitionResult(work=task.work)

    assert run_on_node(run, task, id) == run(task, id)
    path.write_text("other")
    seen = r"node 10\.0\.0\.2 \(abc\) sees \S+/a\.txt as 5 bytes, changed .* UTC, and the driver listed it as 3 bytes, changed .* UTC: "
    with pytest.raises(PhyagiAssetsError, match=f"{seen}the node has another file at this path, or the file has changed; mount"):
        run_on_node(run, task, id)
    path.unlink()
    with pytest.raises(PhyagiAssetsError, match=r"sees \S+ as unreadable \(No such file or directory\)"):
        run_on_node(run, task, id)


def test_folders_that_nodes_need_are_those_of_the_store_the_sources_and_the_removed_documents(sources: Path, tmp_path: Path) -> None:
    catalog = load_catalog(sources)
    remote, local = catalog.corpora["remote"], catalog.corpora["local"]
    in_bucket = Workspace(data=sources, store=bucket("d", tmp_path))

    def needed(workspace: Workspace, *corpora: object) -> list[Path]:
        chosen = [corpus for corpus in (remote, local) if corpus in corpora]
        work = [work_of(corpus, of, [], workspace, FLOW) for corpus in chosen for of in workspace.sources.partitions(corpus).values()]
        return [folder.path for folder in needed_folders(chosen, work, workspace)]

    assert needed(in_bucket, remote) == []
    assert needed(in_bucket, remote, local) == [sources / "raw"]
    assert needed(Workspace(data=sources, store=LocalStore(tmp_path / "disk")), local) == [tmp_path / "disk", sources / "raw"]
    add_removals(remote, [Removal(id=document_id(1))])
    assert needed(in_bucket, remote) == [sources]
    assert needed(in_bucket, remote, local) == [sources, sources / "raw"]
    builder = Builder(corpora=catalog.corpora, workspace=in_bucket)
    for name, folders in {"remote": {sources}, "local": {sources / "raw"}}.items():
        partition = next(iter(in_bucket.sources.partitions(catalog.corpora[name]).values()))
        assert folders_of_task(builder, PartitionTask(work=work_of(catalog.corpora[name], partition, [], in_bucket, FLOW))) == folders


def drive(place: str, scratch: Path, sources: Path, address: RayAddress) -> None:
    """Build everything on a cluster; the target of a process that is killed."""
    build_all(Workspace(data=sources, store=store_in_bucket(place, scratch=scratch), chunk_bytes=4096), cluster=address)


def workers_of_run(nodes: RayNodes, driver: Any) -> list[int]:
    """Wait for processes that run tasks of a driver, and return them; empty if the driver ends first."""
    while True:
        workers = [worker for node in nodes.cluster.worker_nodes for worker in nodes.workers(node)]
        if workers or not driver.is_alive():
            return workers
        driver.join(0.05)


@pytest.mark.parametrize("victim", ["driver", "process", "node"])
def test_kills_at_any_moment_leave_nothing_that_the_next_run_does_not_complete(
    victim: str, nodes: RayNodes, sources: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Kills the driver, a process of the cluster or a node; a kill costs seconds, so only ``--soak`` does it."""
    if not pytestconfig.getoption("soak"):
        pytest.skip("takes minutes; --soak does it")
    whole = on(bucket("whole", tmp_path), sources)
    build_all(whole, 1)
    expected, draw = contents(whole.store, tmp_path / "copy"), random.Random(7)

    def started(name: str) -> tuple[BucketStore, Any]:
        store = bucket(name, tmp_path)
        on(store, sources)
        driver = SPAWN.Process(target=drive, args=(str(store), tmp_path / f"scratch of driver {name}", sources, nodes.address))
        driver.start()
        return store, driver

    began, (_, uninterrupted) = time.monotonic(), started("uninterrupted")
    uninterrupted.join()
    seconds = time.monotonic() - began
    for kill in range(KILLS):
        for attempt in range(ATTEMPTS):
            node = nodes.add() if victim == "node" else None
            began, (store, driver) = time.monotonic(), started(f"kill{kill}-{attempt}")
            driver.join(draw.uniform(0.2, 1) * seconds)
            was_running, is_killed = driver.is_alive(), True
            seconds = seconds if was_running else time.monotonic() - began  # the machine has become faster
            if victim == "driver":
                driver.kill()
            elif node is not None:
                nodes.kill(node)
            elif workers := workers_of_run(nodes, driver):
                os.kill(draw.choice(workers), signal.SIGKILL)
            else:
                is_killed = False
            driver.join()
            assert driver.exitcode == 0 or (victim == "driver" and driver.exitcode == -signal.SIGKILL)
            store.refresh()
            assert [problem for version in store.versions() for problem in version.damage(checksums=True)] == []
            if is_killed and was_running and (victim != "driver" or driver.exitcode):
                break
        else:
            pytest.fail(f"the build ended before a {victim} was killed, {ATTEMPTS} times")
        again = Workspace(data=sources, store=store, chunk_bytes=4096)
        assert [result.failure for result in build_all(again, cluster=nodes.address)] == [""] * 4
        assert contents(store, tmp_path / f"copy{kill}") == expected, kill
