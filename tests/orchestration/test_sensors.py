"""Sensors scan sources and request each new or changed partition once."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.storage.tags import SCHEDULE_NAME_TAG
from dagster._utils.schedules import schedule_execution_time_iterator

from phyagi_assets.build import scan
from phyagi_assets.build.outcome import StepResult
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import load_catalog, read_catalog
from phyagi_assets.errors import SourceDownError, TokenizerDownError
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.orchestration import partition_log
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.names import CORPUS_TAG, FAILURE_TAG, LASTING_TAG, LAUNCHED_BY
from phyagi_assets.orchestration.progress import logged_progress
from phyagi_assets.orchestration.sensors import run_request
from phyagi_assets.sources import digests
from phyagi_assets.sources.listing import Sources
from phyagi_assets.store.data_folders import claim, other_folder
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.tokenizers.identity import Identities
from tests.project import PLAY, Project
from tests.support import GPT2, PARTITION_STEPS, build, declare_corpus, make_unreadable, write_text

JOB = "plays_build_stale"
OP = f"{JOB}__partitions"


@pytest.fixture(autouse=True)
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the source files that have been read."""
    names: list[str] = []

    def counted(path: Path) -> str:
        names.append(path.stem)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", counted)
    monkeypatch.setitem(digests.DigestCache.__init__.__kwdefaults__, "quiet", 0.0)
    return names


def tick(project: Project, cursor: str = "", corpus: str = "plays") -> dg.SensorResult:
    result = project.definitions.resolve_sensor_def(f"{corpus}_refresh")(dg.build_sensor_context(instance=project.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> set[str]:
    """Return the requested partitions, of at most one run."""
    assert len(result.run_requests or []) <= 1
    return {key for request in result.run_requests or [] for key in partitions_of(request)}


def partitions_of(request: dg.RunRequest) -> list[str]:
    found: list[str] = request.run_config["ops"][OP]["config"]["partitions"]["plays"]
    return found


def carry_out(project: Project, result: dg.SensorResult) -> list[bool]:
    """Add partitions and execute runs as the daemon does; return whether each run succeeded."""
    for change in result.dynamic_partitions_requests or []:
        if isinstance(change, dg.AddDynamicPartitionsRequest):
            project.instance.add_dynamic_partitions("plays", list(change.partition_keys))
        else:
            for key in change.partition_keys:
                project.instance.delete_dynamic_partition("plays", key)
    job = project.definitions.resolve_job_def(JOB)
    return [
        job.execute_in_process(
            instance=project.instance, run_config=dict(request.run_config), tags=dict(request.tags), raise_on_error=False
        ).success
        for request in result.run_requests or []
    ]


def begun(project: Project, request: dg.RunRequest, status: DagsterRunStatus) -> dg.DagsterRun:
    """Record a requested run with a status."""
    job = project.definitions.resolve_job_def(JOB)
    return project.instance.create_run_for_job(job, status=status, run_config=request.run_config, tags={**job.run_tags, **request.tags})


def build_unseen(project: Project) -> None:
    """Build everything and record it in Dagster without one run per partition."""
    catalog = load_catalog(project.workspace.data)
    for partition, built in build(catalog.corpora["plays"], project.workspace).items():
        project.instance.add_dynamic_partitions("plays", [partition])
        for stage, of in zip(PARTITION_STEPS, built, strict=True):
            tags = {"dagster/data_version": of.artifact.fingerprint}
            project.instance.report_runless_asset_event(dg.AssetMaterialization(["plays", stage], partition=partition, tags=tags))
    assert project.bring_up_to_date().built == ["mix"]


def test_new_partitions_are_requested_once(project: Project) -> None:
    first = tick(project)
    assert asked(first) == {"one", "three", "two"}
    assert all(carry_out(project, first))
    second = tick(project, str(first.cursor))
    assert not second.run_requests
    assert second.skip_reason
    assert project.bring_up_to_date().built == ["mix"]


def test_new_partition_among_ten_is_one_run_and_reads_no_other(project: Project, read: list[str]) -> None:
    for i in range(7):
        write_text(project.raw / f"play{i:03d}.txt", PLAY)
    build_unseen(project)
    settled = tick(project).cursor
    read.clear()
    write_text(project.raw / "new.txt", PLAY)
    result = tick(project, str(settled))
    assert asked(result) == {"new"}
    assert read == []
    assert project.bring_up_to_date().built == ["plays/new", "mix"]
    assert set(read) == {"new"}


def test_changed_file_is_requested_and_touched_file_is_not(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    os.utime(built_project.raw / "one.txt")
    assert asked(tick(built_project)) == {"two"}


def test_touched_file_too_large_to_hash_is_one_run_of_all_steps(built_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    tick(built_project)  # reads the files once in this folder
    monkeypatch.setattr(scan, "READ_AT_MOST", 10)
    os.utime(built_project.raw / "one.txt")
    result = tick(built_project)
    assert asked(result) == {"one"}
    assert all(carry_out(built_project, result))
    assert not tick(built_project).run_requests


def test_partitions_of_a_run_in_progress_are_not_requested_again(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    (request,) = tick(built_project).run_requests or []
    run = begun(built_project, request, DagsterRunStatus.STARTED)
    again = tick(built_project)
    assert not again.run_requests
    assert "under way" in str(again.skip_reason)
    write_text(built_project.raw / "two.txt", PLAY * 8)  # another content is another run
    assert asked(tick(built_project)) == {"two"}
    assert {name: run.tags[name] for name in (CORPUS_TAG, LAUNCHED_BY)} == {CORPUS_TAG: "plays", LAUNCHED_BY: "refresh"}


def test_lasting_failure_is_not_retried_until_an_input_changes(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", b"\xff\xfe no text")
    result = tick(built_project)
    assert carry_out(built_project, result) == [False]
    again = tick(built_project)
    assert not again.run_requests
    assert "not requested again until" in str(again.skip_reason)
    assert followers(built_project) == 0
    write_text(built_project.raw / "two.txt", PLAY * 9)
    assert asked(tick(built_project)) == {"two"}


def test_lost_version_or_tokenizer_replaced_in_place_is_requested_from_an_unchanged_source(built_project: Project) -> None:
    data, every = built_project.workspace.data, {"one", "three", "two"}
    shutil.copytree(GPT2, data / "tokenizers" / "gpt2")
    declare_corpus(data, "plays", "raw/*.txt", partition_by="file", tokenizer="tokenizers/gpt2")
    settled = str(tick(built_project).cursor)
    assert not tick(built_project, settled).run_requests
    store = built_project.workspace.store
    (store.published_path("plays/numpy_cache/two") / "train.npy").unlink()
    assert asked(tick(built_project, settled)) == {"two"}
    shutil.rmtree(store.published_path("plays/numpy_cache/three"))
    assert asked(tick(built_project, settled)) == {"three", "two"}
    shutil.rmtree(store.pointer("plays/numpy_cache/two").parent)
    (request,) = tick(built_project, settled).run_requests or []
    assert set(partitions_of(request)) == every
    begun(built_project, request, DagsterRunStatus.CANCELED)
    assert not tick(built_project, settled).run_requests
    write_text(data / "tokenizers" / "gpt2" / "notes.json", b"{}")
    assert asked(tick(built_project, settled)) == every


def test_cancelled_run_is_not_requested_again(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    (request,) = tick(built_project).run_requests or []
    begun(built_project, request, DagsterRunStatus.CANCELED)
    assert not tick(built_project).run_requests
    write_text(built_project.raw / "two.txt", PLAY * 8)
    assert asked(tick(built_project)) == {"two"}


def test_content_built_with_another_fingerprint_is_not_requested_until_another_version_is_published(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    corpus = load_catalog(built_project.workspace.data).corpora["plays"]
    before = scan.scan_source(corpus, built_project.workspace).due
    request = run_request(built_project.instance, corpus, before).request
    assert request
    assert carry_out(built_project, dg.SensorResult(run_requests=[request])) == [True]
    built = built_project.workspace.store.published_fingerprint("plays/numpy_cache/two")
    again = run_request(built_project.instance, corpus, [replace(item, published=built) for item in before])
    assert (again.request, again.settled) == (None, ["two"])
    gone = [replace(item, published="") for item in before]
    assert run_request(built_project.instance, corpus, gone).request


def test_partition_of_a_store_restored_from_a_backup_is_requested_again(built_project: Project) -> None:
    store, addresses = built_project.workspace.store, [f"plays/{step}/two" for step in PARTITION_STEPS]
    backup = [artifact for address in addresses if (artifact := store.open(address))]
    write_text(built_project.raw / "two.txt", PLAY * 9)
    assert carry_out(built_project, tick(built_project)) == [True]
    for artifact in backup:
        shutil.rmtree(store.published_path(artifact.address))
        store.publish(artifact)
    assert asked(tick(built_project)) == {"two"}


def test_edited_declaration_fails_ticks_and_runs_without_building(built_project: Project) -> None:
    loaded = built_project.definitions
    sensor = loaded.resolve_sensor_def("plays_refresh")
    write_text(built_project.raw / "two.txt", PLAY * 9)
    before = tick(built_project)
    declare_corpus(built_project.workspace.data, "plays", "raw/*.txt", partition_by="file", append_eos=False)
    for name in ("plays_refresh", "declarations"):
        with pytest.raises(dg.Failure, match="reload the code location"):
            loaded.resolve_sensor_def(name)(dg.build_sensor_context(instance=built_project.instance))
    assert sensor.name == "plays_refresh"
    built = built_project.materialized("plays", "raw_dataset")
    assert carry_out(built_project, before) == [False]  # its process has the new declaration
    assert built_project.materialized("plays", "raw_dataset") == built
    reloaded = asked(tick(built_project))
    assert reloaded == {"one", "two", "three"}


def test_requested_run_that_a_user_reruns_uses_the_current_declarations(built_project: Project) -> None:
    write_text(built_project.raw / "two.txt", b"\xff\xfe no text")
    result = tick(built_project)
    assert carry_out(built_project, result) == [False]
    (parent,) = built_project.instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY: "refresh"}))
    declare_corpus(built_project.workspace.data, "plays", "raw/*.txt", partition_by="file", append_eos=False)
    write_text(built_project.raw / "two.txt", PLAY * 9)

    def again() -> dg.DagsterRun:
        job = built_project.definitions.resolve_job_def(JOB)
        done = job.execute_in_process(
            instance=built_project.instance,
            run_config=parent.run_config,
            tags={**parent.tags, "dagster/parent_run_id": parent.run_id, "dagster/root_run_id": parent.run_id},
            raise_on_error=False,
        )
        return done.dagster_run

    assert again().status is DagsterRunStatus.SUCCESS
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Sources, "partitions", _down)
        failed = built_project.instance.get_run_by_id(again().run_id)
    assert failed
    assert (failed.tags[FAILURE_TAG], failed.tags[LASTING_TAG]) == ("open", "[]"), "not what the first run ended with"


def _down(*_: object) -> None:
    raise SourceDownError("s3://raw: cannot be reached")


@pytest.mark.parametrize(
    ("owner", "asked", "error"),
    [(Sources, "partitions", SourceDownError), (Identities, "identity", TokenizerDownError)],
    ids=["source", "tokenizer"],
)
def test_run_of_a_schedule_is_retried_if_its_source_or_tokenizer_is_down(
    built_project: Project, monkeypatch: pytest.MonkeyPatch, owner: type, asked: str, error: type[Exception]
) -> None:
    write_text(built_project.raw / "two.txt", PLAY * 9)
    (request,) = tick(built_project).run_requests or []
    workspace = replace(built_project.workspace, retry_policy=RetryPolicy(pause=0.0))
    job = catalog_definitions(load_catalog(workspace.data), workspace, logged_progress).resolve_job_def(JOB)
    answer, outages = getattr(owner, asked), list[Exception]()

    def ask(*arguments: Any, **options: Any) -> Any:
        if outages:
            raise outages.pop()
        return answer(*arguments, **options)

    monkeypatch.setattr(owner, asked, ask)
    for by, succeeds in (({}, False), ({SCHEDULE_NAME_TAG: "plays_refresh_schedule"}, True)):
        outages[:] = [error("s3://raw: cannot be reached")]
        done = job.execute_in_process(
            instance=built_project.instance, run_config=request.run_config, tags={**request.tags, **by}, raise_on_error=False
        )
        assert done.success is succeeds


def test_comment_in_a_declaration_makes_nothing_stale(built_project: Project) -> None:
    sensor = built_project.definitions.resolve_sensor_def("plays_refresh")
    path = built_project.workspace.data / "corpora" / "plays.yaml"
    path.write_text(f"# Three plays.\n{path.read_text()}")
    assert not sensor(dg.build_sensor_context(instance=built_project.instance)).run_requests  # type: ignore[union-attr]


def test_broken_declaration_is_reported_and_others_are_refreshed(project: Project) -> None:
    write_text(project.workspace.data / "corpora" / "torn.yaml", "name: torn\nsource: [\n")
    definitions = catalog_definitions(read_catalog(project.workspace.data)[0], project.workspace, logged_progress)
    shown = [spec for spec in definitions.resolve_all_asset_specs() if spec.key.path[0] == "torn"]
    assert str(shown[0].description).startswith("torn.yaml:")
    with pytest.raises(dg.Failure, match=r"torn.yaml"):
        definitions.resolve_sensor_def("declarations")(dg.build_sensor_context(instance=project.instance))
    result = definitions.resolve_sensor_def("plays_refresh")(dg.build_sensor_context(instance=project.instance))
    assert isinstance(result, dg.SensorResult)
    assert asked(result) == {"one", "three", "two"}


def followers(project: Project) -> int:
    """Return the numbers of partitions that the automation requests in two evaluations."""
    first = dg.evaluate_automation_conditions(defs=project.definitions, instance=project.instance)
    second = dg.evaluate_automation_conditions(defs=project.definitions, instance=project.instance, cursor=first.cursor)
    return first.total_requested + second.total_requested


def test_refresh_requests_one_run_per_change_and_automation_none(built_project: Project) -> None:
    defs = built_project.definitions
    cursor = dg.evaluate_automation_conditions(defs=defs, instance=built_project.instance).cursor
    write_text(built_project.raw / "two.txt", PLAY * 9)
    write_text(built_project.raw / "new.txt", PLAY)
    result = tick(built_project)
    assert asked(result) == {"two", "new"}
    assert carry_out(built_project, result) == [True]
    followed = dg.evaluate_automation_conditions(defs=defs, instance=built_project.instance, cursor=cursor)
    assert followed.total_requested == 0
    assert not tick(built_project).run_requests


def test_missing_partitions_are_removed_and_their_artifacts_kept(built_project: Project) -> None:
    (built_project.raw / "one.txt").unlink()
    result = tick(built_project)
    assert not result.run_requests
    carry_out(built_project, result)
    assert set(built_project.instance.get_dynamic_partitions("plays")) == {"two", "three"}
    assert built_project.workspace.store.open("plays/numpy_cache/one")


def test_unlistable_source_fails_the_tick_and_removes_no_partition(built_project: Project) -> None:
    for path in built_project.raw.iterdir():
        path.unlink()
    with pytest.raises(dg.Failure, match=r"plays.yaml:3: source.path: no file matches"):
        tick(built_project)
    assert len(built_project.instance.get_dynamic_partitions("plays")) == 3


def test_files_that_a_source_leaves_out_are_shown_by_ticks_and_runs(project: Project) -> None:
    hidden = project.raw / ".four.txt"
    write_text(hidden, PLAY)
    told = f"1 file left out: 1 hidden ({hidden})"
    result = tick(project)
    assert "four" not in asked(result)
    assert all(carry_out(project, result))
    assert f"plays: {told}" in str(tick(project).skip_reason)
    event = project.instance.get_latest_materialization_event(dg.AssetKey(["plays", "raw_dataset"]))
    assert event
    assert event.asset_materialization
    assert event.asset_materialization.metadata["files left out of the source"].value == told


def test_name_used_by_another_data_folder_is_reported_by_ticks_and_runs(project: Project, tmp_path: Path) -> None:
    declare_corpus(tmp_path / "other", "plays", "raw/*.txt")
    store, data = project.workspace.store, project.workspace.data
    build_unseen(project)
    claim(store, tmp_path / "other", ["plays"])
    assert f"plays: was built from the data folder {tmp_path / 'other'}, and now from {data}" in str(tick(project).skip_reason)
    write_text(project.raw / "two.txt", PLAY * 9)
    result = tick(project)
    assert carry_out(project, result) == [True]
    (record,) = project.instance.get_run_records(dg.RunsFilter(tags={LAUNCHED_BY: "refresh"}))
    logged = [entry.user_message for entry in project.instance.all_logs(record.dagster_run.run_id)]
    assert any("was built from the data folder" in message for message in logged)
    assert other_folder(store, data, "plays") == ""


def test_schedule_refreshes_at_its_cron_times(project: Project) -> None:
    declare_corpus(project.workspace.data, "plays", "raw/*.txt", partition_by="file", refresh="0 3 * * *")
    schedule = project.definitions.resolve_schedule_def("plays_refresh_schedule")
    assert schedule.cron_schedule == "0 3 * * *"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    data = schedule.evaluate_tick(
        dg.build_schedule_context(instance=project.instance, repository_def=project.definitions.get_repository_def())
    )
    (request,) = data.run_requests or []
    assert sorted(partitions_of(request)) == ["one", "three", "two"]
    assert not any(sensor.name == "plays_refresh" for sensor in project.definitions.sensors or [])
    assert set(project.instance.get_dynamic_partitions("plays")) == {"one", "two", "three"}


@pytest.mark.parametrize(
    ("zone", "change"), [("Europe/Berlin", "2027-03-28"), ("Europe/Berlin", "2027-10-31"), ("America/New_York", "2027-03-14")]
)
def test_schedule_in_a_zone_fires_once_on_the_day_of_a_change_of_its_time(project: Project, zone: str, change: str) -> None:
    declare_corpus(project.workspace.data, "plays", "raw/*.txt", partition_by="file", refresh="30 2 * * *", timezone=zone)
    schedule = project.definitions.resolve_schedule_def("plays_refresh_schedule")
    day = datetime.fromisoformat(change).replace(tzinfo=ZoneInfo(zone))
    before = (day - timedelta(days=1)).timestamp()
    ticks = islice(schedule_execution_time_iterator(before, str(schedule.cron_schedule), schedule.execution_timezone), 3)
    assert [tick.astimezone(day.tzinfo).date() - day.date() for tick in ticks] == [timedelta(days=of) for of in (-1, 0, 1)]


def test_sensor_interval_is_the_declared_span(project: Project) -> None:
    declare_corpus(project.workspace.data, "plays", "raw/*.txt", partition_by="file", refresh="10 minutes")
    sensor = project.definitions.resolve_sensor_def("plays_refresh")
    assert (sensor.minimum_interval_seconds, sensor.default_status) == (600, dg.DefaultSensorStatus.RUNNING)


def test_automation_builds_after_a_change_and_not_after_a_touch(built_project: Project) -> None:
    defs = built_project.definitions
    cursor = dg.evaluate_automation_conditions(defs=defs, instance=built_project.instance).cursor

    def followers_of(*stages: str) -> int:
        nonlocal cursor
        job = defs.resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(
            instance=built_project.instance, partition_key="two", asset_selection=[dg.AssetKey(["plays", stage]) for stage in stages]
        ).success
        found = dg.evaluate_automation_conditions(defs=defs, instance=built_project.instance, cursor=cursor)
        cursor = found.cursor
        return found.total_requested

    os.utime(built_project.raw / "two.txt")
    assert followers_of("raw_dataset") == 0
    write_text(built_project.raw / "two.txt", PLAY * 9)
    assert followers_of("raw_dataset") == 2  # the tokens and arrays of the partition
    assert followers_of("tokenized_arrow", "numpy_cache") == 0


def test_failed_partition_is_requested_again_only_if_it_may_succeed_and_others_are_built(project: Project) -> None:
    write_text(project.raw / "two.txt", b"\xff\xfe no text")
    result = tick(project)
    assert asked(result) == {"one", "three", "two"}
    assert carry_out(project, result) == [False]
    (run,) = project.instance.get_runs(dg.RunsFilter(tags={LAUNCHED_BY: "refresh"}))
    assert run.tags[LASTING_TAG] == '["plays/two"]'
    assert {str(artifact).partition("/")[2] for artifact in project.workspace.store.list()} >= {"numpy_cache/one", "numpy_cache/three"}
    again = tick(project)
    assert not again.run_requests
    assert "1 partition: failed; not requested again until" in str(again.skip_reason)


def test_file_that_cannot_be_read_fails_alone_and_is_requested_again(built_project: Project) -> None:
    write_text(built_project.raw / "one.txt", PLAY * 9)
    make_unreadable(built_project.raw / "two.txt")
    result = tick(built_project)
    assert asked(result) == {"one", "two"}
    assert carry_out(built_project, result) == [False]
    assert asked(tick(built_project)) == {"two"}, "the disk may be right again"


def test_source_missing_at_the_start_of_a_run_is_requested_again(project: Project) -> None:
    result = tick(project)
    project.raw.rename(project.raw.with_name("elsewhere"))
    assert carry_out(project, result) == [False]
    project.raw.with_name("elsewhere").rename(project.raw)
    assert asked(tick(project)) == {"one", "three", "two"}


def test_partitions_of_a_cancelled_run_are_not_requested(project: Project) -> None:
    result = tick(project)
    (request,) = result.run_requests or []
    carry_out(project, dg.SensorResult(dynamic_partitions_requests=result.dynamic_partitions_requests))
    begun(project, request, DagsterRunStatus.CANCELED)
    assert "3 partitions: cancelled by a user" in str(tick(project).skip_reason)


def test_steps_that_a_run_will_record_are_not_requested(built_project: Project) -> None:
    state = [dg.evaluate_automation_conditions(defs=built_project.definitions, instance=built_project.instance).cursor]
    requested: list[int] = []

    def evaluate() -> None:
        found = dg.evaluate_automation_conditions(defs=built_project.definitions, instance=built_project.instance, cursor=state[0])
        state[0] = found.cursor
        requested.append(found.total_requested)

    write_text(built_project.raw / "one.txt", PLAY * 9)
    write_text(built_project.raw / "two.txt", PLAY * 9)
    write = partition_log.PartitionLog._materialization

    def evaluated_between(log: partition_log.PartitionLog, work: Work, done: StepResult) -> dg.AssetMaterialization:
        if work.key == "one" and done.step == "tokenized_arrow":
            evaluate()  # the new raw_dataset is recorded, and the steps that follow it are not
        return write(log, work, done)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(partition_log.PartitionLog, "_materialization", evaluated_between)
        runner = built_project.runner("plays")
        assert len(runner.run(runner.stale()).built) == 2
    evaluate()
    evaluate()
    assert requested == [0, 0, 0]


@pytest.mark.parametrize("by", ["refresh", "assets"])
def test_partitions_that_failed_in_a_run_of_all_steps_are_not_requested_by_automation(built_project: Project, by: str) -> None:
    defs, instance = built_project.definitions, built_project.instance
    cursor = dg.evaluate_automation_conditions(defs=defs, instance=instance).cursor
    for name in ("one", "two"):
        write_text(built_project.raw / f"{name}.txt", b"caf\xe9")  # its raw_dataset is recorded, and its tokens are not
    if by == "refresh":
        assert carry_out(built_project, tick(built_project)) == [False]
    else:
        keys = [dg.AssetKey(["plays", step]) for step in PARTITION_STEPS]
        for name in ("one", "two"):
            job = defs.resolve_implicit_global_asset_job_def()
            job.execute_in_process(instance=instance, partition_key=name, asset_selection=keys, raise_on_error=False)
    assert dg.evaluate_automation_conditions(defs=defs, instance=instance, cursor=cursor).total_requested == 0
