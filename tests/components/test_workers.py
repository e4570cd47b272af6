"""Partitions built side by side, by processes that may die."""

import multiprocessing
import shutil
from collections.abc import Callable

import pytest

from phyagi_assets.components.runs import Runner
from phyagi_assets.components.work import Outcome
from phyagi_assets.components.workers import SideBySide
from phyagi_assets.declarations import load_catalog
from phyagi_assets.settings import Settings
from tests.components.conftest import Project
from tests.pipeline.doubtful import holdings
from tests.support import write_text


def bring_up_to_date(project: Project, on_start: Callable[[str], None], on_progress: Callable[[int], None] = id) -> Outcome:
    """With two processes."""
    settings = Settings(data=project.workspace.data, store=project.workspace.store.root)
    side_by_side = SideBySide(jobs=2, threads=1, settings=settings, on_start=on_start, on_progress=on_progress)
    runner = Runner(load_catalog(project.workspace.data), project.definitions, project.workspace, project.instance)
    return runner.run(runner.stale(), lambda _name: None, None, side_by_side)


def test_what_is_built_side_by_side_is_what_is_built_in_turn(project: Project) -> None:
    begun: list[str] = []
    done: list[int] = []
    outcome = bring_up_to_date(project, begun.append, done.append)
    assert begun == ["plays/three", "plays/two", "plays/one"]  # the largest first
    assert (sorted(outcome.built), outcome.failed) == (["mix", "plays/one", "plays/three", "plays/two"], {})
    assert sum(done) == sum(path.stat().st_size for path in project.raw.iterdir())
    assert multiprocessing.active_children() == []
    side_by_side = holdings(project.workspace.store.root)
    for name in ("plays", "mix"):
        shutil.rmtree(project.workspace.store.root / name)
    assert sorted(project.bring_up_to_date().built) == sorted(outcome.built)
    assert holdings(project.workspace.store.root) == side_by_side
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
