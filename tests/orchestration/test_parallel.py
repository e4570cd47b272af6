"""Partitions built side by side, by processes that may die."""

import multiprocessing
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from phyagi_assets.build.work import Outcome
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.orchestration.parallel import SideBySide, _builder
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.prepare import find_commits, forget_commits, tokenizer_identity
from tests.hub import Hub, served
from tests.orchestration.conftest import Project
from tests.support import declare_corpus, write_text
from tests.tokenizers.faulty_engines import store_contents


def bring_up_to_date(project: Project, on_start: Callable[[str], None], on_progress: Callable[[int], None] = id) -> Outcome:
    """With two processes."""
    settings = Settings(data=project.workspace.data, store=project.workspace.store.root)
    side_by_side = SideBySide(jobs=2, threads=1, settings=settings, on_start=on_start, on_progress=on_progress)
    runner = Runner(load_catalog(project.workspace.data), project.definitions, project.workspace, project.instance)
    return runner.run(runner.stale(), lambda _name: None, None, side_by_side.build)


def test_what_is_built_side_by_side_is_what_is_built_in_turn(project: Project) -> None:
    begun: list[str] = []
    done: list[int] = []
    outcome = bring_up_to_date(project, begun.append, done.append)
    assert begun == ["plays/three", "plays/two", "plays/one"]  # the largest first
    assert (sorted(outcome.built), outcome.failed) == (["mix", "plays/one", "plays/three", "plays/two"], {})
    assert sum(done) == sum(path.stat().st_size for path in project.raw.iterdir())
    assert multiprocessing.active_children() == []
    side_by_side = store_contents(project.workspace.store.root)
    for name in ("plays", "mix"):
        shutil.rmtree(project.workspace.store.root / name)
    assert sorted(project.bring_up_to_date().built) == sorted(outcome.built)
    assert store_contents(project.workspace.store.root) == side_by_side
    assert project.materialized("plays", "numpy_cache") == 6


def test_a_process_that_is_killed_is_a_partition_that_failed_and_the_others_are_built(project: Project) -> None:
    def kill_the_first(name: str) -> None:
        if name == "plays/three":
            process = min(multiprocessing.active_children(), key=lambda child: child.pid or 0)  # the first is given the first
            process.kill()
            process.join()

    outcome = bring_up_to_date(project, kill_the_first)
    assert outcome.failed == {"plays/three": "its process was killed by SIGKILL", "mix": "not built, because of plays/three"}
    assert sorted(outcome.built) == ["plays/one", "plays/two"]
    assert project.bring_up_to_date().built == ["plays/three", "mix"]


def test_what_is_wrong_with_a_partition_is_told_as_ever(project: Project) -> None:
    write_text(project.raw / "two.txt", b"\xff")
    outcome = bring_up_to_date(project, lambda _name: None)
    assert "two.txt:1: is not UTF-8" in outcome.failed["plays/two"]
    assert sorted(outcome.built) == ["plays/one", "plays/three"]


def test_an_interrupt_leaves_no_process(project: Project) -> None:
    def interrupt(name: str) -> None:
        if name == "plays/two":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(project, interrupt)
    assert multiprocessing.active_children() == []
    assert project.bring_up_to_date().failed == {}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The stand-in of the Hub, which this process asks and which has no commit remembered."""
    with served(tmp_path / "hub") as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        forget_commits()
        yield hub
    forget_commits()


def test_commit_of_a_branch_is_that_of_the_command_in_its_processes_until_it_is_forgotten(workspace: Workspace, hub: Hub) -> None:
    data, name = workspace.data, "openai-community/gpt2"
    corpus = declare_corpus(data, "c", "c.txt", tokenizer=f"{name}@main")
    local = declare_corpus(data, "local", "c.txt")
    unknown = declare_corpus(data, "unknown", "c.txt", tokenizer="nobody/nothing@main")
    commits = find_commits([corpus, local, unknown])
    assert list(commits) == [(name, "main")]
    before = tokenizer_identity(corpus, data)
    write_text(hub.repositories / "models" / name / "README.md", "A commit.")
    assert tokenizer_identity(corpus, data) == before
    forget_commits()  # nothing is known, as in a process that has just begun
    settings = Settings(data=data, store=workspace.store.root)
    with _builder(settings, commits, lambda _consumed: None):
        assert tokenizer_identity(corpus, data) == before
    assert hub.traffic.commits.count(f"{name}@main") == 1
    forget_commits()
    assert tokenizer_identity(corpus, data) != before


def test_processes_ask_for_no_commit_that_the_command_knows(
    project: Project, hub: Hub, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("soak"):
        pytest.skip("two processes load a tokenizer of the Hub, which takes seconds of each; --soak does it")
    for name, value in hub.environment(project.workspace.store.root).items():
        monkeypatch.setenv(name, value)
    name = "openai-community/gpt2"
    # No EOS to append, so that the command itself, whose client took the address of the Hub when it was imported, loads no tokenizer.
    corpus = {"partition_by": "file", "tokenizer": f"{name}@main", "append_eos": False}
    declare_corpus(project.workspace.data, "plays", "raw/*.txt", **corpus)
    outcome = bring_up_to_date(project, lambda _name: None)
    assert (len(outcome.built), outcome.failed) == (4, {})
    assert hub.traffic.commits.count(f"{name}@main") == 1
