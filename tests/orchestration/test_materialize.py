"""Bringing things up to date costs what changed."""

import multiprocessing
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from phyagi_assets.build.staleness import STAGES
from phyagi_assets.build.work import shared_out
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.settings import Settings
from phyagi_assets.sources import chunks
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step
from tests.orchestration.conftest import PLAY, Project
from tests.support import declare_corpus, write_jsonl, write_text

ALL = ["plays/one", "plays/three", "plays/two", "mix"]


def array(project: Project, play: str) -> Path:
    return project.workspace.store.pointer(f"plays/numpy_cache/{play}") / "train.npy"


def test_everything_is_built_once_and_then_stands(project: Project) -> None:
    first = project.bring_up_to_date()
    assert (first.built, first.current, first.failed) == (ALL, 0, {})
    second = project.bring_up_to_date()
    assert (second.built, second.current) == ([], 4)
    assert project.materialized("plays", "tokenized_arrow") == 3


def test_an_edited_file_rebuilds_its_partition_and_the_mixture_and_nothing_else(project: Project) -> None:
    project.bring_up_to_date()
    write_text(project.raw / "two.txt", PLAY * 9)
    assert project.bring_up_to_date().built == ["plays/two", "mix"]
    assert project.materialized("plays", "tokenized_arrow") == 4
    assert project.materialized("mix", "mixed_dataset") == 2


def test_an_added_file_is_a_new_partition_and_rebuilds_the_mixture(project: Project) -> None:
    project.bring_up_to_date()
    write_text(project.raw / "four.txt", PLAY * 5)
    assert project.bring_up_to_date().built == ["plays/four", "mix"]
    assert sorted(project.instance.get_dynamic_partitions("plays")) == ["four", "one", "three", "two"]


def test_a_removed_file_retires_its_partition_and_leaves_its_artifacts(project: Project) -> None:
    project.bring_up_to_date()
    (project.raw / "two.txt").unlink()
    assert project.bring_up_to_date().built == ["mix"]
    assert sorted(project.instance.get_dynamic_partitions("plays")) == ["one", "three"]
    assert array(project, "two").exists()


def test_an_array_deleted_behind_its_back_is_noticed_and_repaired(project: Project) -> None:
    project.bring_up_to_date()
    before = array(project, "one").read_bytes()
    array(project, "one").unlink()
    assert project.bring_up_to_date().built == ["plays/one"]
    assert array(project, "one").read_bytes() == before
    assert project.materialized("plays", "tokenized_arrow") == 3


def test_an_edit_taken_back_publishes_the_old_version_without_encoding_again(project: Project) -> None:
    project.bring_up_to_date()
    write_text(project.raw / "two.txt", PLAY * 9)
    project.bring_up_to_date()
    write_text(project.raw / "two.txt", PLAY * 4)
    assert project.bring_up_to_date().built == ["plays/two", "mix"]
    event = project.instance.get_latest_materialization_event(dg.AssetKey(["plays", "tokenized_arrow"]))
    assert event
    assert event.asset_materialization
    assert event.asset_materialization.metadata["reused"].value is True


def test_a_new_instance_learns_of_a_full_store_without_building_it_again(project: Project, tmp_path: Path) -> None:
    project.bring_up_to_date()
    written = array(project, "one").stat().st_ino
    shutil.rmtree(project.workspace.store.root / ".dagster")
    with open_instance(Settings(data=project.workspace.data, store=tmp_path / "elsewhere")) as fresh:
        other = Project(workspace=project.workspace, instance=fresh)
        assert other.bring_up_to_date().built == ALL
        assert other.bring_up_to_date().built == []
        for stage in STAGES:
            told = [record.asset_materialization for record in fresh.fetch_materializations(dg.AssetKey(["plays", stage]), limit=9).records]
            assert [event.metadata["reused"].value for event in told if event] == [True] * 3
    assert array(project, "one").stat().st_ino == written


def test_a_partition_that_fails_leaves_the_others_built_and_the_mixture_unbuilt_with_the_reasons(project: Project) -> None:
    write_text(project.raw / "two.txt", b"caf\xe9")
    outcome = project.bring_up_to_date()
    assert outcome.built == ["plays/one", "plays/three"]
    assert outcome.failed.keys() == {"plays/two", "mix"}
    assert "two.txt:1: is not UTF-8: byte 0xe9" in outcome.failed["plays/two"]
    assert "plays/two" in outcome.failed["mix"]
    write_text(project.raw / "two.txt", "café " * 20)
    assert project.bring_up_to_date().built == ["plays/two", "mix"]


class CtrlC:
    """Interrupts the process in the middle of the slow step, as the user's terminal does."""

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        del context, partition
        if step.name == "tokenized_arrow":
            signal.raise_signal(signal.SIGINT)
        yield lambda _consumed: None


def test_an_interrupt_ends_it_all_and_the_next_time_goes_on_from_there(project: Project) -> None:
    catalog = load_catalog(project.workspace.data)
    definitions = catalog_definitions(catalog, project.workspace, CtrlC())
    runner = Runner(catalog, definitions, project.workspace, project.instance)
    with pytest.raises(KeyboardInterrupt):
        runner.run(runner.stale(), lambda _name: None)
    assert [run.status for run in project.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert list(project.workspace.store.list()) == ["plays/raw_dataset/one"]
    assert project.bring_up_to_date().built == ALL


def test_a_source_that_matches_nothing_fails_alone(project: Project) -> None:
    declare_corpus(project.workspace.data, "nothing", "raw/*.parquet")
    outcome = project.bring_up_to_date()
    assert outcome.built == ALL
    assert "no file matches" in outcome.failed["nothing"]


@pytest.mark.parametrize(("name", "built"), [("plays", ALL[:3]), ("mix", ALL)])
def test_only_what_is_named_is_built_and_what_it_is_made_of(project: Project, name: str, built: list[str]) -> None:
    write_text(project.workspace.data / "other" / "x.txt", PLAY)
    declare_corpus(project.workspace.data, "other", "other/x.txt")
    assert project.bring_up_to_date(name).built == built


def test_a_position_is_taken_from_the_configuration_of_a_run(project: Project) -> None:
    project.bring_up_to_date()
    write_text(project.raw / "four.txt", PLAY * 4)
    assert project.bring_up_to_date(at=7).built == ["plays/four", "mix"]
    (latest,) = project.instance.fetch_materializations(dg.AssetKey(["mix", "mixed_dataset"]), limit=1).records
    shown = latest.asset_materialization.metadata if latest.asset_materialization else {}
    assert shown["segments"].value == 2
    assert str(shown["order"].value).startswith("changed from position 7 on; before it, as plan ")
    assert project.bring_up_to_date().built == []


class CountedProcesses:
    """Counts the processes that encode each partition whenever one of them reports progress."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        name = f"{context.asset_key.path[0]}/{partition.key}"

        def count(_consumed: int) -> None:
            if step.name == "tokenized_arrow":
                self.most[name] = max(self.most.get(name, 0), len(multiprocessing.active_children()))

        yield count


@pytest.fixture
def notes(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with one large partition, of notes, in many pieces."""
    monkeypatch.setattr(chunks, "PIECE", 1000)
    write_jsonl(project.raw / "notes.jsonl", ["a note of twenty words or so"] * 1000)
    declare_corpus(project.workspace.data, "notes", "raw/*.jsonl")
    return project


def test_partition_is_encoded_by_its_share_of_the_processes(notes: Project) -> None:
    counted, catalog = CountedProcesses(), load_catalog(notes.workspace.data)
    runner = Runner(catalog, catalog_definitions(catalog, notes.workspace, counted), notes.workspace, notes.instance)
    outcome = runner.run(shared_out(runner.stale(), 3), lambda _name: None)
    assert (sorted(outcome.built), outcome.failed) == (sorted([*ALL, "notes/all"]), {})
    assert counted.most == {"notes/all": 2, "plays/one": 0, "plays/three": 0, "plays/two": 0}  # of its 93 parts in a hundred


@pytest.mark.parametrize(("configured", "processes"), [({"processes": 3}, 3), ({}, 0)])
def test_run_from_the_ui_has_as_many_processes_as_are_configured(notes: Project, configured: dict[str, int], processes: int) -> None:
    counted, catalog = CountedProcesses(), load_catalog(notes.workspace.data)
    job = catalog_definitions(catalog, notes.workspace, counted).resolve_implicit_global_asset_job_def()
    sync_partitions(notes.instance, catalog.corpora["notes"], ["all"])
    result = job.execute_in_process(
        run_config={"ops": {"notes__tokenized_arrow": {"config": configured}}},
        instance=notes.instance,
        partition_key="all",
        asset_selection=[dg.AssetKey(["notes", stage]) for stage in STAGES],
    )
    assert result.success
    assert counted.most == {"notes/all": processes}
