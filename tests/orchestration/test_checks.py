"""Checks run with each materialization, and block later steps if they fail."""

import shutil
from typing import Any

import dagster as dg
import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration import check_log
from phyagi_assets.orchestration.store_checks import STORED, stored_check
from phyagi_assets.steps.checks.check import SOUND
from tests.project import Project
from tests.robustness.damage import flip_bit
from tests.support import PARTITION_STEPS, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import store_contents

LOOKED_AT = {
    "tokenized_arrow": ["as_written", "ids_in_vocabulary", "documents_end_with_eos", "decoded_and_encoded_again", "rows_as_counted"],
    "numpy_cache": ["as_written", "ids_in_vocabulary", "documents_end_with_eos", "document_ends", "counts_of_tokenized"],
}


def run(project: Project, *keys: str, partition: str | None = "all") -> dg.ExecuteInProcessResult:
    """Materialize some assets of the corpus ``notes``, as the UI does."""
    job = project.definitions.resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey(key.split("/")) for key in keys]
    return job.execute_in_process(instance=project.instance, partition_key=partition, asset_selection=selected, raise_on_error=False)


def checked(project: Project, result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    """Return the result of each check, by asset and name."""
    return {f"{of.asset_key.path[-1]}.{of.check_name}": of.passed for of in evaluations(project, result)}


def evaluations(project: Project, result: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    """The results of checks in the records of a run."""
    entries = project.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    return [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]


def declared(project: Project, **limits: float) -> None:
    declare_corpus(project.workspace.data, "notes", "raw/notes.jsonl", limits=limits)


@pytest.fixture
def notes(project: Project) -> Project:
    """A corpus of which a third are duplicates, and a mixture of it."""
    write_jsonl(project.raw / "notes.jsonl", [f"Note {i % 20}, and some words more." for i in range(30)])
    declared(project)
    declare(project.workspace.data, "mixtures", name="noted", seq_len=16, datasets=[{"corpus": "notes"}])
    project.instance.add_dynamic_partitions("notes", ["all"])
    return project


def test_materialization_records_its_checks(notes: Project) -> None:
    result = run(notes, *(f"notes/{stage}" for stage in PARTITION_STEPS))
    assert result.success
    assert checked(notes, result) == {"tokenized_arrow.sound": True, "tokenized_arrow.within_limits": True, "numpy_cache.sound": True}
    made = {f"{of.asset_key.path[-1]}.{of.check_name}": of for of in evaluations(notes, result)}
    assert {of.partition for of in made.values()} == {"all"}
    limits = made["tokenized_arrow.within_limits"].metadata
    assert limits["duplicates: duplicates"].value == 10
    assert limits["duplicates: share"].value == pytest.approx(1 / 3, abs=1e-6)
    for stage, looked_at in LOOKED_AT.items():
        table = made[f"{stage}.sound"].metadata["checks"].value
        assert [line.split(" | ")[:2] for line in table.splitlines()[2:]] == [[f"| {name}", "passed"] for name in looked_at]
    assert checked(notes, run(notes, "noted/mixed_dataset", partition=None)) == {"mixed_dataset.sound": True}


def test_run_of_many_partitions_records_each_check_and_has_one_event_for_all_that_passed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted: list[int] = []
    insert = check_log.insert_passed
    monkeypatch.setattr(check_log, "insert_passed", lambda *of: inserted.append(len(of[-1])) or insert(*of))
    monkeypatch.setattr(check_log, "_SECONDS", 0.0)  # as if each partition took long
    keys = [f"small{number:02}" for number in range(12)]
    for key in keys:
        write_jsonl(project.raw / "small" / f"{key}.jsonl", [f"Note of {key}."])
    write_text(project.raw / "small" / "small05.jsonl", b"\xff")
    declare_corpus(project.workspace.data, "small", "raw/small/*.jsonl", partition_by="file")
    project.instance.add_dynamic_partitions("small", keys)
    job = project.definitions.resolve_implicit_global_asset_job_def()
    selected = [dg.AssetKey(["small", stage]) for stage in PARTITION_STEPS]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    result = job.execute_in_process(instance=project.instance, asset_selection=selected, tags=tags, raise_on_error=False)
    assert not result.success
    logged = {(of.asset_key.path[-1], of.partition, of.passed) for of in evaluations(project, result)}
    stages = PARTITION_STEPS[1:]
    assert logged == {(stage, key, passed) for stage in stages for key, passed in ((None, True), ("small05", False))}
    checks = [dg.AssetCheckKey(dg.AssetKey(["small", stage]), SOUND) for stage in stages]
    found = project.instance.event_log_storage.get_asset_check_partition_info(checks)
    assert {(of.check_key.asset_key.path[-1], of.partition_key, of.latest_execution_status.value) for of in found if of.partition_key} == {
        (stage, key, "FAILED" if key == "small05" else "SUCCEEDED") for stage in stages for key in keys
    }
    assert all(of.is_current for of in found if of.partition_key != "small05")
    assert inserted == [3] * 11  # at the end of each partition


def test_failed_check_publishes_nothing_and_stops_later_steps(notes: Project) -> None:
    declared(notes, duplicates=0.1)
    result = run(notes, *(f"notes/{stage}" for stage in PARTITION_STEPS))
    assert not result.success
    assert checked(notes, result) == {"tokenized_arrow.sound": True, "tokenized_arrow.within_limits": False, "numpy_cache.sound": False}
    (unmade,) = [of for of in evaluations(notes, result) if of.asset_key.path[-1] == "numpy_cache"]
    assert str(unmade.description).startswith('Not built: check "duplicates" failed')
    assert [notes.materialized("notes", stage) for stage in PARTITION_STEPS] == [1, 0, 0]
    assert list(notes.workspace.store.list()) == ["notes/raw_dataset/all"]
    declared(notes, duplicates=0.5)  # what was written is there, and looked at again
    result = run(notes, *(f"notes/{stage}" for stage in PARTITION_STEPS))
    assert result.success
    assert [notes.materialized("notes", stage) for stage in PARTITION_STEPS] == [2, 1, 1]
    event = notes.instance.get_latest_materialization_event(dg.AssetKey(["notes", "tokenized_arrow"]))
    assert event
    assert event.asset_materialization
    assert event.asset_materialization.metadata["reused"].value is True


def test_failed_check_keeps_the_published_version(notes: Project) -> None:
    declared(notes, duplicates=0.5)
    assert run(notes, *(f"notes/{stage}" for stage in PARTITION_STEPS)).success
    before = notes.workspace.store.pointer("notes/tokenized_arrow/all").resolve()
    write_jsonl(notes.raw / "notes.jsonl", ["The same."] * 30)
    outcome = notes.bring_up_to_date("noted")
    assert set(outcome.failed) == {"notes/all", "noted"}
    message = outcome.failed["notes/all"]
    assert 'check "duplicates" failed: 29 of 30 documents whose text occurs earlier' in message
    assert "limits.duplicates allows 50 %; correct the source, or raise the limit" in message
    assert notes.workspace.store.pointer("notes/tokenized_arrow/all").resolve() == before


def stored(project: Project, corpus: str = "plays") -> Any:
    """Run the check of stored artifacts alone."""
    definition = stored_check(load_catalog(project.workspace.data).corpora[corpus])
    job = dg.Definitions(
        asset_checks=[definition],
        jobs=[dg.define_asset_job("look", selection=dg.AssetSelection.checks(definition))],
        resources=project.definitions.resources,
    ).resolve_job_def("look")
    (evaluation,) = job.execute_in_process(instance=project.instance).get_asset_check_evaluations()
    return evaluation


def test_flipped_bit_is_found_by_the_full_check_and_repaired_by_the_next_run(notes: Project) -> None:
    assert notes.bring_up_to_date().failed == {}
    sound = store_contents(notes.workspace.store.root)
    assert stored(notes).passed
    array = notes.workspace.store.pointer("plays/numpy_cache/two").resolve() / "train.npy"
    flip_bit(array)
    evaluation = stored(notes)
    assert (evaluation.check_name, evaluation.passed) == (f"plays_{STORED}", False)
    assert evaluation.metadata["damaged artifacts"].value == 1
    assert str(array) in evaluation.metadata["damage"].value
    assert stored(notes, "notes").passed
    result = run(notes, "plays/numpy_cache", partition="two")
    assert result.success
    assert store_contents(notes.workspace.store.root) == sound
    assert stored(notes).passed
    (mended,) = [of for of in evaluations(notes, result) if of.check_name == SOUND]
    assert "because of damage" in (mended.description or "")
    pointer = notes.workspace.store.pointer("plays/numpy_cache/two")
    shutil.copytree(pointer.resolve(), pointer.with_name("copied"))
    pointer.unlink()
    pointer.with_name("copied").rename(pointer)
    copied = stored(notes)
    assert (copied.passed, copied.metadata["damaged artifacts"].value) == (False, 0)
    assert copied.description == "1 of 9 artifacts cannot be used as they are, though none is damaged"
