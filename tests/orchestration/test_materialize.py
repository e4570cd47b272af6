"""Materialization builds only what changed."""

import multiprocessing
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.settings import Settings
from phyagi_assets.steps import tokenize_chunks
from tests.project import PLAY, Project, RecordingProgress
from tests.support import PARTITION_STEPS, declare_corpus, write_jsonl, write_text

ALL = ["plays/one", "plays/three", "plays/two", "mix"]


def array(project: Project, play: str) -> Path:
    return project.workspace.store.pointer(f"plays/numpy_cache/{play}") / "train.npy"


def test_materialize_builds_everything_once(project: Project) -> None:
    first = project.bring_up_to_date()
    assert (first.built, first.current, first.failed) == (ALL, 0, {})
    second = project.bring_up_to_date()
    assert (second.built, second.current) == ([], 4)
    assert project.materialized("plays", "tokenized_arrow") == 3


def test_edited_file_rebuilds_only_its_partition_and_the_mixture(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    assert built_project.bring_up_to_date().built == ["plays/two", "mix"]
    assert built_project.materialized("plays", "tokenized_arrow") == 4
    assert built_project.materialized("mix", "mixed_dataset") == 2


def test_added_file_is_a_new_partition_and_rebuilds_the_mixture(built_project: Project) -> None:
    write_text(built_project.raw / "four.txt", PLAY * 5)
    assert built_project.bring_up_to_date().built == ["plays/four", "mix"]
    assert sorted(built_project.instance.get_dynamic_partitions("plays")) == ["four", "one", "three", "two"]


def test_removed_file_removes_its_partition_and_keeps_its_artifacts(built_project: Project, caplog: pytest.LogCaptureFixture) -> None:
    (built_project.raw / "two.txt").unlink()
    assert built_project.bring_up_to_date().built == ["mix"]
    assert sorted(built_project.instance.get_dynamic_partitions("plays")) == ["one", "three"]
    assert array(built_project, "two").exists()
    assert "plays: gone from the source: 1 partition (two); mixtures are built without them" in caplog.text


def test_deleted_array_is_noticed_and_rebuilt(built_project: Project) -> None:
    before = array(built_project, "one").read_bytes()
    array(built_project, "one").unlink()
    assert built_project.bring_up_to_date().built == ["plays/one"]
    assert array(built_project, "one").read_bytes() == before
    assert built_project.materialized("plays", "tokenized_arrow") == 3


def test_reverted_edit_publishes_the_old_version_without_encoding(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    built_project.bring_up_to_date()
    write_text(built_project.raw / "two.txt", PLAY * 4)
    assert built_project.bring_up_to_date().built == ["plays/two", "mix"]
    event = built_project.instance.get_latest_materialization_event(dg.AssetKey(["plays", "tokenized_arrow"]))
    assert event
    assert event.asset_materialization
    assert event.asset_materialization.metadata["reused"].value is True


def test_new_instance_records_the_artifacts_of_a_store_without_building(built_project: Project, tmp_path: Path) -> None:
    written = array(built_project, "one").stat().st_ino
    shutil.rmtree(built_project.workspace.store.root / ".dagster")
    with open_instance(Settings(data=built_project.workspace.data, store=tmp_path / "elsewhere")) as fresh:
        other = Project(workspace=built_project.workspace, instance=fresh)
        recorded = other.bring_up_to_date()
        assert (recorded.built, recorded.current) == ([], len(ALL))
        for stage in PARTITION_STEPS:
            told = [record.asset_materialization for record in fresh.fetch_materializations(dg.AssetKey(["plays", stage]), limit=9).records]
            assert [event.metadata["reused"].value for event in told if event] == [True] * 3
    assert array(built_project, "one").stat().st_ino == written


def failed_partitions(project: Project, step: str) -> set[str]:
    """Return the partitions of an asset that Dagster shows as failed."""
    plays = dg.DynamicPartitionsDefinition(name="plays")
    status = get_and_update_asset_status_cache_value(project.instance, dg.AssetKey(["plays", step]), plays)
    assert status is not None
    return set(status.deserialize_failed_partition_subsets(plays).get_partition_keys())


def test_failed_partition_does_not_stop_others_and_the_mixture_reports_why_it_is_not_built(project: Project) -> None:
    write_text(project.raw / "two.txt", b"caf\xe9")
    outcome = project.bring_up_to_date()
    assert outcome.built == ["plays/one", "plays/three"]
    assert outcome.failed.keys() == {"plays/two", "mix"}
    assert "two.txt:1: is not UTF-8: byte 0xe9" in outcome.failed["plays/two"]
    assert "plays/two" in outcome.failed["mix"]
    for step in ("tokenized_arrow", "numpy_cache"):
        assert failed_partitions(project, step) == {"two"}
    assert failed_partitions(project, "raw_dataset") == set()
    write_text(project.raw / "two.txt", "café " * 20)
    assert project.bring_up_to_date().built == ["plays/two", "mix"]


class CtrlC(RecordingProgress):
    """Interrupts the process in the middle of the slow step, as the user's terminal does."""

    def advanced(self, consumed: int) -> None:
        super().advanced(consumed)
        signal.raise_signal(signal.SIGINT)


def test_interrupted_build_ends_its_processes_and_is_resumed(project: Project) -> None:
    with pytest.raises(KeyboardInterrupt):
        project.bring_up_to_date(progress=CtrlC())
    assert [run.status for run in project.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert list(project.workspace.store.list()) == ["plays/raw_dataset/one"]
    assert project.bring_up_to_date().built == ALL


def test_source_without_files_does_not_stop_other_corpora(project: Project) -> None:
    declare_corpus(project.workspace.data, "nothing", "raw/*.parquet")
    outcome = project.bring_up_to_date()
    assert outcome.built == ALL
    assert "no file matches" in outcome.failed["nothing"]


@pytest.mark.parametrize(("name", "built"), [("plays", ALL[:3]), ("mix", ALL)])
def test_materialize_builds_only_named_artifacts_and_their_inputs(project: Project, name: str, built: list[str]) -> None:
    write_text(project.workspace.data / "other" / "x.txt", PLAY)
    declare_corpus(project.workspace.data, "other", "other/x.txt")
    assert project.bring_up_to_date(name).built == built


def test_position_is_read_from_the_run_configuration(built_project: Project) -> None:
    write_text(built_project.raw / "four.txt", PLAY * 4)
    assert built_project.bring_up_to_date(at=7).built == ["plays/four", "mix"]
    (latest,) = built_project.instance.fetch_materializations(dg.AssetKey(["mix", "mixed_dataset"]), limit=1).records
    shown = latest.asset_materialization.metadata if latest.asset_materialization else {}
    assert shown["segments"].value == 2
    assert str(shown["order"].value).startswith("changed from position 7 on; before it, as plan ")
    assert built_project.bring_up_to_date().built == []


class CountedProcesses(RecordingProgress):
    """Counts the working processes at each progress report."""

    most = 0

    def advanced(self, consumed: int) -> None:
        super().advanced(consumed)
        self.most = max(self.most, len(multiprocessing.active_children()))


@pytest.fixture
def notes(project: Project) -> Project:
    """A project with one large partition, of notes, in many chunks."""
    write_jsonl(project.raw / "notes.jsonl", ["a note of twenty words or so"] * 1000)
    declare_corpus(project.workspace.data, "notes", "raw/*.jsonl")
    return replace(project, workspace=replace(project.workspace, chunk_bytes=1000))


def test_chunks_of_a_large_partition_are_shared_by_all_processes(notes: Project) -> None:
    counted = CountedProcesses()
    outcome = notes.bring_up_to_date(progress=counted, processes=2)
    assert (sorted(outcome.built), outcome.failed) == (sorted([*ALL, "notes/all"]), {})
    assert counted.most == 2
    assert sum(counted.consumed) == sum(path.stat().st_size for path in notes.raw.iterdir())
    assert counted.begun == ["notes/all", "plays/three", "plays/two", "plays/one", "mix"]  # the largest first
    assert not list((notes.workspace.store.scratch("chunks", "notes/all")).rglob("*.arrow"))


@pytest.mark.parametrize(("configured", "most"), [({"processes": 3}, 3), ({}, 0)])
def test_run_of_assets_has_as_many_processes_as_are_configured(notes: Project, configured: dict[str, int], most: int) -> None:
    counted = CountedProcesses()
    catalog = load_catalog(notes.workspace.data)
    job = catalog_definitions(catalog, notes.workspace, lambda _work, _log: nullcontext(counted)).resolve_implicit_global_asset_job_def()
    sync_partitions(notes.instance, catalog.corpora["notes"], ["all"])
    result = job.execute_in_process(
        run_config={"ops": {"notes__partitions": {"config": configured}}},
        instance=notes.instance,
        partition_key="all",
        asset_selection=[dg.AssetKey(["notes", step]) for step in PARTITION_STEPS],
    )
    assert result.success
    assert counted.most == most


def test_many_partitions_are_one_run_with_a_data_version_each(built_project: Project) -> None:
    runs = built_project.instance.get_runs()
    assert [run.job_name for run in runs] == ["mix_build", "materialize"]
    locations = {run.remote_job_origin and run.remote_job_origin.repository_origin.get_label() for run in runs}
    assert locations == {"__repository__@phyagi-assets"}, "the UI shows no others in its timeline"
    key = dg.AssetKey(["plays", "numpy_cache"])
    tags = built_project.instance.event_log_storage.get_latest_tags_by_partition(
        key, dg.DagsterEventType.ASSET_MATERIALIZATION, ["dagster/data_version"]
    )
    published = {play: built_project.workspace.store.open(f"plays/numpy_cache/{play}") for play in ("one", "two", "three")}
    assert {play: of["dagster/data_version"] for play, of in tags.items()} == {
        play: artifact.fingerprint for play, artifact in published.items() if artifact
    }


def test_killed_build_resumes_with_the_missing_chunks(notes: Project) -> None:
    class Killed(RecordingProgress):
        def advanced(self, consumed: int) -> None:
            super().advanced(consumed)
            if len(self.consumed) == 20:
                raise KeyboardInterrupt

    whole, rest = notes.workspace.store.scratch("chunks", "notes/all"), RecordingProgress()
    with pytest.raises(KeyboardInterrupt):
        notes.bring_up_to_date("notes", progress=Killed())
    kept = len(list(whole.rglob("*.arrow")))
    assert kept > 10
    encoded: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        original = tokenize_chunks.encode_chunk
        patched.setattr(
            tokenize_chunks, "encode_chunk", lambda recipe, number, *of: (encoded.append(number), original(recipe, number, *of))[1]
        )
        assert notes.bring_up_to_date("notes", progress=rest).built == ["notes/all"]
    assert min(encoded) == kept
    assert not list(whole.rglob("*.arrow"))
