"""Partitions built by several processes, which may die."""

import multiprocessing
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phyagi_assets.build import executors
from phyagi_assets.build.executors import new_executor, processes_by_default
from phyagi_assets.build.partitions import build_partitions
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import work_of
from phyagi_assets.execution import process_pool
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.step import Workspace
from tests.bucket_stores import store_in_bucket
from tests.hub import Hub, served
from tests.project import Project, RecordingProgress
from tests.s3 import S3Server
from tests.support import declare_corpus, write_text
from tests.tokenizers.faulty_engines import store_contents


class OnStart(RecordingProgress):
    """Calls a function when a partition begins."""

    def __init__(self, call: Callable[[str], None]) -> None:
        super().__init__()
        self._call = call

    def started(self, name: str) -> None:
        super().started(name)
        self._call(name)


def test_two_processes_build_the_store_of_one_process(project: Project) -> None:
    told = RecordingProgress()
    outcome = project.bring_up_to_date(processes=2, progress=told)
    assert told.begun == ["plays/three", "plays/two", "plays/one", "mix"]  # the largest first
    assert (sorted(outcome.built), outcome.failed) == (["mix", "plays/one", "plays/three", "plays/two"], {})
    assert sum(told.consumed) == sum(path.stat().st_size for path in project.raw.iterdir())
    assert multiprocessing.active_children() == []
    by_two = store_contents(project.workspace.store.root)
    for name in ("plays", "mix"):
        shutil.rmtree(project.workspace.store.root / name)
    assert sorted(project.bring_up_to_date().built) == sorted(outcome.built)
    assert store_contents(project.workspace.store.root) == by_two
    assert project.materialized("plays", "numpy_cache") == 6


def test_partition_whose_process_is_killed_has_failed_and_the_others_are_built(project: Project) -> None:
    def kill_the_first(name: str) -> None:
        if name == "plays/three":
            process = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)  # the first is given the first
            process.kill()
            process.join()

    outcome = project.bring_up_to_date(processes=2, progress=OnStart(kill_the_first))
    assert outcome.failed.keys() == {"plays/three", "mix"}
    assert outcome.failed["plays/three"].startswith("its process was killed by SIGKILL, as the system does when memory runs out")
    assert outcome.failed["mix"] == "not built, because of plays/three"
    assert sorted(outcome.built) == ["plays/one", "plays/two"]
    assert project.bring_up_to_date().built == ["plays/three", "mix"]


def test_error_in_a_partition_is_its_reason_and_the_others_are_built(project: Project) -> None:
    write_text(project.raw / "two.txt", b"\xff")
    outcome = project.bring_up_to_date(processes=2)
    assert "two.txt:1: is not UTF-8" in outcome.failed["plays/two"]
    assert sorted(outcome.built) == ["plays/one", "plays/three"]


def test_interrupt_leaves_no_process(project: Project) -> None:
    def interrupt(name: str) -> None:
        if name == "plays/two":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        project.bring_up_to_date(processes=2, progress=OnStart(interrupt))
    assert multiprocessing.active_children() == []
    assert project.bring_up_to_date().failed == {}


@pytest.mark.parametrize(("processors", "processes"), [(1, 1), (15, 1), (16, 2), (64, 8)])
def test_default_is_a_process_for_every_eight_processors_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch, processors: int, processes: int
) -> None:
    monkeypatch.setattr(executors, "processors", lambda: processors)
    assert processes_by_default() == processes


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in for the Hub that this process uses."""
    with served(tmp_path / "hub") as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        yield hub


def test_processes_use_the_commit_that_the_command_resolved_for_a_branch(workspace: Workspace, hub: Hub) -> None:
    data, identities, name = workspace.data, workspace.identities, "openai-community/gpt2"
    corpus = declare_corpus(data, "c", "c.txt", tokenizer=f"{name}@main")
    local = declare_corpus(data, "local", "c.txt")
    unknown = declare_corpus(data, "unknown", "c.txt", tokenizer="nobody/nothing@main")
    assert list(identities.find_on_hub([corpus, local, unknown])) == [f"{name}@main"]
    before = identities.identity(corpus)
    write_text(hub.repositories / "models" / name / "README.md", "A commit.")
    assert identities.identity(corpus) == before
    builder: Builder = pickle.loads(pickle.dumps(Builder(corpora={"c": corpus}, workspace=workspace)))  # as for another process
    assert builder.workspace.identities.identity(corpus) == before
    assert hub.traffic.commits.count(f"{name}@main") == 1
    identities.forget()
    assert identities.identity(corpus) != before


def test_processes_ask_for_no_commit_that_the_command_knows(
    project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("soak"):
        pytest.skip("two processes load a tokenizer of the Hub, which takes seconds of each; --soak does it")
    for name, value in hub.environment(project.workspace.store.root).items():
        monkeypatch.setenv(name, value)
    # Processes forked from the server of the tests would have imported the client of the Hub with another address.
    monkeypatch.setattr(process_pool, "_context", lambda *_functions: multiprocessing.get_context("spawn"))
    name = "openai-community/gpt2"
    # No EOS to append, so that the command itself, whose client took the address of the Hub when it was imported, loads no tokenizer.
    corpus = {"partition_by": "file", "tokenizer": f"{name}@main", "append_eos": False}
    declare_corpus(project.workspace.data, "plays", "raw/*.txt", **corpus)
    outcome = project.bring_up_to_date(processes=2)
    assert (len(outcome.built), outcome.failed) == (4, {})
    assert hub.traffic.commits.count(f"{name}@main") == 1


def test_first_step_alone_is_built_in_a_bucket_without_loading_the_tokenizer(data: Path, s3: S3Server, tmp_path: Path) -> None:
    write_text(data / "raw" / "one.txt", "Word for word.\n")
    corpus = declare_corpus(data, "plays", "raw/*.txt")
    workspace = Workspace(data=data, store=store_in_bucket("s3://raw/store", scratch=tmp_path / "scratch"))
    [partition] = workspace.sources.partitions(corpus).values()
    work = [work_of(corpus, partition, [FLOW.steps[0].name], workspace, FLOW)]
    builder = Builder(corpora={"plays": corpus}, workspace=workspace)
    executor = new_executor(builder, work, 1, on_start=id, on_progress=lambda _work, _consumed: None)
    [result] = build_partitions(work, executor)
    assert result.failure == ""
    assert not any("tokenizer" in key for key in s3.listed())
