"""The sensor keeps Dagster's partitions equal to those of the sources."""

from pathlib import Path

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from sqlalchemy import Connection, Engine, event

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.partitions import partition_changes, sync_partitions
from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from tests.project import PLAY, Project
from tests.support import declare_corpus, write_text


def tick(project: Project) -> dg.SensorResult:
    sensor = project.definitions.resolve_sensor_def("partitions")
    result = sensor(dg.build_sensor_context(instance=project.instance))
    assert isinstance(result, dg.SensorResult)
    return result


def added(result: dg.SensorResult) -> set[str]:
    return requested(result, dg.AddDynamicPartitionsRequest)


def deleted(result: dg.SensorResult) -> set[str]:
    return requested(result, dg.DeleteDynamicPartitionsRequest)


def requested(result: dg.SensorResult, kind: type) -> set[str]:
    return {key for request in result.dynamic_partitions_requests or [] if isinstance(request, kind) for key in request.partition_keys}


def test_new_partitions_are_added_and_missing_partitions_removed(project: Project) -> None:
    assert added(tick(project)) == {"one", "two", "three"}
    project.bring_up_to_date()
    (project.raw / "one.txt").unlink()
    write_text(project.raw / "four.txt", PLAY)
    result = tick(project)
    assert added(result) == {"four"}
    assert deleted(result) == {"one"}
    assert str(result.skip_reason and result.skip_reason.skip_message) == "plays: 1 partition added, 1 partition retired."


def test_removed_partition_is_not_taken_for_recorded_when_it_comes_back(project: Project) -> None:
    tick(project)
    recorded = RecordedDigests(Path(project.instance.root_directory))
    recorded.remember({"plays": "as it was"})
    project.bring_up_to_date()
    tick(project)
    assert recorded.match({"plays": "as it was"})
    (project.raw / "one.txt").unlink()
    assert deleted(tick(project)) == {"one"}
    assert not recorded.match({"plays": "as it was"})


def test_each_way_of_removing_a_partition_forgets_that_the_corpus_is_recorded(built_project: Project) -> None:
    corpus = load_catalog(built_project.workspace.data).corpora["plays"]
    recorded = RecordedDigests(Path(built_project.instance.root_directory))
    for listed, change in (({"one", "two"}, sync_partitions), ({"one"}, partition_changes)):
        recorded.remember({"plays": "as it was"})
        change(built_project.instance, corpus, {"one", "two", "three"} & set(built_project.instance.get_dynamic_partitions("plays")))
        assert recorded.match({"plays": "as it was"})
        change(built_project.instance, corpus, listed)
        assert not recorded.match({"plays": "as it was"})


def test_partitions_are_added_while_another_process_adds_the_same(project: Project) -> None:
    corpus = load_catalog(project.workspace.data).corpora["plays"]
    with dg.DagsterInstance.from_config(project.instance.root_directory) as other:
        conflicts = []

        def add_before(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
            if statement.startswith("INSERT INTO dynamic_partitions") and not conflicts:
                conflicts.append(statement)
                other.add_dynamic_partitions("plays", ["one", "two"])

        event.listen(Engine, "before_cursor_execute", add_before)
        try:
            sync_partitions(project.instance, corpus, {"one", "two", "three"})
        finally:
            event.remove(Engine, "before_cursor_execute", add_before)
    assert conflicts
    assert set(project.instance.get_dynamic_partitions("plays")) == {"one", "two", "three"}


def test_partitions_of_a_backfill_in_progress_are_retired_when_it_ends(built_project: Project) -> None:
    instance, targeted = built_project.instance, dg.AssetKey(["plays", "numpy_cache"])
    backfill = PartitionBackfill(
        backfill_id="b",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=0.0,
        asset_selection=[targeted],
    )
    instance.add_backfill(backfill)
    (built_project.raw / "one.txt").unlink()
    result = tick(built_project)
    assert not result.dynamic_partitions_requests
    assert str(result.skip_reason and result.skip_reason.skip_message) == "plays: 1 partition to retire after the backfill in progress."
    assert "one" in instance.get_dynamic_partitions("plays")
    instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_FAILED))
    assert deleted(tick(built_project)) == {"one"}


def test_unchanged_partitions_need_no_request(built_project: Project) -> None:
    result = tick(built_project)
    assert not result.dynamic_partitions_requests
    assert result.skip_reason


def test_unlistable_source_does_not_stop_other_corpora(project: Project) -> None:
    declare_corpus(project.workspace.data, "absent", "nowhere/*.txt")
    assert added(tick(project)) == {"one", "two", "three"}
    project.bring_up_to_date("plays")
    skipped = tick(project).skip_reason
    assert skipped
    assert "absent.yaml:3: source.path: no file matches" in str(skipped.skip_message)
