"""The sensor `mixtures` requests each stale plan once, whatever the cause, and nothing while its corpora are being built."""

import os
import shutil
import time
from collections.abc import Mapping

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, InstigatorType, SensorInstigatorData

from phyagi_assets.build.mixture_scan import MixtureScan
from phyagi_assets.declare.catalog import load_catalog, read_catalog
from phyagi_assets.errors import StoreError
from phyagi_assets.orchestration import mixtures
from phyagi_assets.orchestration.code_location import CODE_LOCATION
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.mixtures import mixtures_sensor
from phyagi_assets.orchestration.names import FAILURE_TAG, FOLLOW_CHANGES, LASTING
from phyagi_assets.orchestration.progress import logged_progress
from phyagi_assets.orchestration.recorded import Built
from phyagi_assets.steps import mixture as mixture_step
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.store.local import LocalStore
from tests.project import PLAY, Project, RecordingProgress
from tests.support import build, declare, write_text

KEY = dg.AssetKey(["mix", "mixed_dataset"])


def tick(project: Project, cursor: str | None = None, definitions: dg.Definitions | None = None) -> dg.SensorResult:
    sensor = (definitions or project.definitions).resolve_sensor_def("mixtures")
    result = sensor(dg.build_sensor_context(instance=project.instance, cursor=cursor))
    assert isinstance(result, dg.SensorResult)
    return result


def asked(result: dg.SensorResult) -> list[str]:
    return [str(request.job_name) for request in result.run_requests or []]


def reason(result: dg.SensorResult) -> str:
    assert not result.run_requests
    return str(result.skip_reason.skip_message) if result.skip_reason else ""


def carry_out(project: Project, result: dg.SensorResult, definitions: dg.Definitions | None = None) -> list[bool]:
    return [
        (definitions or project.definitions)
        .resolve_job_def(str(request.job_name))
        .execute_in_process(instance=project.instance, tags=dict(request.tags), raise_on_error=False)
        .success
        for request in result.run_requests or []
    ]


def begun(project: Project, result: dg.SensorResult, status: DagsterRunStatus, tags: Mapping[str, str] | None = None) -> dg.DagsterRun:
    """Record the requested run with a status, as if it had been executed elsewhere."""
    (request,) = result.run_requests or []
    job = project.definitions.resolve_job_def("mix_build")
    return project.instance.create_run_for_job(job, status=status, tags={**request.tags, **(tags or {})})


def later(project: Project) -> None:
    """Backdate the latest publications of the corpus by a minute."""
    os.utime(project.workspace.store.root / "plays" / "numpy_cache", (time.time() - 60,) * 2)


def change(project: Project, name: str = "two", times: int = 9) -> None:
    """Change a play, publish it without a record in Dagster, and backdate the publication by a minute."""
    before = project.workspace.store.published_fingerprint(f"plays/numpy_cache/{name}")
    write_text(project.raw / f"{name}.txt", PLAY * times)
    build(load_catalog(project.workspace.data).corpora["plays"], project.workspace)
    assert project.workspace.store.published_fingerprint(f"plays/numpy_cache/{name}") != before
    later(project)


def inputs(project: Project) -> set[str]:
    plan = project.workspace.store.open("mix/mixed_dataset")
    assert plan
    return set(plan.manifest.inputs["plays"])


@pytest.fixture
def project(built_project: Project) -> Project:
    later(built_project)
    return built_project


def test_mixture_is_requested_once_its_corpus_was_rebuilt_and_is_then_up_to_date(project: Project) -> None:
    assert reason(tick(project)) == "1 mixture up to date."
    write_text(project.raw / "two.txt", PLAY * 9)
    assert project.bring_up_to_date("plays").built == ["plays/two"]
    later(project)
    stale = tick(project)
    assert asked(stale) == ["mix_build"]
    assert carry_out(project, stale) == [True]
    assert project.materialized("mix", "mixed_dataset") == 2
    assert reason(tick(project)) == "1 mixture up to date."
    assert project.bring_up_to_date().built == []


def test_unchanged_mixture_is_not_examined_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    cursor = tick(project).cursor
    with monkeypatch.context() as patched:
        patched.setattr(MixtureScan, "scan", lambda *_: pytest.fail("nothing has changed"))
        assert tick(project, cursor).cursor == cursor
    change(project)
    assert asked(tick(project, cursor)) == ["mix_build"]
    assert asked(tick(project, "what another release left")) == ["mix_build"]


def test_partitions_published_one_after_the_other_are_one_request(project: Project) -> None:
    for name in ("one", "two", "three"):
        change(project, name)
        os.utime(project.workspace.store.root / "plays" / "numpy_cache")
        assert "plays has just changed" in reason(tick(project))
    later(project)
    assert carry_out(project, tick(project)) == [True]
    assert project.materialized("mix", "mixed_dataset") == 2


def test_change_missed_while_the_declaration_was_broken_is_found_after_the_reload(project: Project) -> None:
    path, data = project.workspace.data / "mixtures" / "mix.yaml", project.workspace.data
    declare(data, "mixtures", name="other", seq_len=16, datasets=[{"corpus": "plays"}])
    assert project.bring_up_to_date().built == ["other"]
    good, loaded = path.read_text(), project.definitions
    write_text(path, "name: mix\ndatasets: [\n")
    broken = catalog_definitions(read_catalog(data)[0], project.workspace, logged_progress)
    write_text(project.raw / "two.txt", PLAY * 9)
    assert broken.resolve_job_def("plays_build_stale").execute_in_process(instance=project.instance).success
    later(project)
    other = tick(project, definitions=broken)
    assert asked(other) == ["other_build"]
    assert carry_out(project, other, broken) == [True]
    for definitions in (broken, loaded):
        told = reason(tick(project, definitions=definitions))
        assert "mix.yaml:3: is not YAML" in told
        assert "reload the code location" in told
    write_text(path, good)
    for definitions in (loaded, project.definitions):
        assert asked(tick(project, definitions=definitions)) == ["mix_build"]


def test_mixture_whose_declaration_was_edited_waits_for_the_reload(project: Project) -> None:
    loaded = project.definitions
    change(project)
    declare(project.workspace.data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "plays"}])
    assert "reload the code location" in reason(tick(project, definitions=loaded))
    assert carry_out(project, tick(project)) == [True]
    loaded = project.definitions
    request = tick_after_change(project, "three")
    path = project.workspace.data / "mixtures" / "mix.yaml"
    before = path.read_text()
    declare(project.workspace.data, "mixtures", name="mix", seq_len=64, datasets=[{"corpus": "plays"}])
    assert carry_out(project, request) == [False]  # the declaration was edited while the run was queued
    write_text(path, before)
    assert asked(tick(project, definitions=loaded)) == ["mix_build"], "the edit was undone"


def tick_after_change(project: Project, name: str = "two") -> dg.SensorResult:
    change(project, name)
    result = tick(project)
    assert asked(result) == ["mix_build"]
    return result


def test_failed_run_is_repeated_at_growing_intervals_if_another_may_succeed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    result = tick_after_change(project)

    def full(*_: object, **__: object) -> None:
        raise StoreError("no space left on the disk")

    keys = set()
    with monkeypatch.context() as patched:
        patched.setattr(mixture_step, "plan_mixture", full)
        for _ in range(3):
            keys |= {str(request.run_key) for request in result.run_requests or []}
            assert carry_out(project, result) == [False]
            result = tick(project)
    assert (len(keys), reason(result)) == (3, "mix: failed; will be requested again later")
    change(project, "three")
    assert carry_out(project, tick(project)) == [True]


def test_run_that_failed_for_good_or_was_cancelled_is_not_repeated_until_an_input_changes(project: Project) -> None:
    stale = tick_after_change(project)
    run = begun(project, stale, DagsterRunStatus.FAILURE, {FAILURE_TAG: LASTING})
    assert reason(tick(project)) == "mix: failed; not requested again until an input changes"
    project.instance.delete_run(run.run_id)
    begun(project, stale, DagsterRunStatus.CANCELED)
    assert "cancelled by a user" in reason(tick(project))
    assert asked(tick_after_change(project, "three")) == ["mix_build"]


def test_run_of_a_user_that_failed_for_good_is_not_repeated_by_the_sensor(project: Project) -> None:
    declare(project.workspace.data, "mixtures", name="mix", seq_len=10_000, datasets=[{"corpus": "plays"}])
    job = project.definitions.resolve_implicit_global_asset_job_def()
    assert not job.execute_in_process(instance=project.instance, asset_selection=[KEY], raise_on_error=False).success
    assert reason(tick(project)) == "mix: failed; not requested again until an input changes"
    declare(project.workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "plays"}])
    assert carry_out(project, tick(project)) == [True]


def test_request_has_a_new_key_even_if_a_user_has_deleted_runs(project: Project) -> None:
    result, keys = tick_after_change(project), set[str | None]()
    runs = []
    for _ in range(2):
        keys |= {request.run_key for request in result.run_requests or []}
        runs.append(begun(project, result, DagsterRunStatus.FAILURE))
        result = tick(project)
    project.instance.delete_run(runs[0].run_id)
    (request,) = tick(project).run_requests or []
    assert len({*keys, request.run_key}) == 3


def test_mixtures_that_a_tick_leaves_come_first_in_the_next_tick(project: Project) -> None:
    declare(project.workspace.data, "mixtures", name="new", seq_len=16, datasets=[{"corpus": "plays"}])
    change(project)
    definitions = project.definitions
    jobs = [definitions.resolve_job_def(f"{name}_build") for name in ("mix", "new")]
    sensor = mixtures_sensor(load_catalog(project.workspace.data), jobs, project.workspace, FLOW, seconds=0.0)
    found, cursor = [], None
    for _ in range(3):
        result = sensor(dg.build_sensor_context(instance=project.instance, cursor=cursor))
        assert isinstance(result, dg.SensorResult)
        found, cursor = [*found, *asked(result)], result.cursor
    assert found == ["mix_build", "new_build", "mix_build"]


def test_mixture_in_a_store_that_the_user_may_not_write_to_is_not_requested(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    change(project)
    monkeypatch.setattr(LocalStore, "is_read_only", lambda _self, address: address == "mix/mixed_dataset")
    assert reason(tick(project)) == f"mix: the user who runs Dagster may not write to {project.workspace.store.root}"


def test_mixture_waits_for_runs_that_are_queued_or_in_progress(project: Project) -> None:
    stale = tick_after_change(project)
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME)
    for job in ("plays_build", "plays_build_stale", "materialize", "mix_build"):
        for status in (DagsterRunStatus.QUEUED, DagsterRunStatus.STARTED):
            run = project.instance.create_run_for_job(
                project.definitions.resolve_job_def(job), status=status, remote_job_origin=RemoteJobOrigin(repository, job)
            )
            assert "being built or queued" in reason(tick(project)), job
            project.instance.delete_run(run.run_id)
    assert tick(project).run_requests == stale.run_requests


def test_mixture_waits_for_the_end_of_a_backfill(project: Project) -> None:
    def backfill(asset: str, status: BulkActionStatus) -> PartitionBackfill:
        return PartitionBackfill(
            backfill_id=asset,
            status=status,
            from_failure=False,
            tags={},
            backfill_timestamp=time.time(),
            asset_selection=[dg.AssetKey([asset, "numpy_cache"])],
        )

    project.instance.add_backfill(backfill("others", BulkActionStatus.REQUESTED))
    project.instance.add_backfill(backfill("plays", BulkActionStatus.REQUESTED))
    for name in ("one", "two", "three"):
        change(project, name)
        assert reason(tick(project)) == "mix: waiting for plays: being built or queued"
    project.instance.update_backfill(backfill("plays", BulkActionStatus.COMPLETED_SUCCESS))
    assert carry_out(project, tick(project)) == [True]
    assert project.materialized("mix", "mixed_dataset") == 2


def test_mixture_waits_for_partitions_that_are_not_built(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.instance.add_dynamic_partitions("plays", ["four"])
    waiting = tick(project)
    assert reason(waiting) == "mix: waiting for plays/four: not built yet"
    with monkeypatch.context() as patched:
        patched.setattr(MixtureScan, "scan", lambda *_: pytest.fail("nothing has changed"))
        assert reason(tick(project, waiting.cursor)) == reason(waiting)
    project.instance.delete_dynamic_partition("plays", "four")
    project.instance.delete_dynamic_partition("plays", "two")
    assert carry_out(project, tick(project, waiting.cursor)) == [True]
    assert inputs(project) == {"one", "three"}
    change(project, "three")
    shutil.rmtree(project.workspace.store.published_path("plays/numpy_cache/one"))
    waiting = tick(project)
    assert reason(waiting) == "mix: waiting for plays/one: not built yet"
    build(load_catalog(project.workspace.data).corpora["plays"], project.workspace)
    later(project)
    assert asked(tick(project, waiting.cursor)) == ["mix_build"]


def test_mixture_that_was_never_built_and_damaged_plan_are_requested(project: Project) -> None:
    declare(project.workspace.data, "mixtures", name="new", seq_len=16, datasets=[{"corpus": "plays"}])
    stale = tick(project)
    assert asked(stale) == ["new_build"]
    assert carry_out(project, stale) == [True]
    cursor = tick(project).cursor
    shutil.rmtree(project.workspace.store.published_path("new/mixed_dataset"))
    assert carry_out(project, tick(project, cursor)) == [True]  # although the run for this content succeeded
    assert reason(tick(project)) == "2 mixtures up to date."


def test_plan_of_a_store_restored_from_a_backup_is_requested_again(project: Project) -> None:
    store = project.workspace.store
    before = store.open("mix/mixed_dataset")
    assert before
    assert carry_out(project, tick_after_change(project)) == [True]
    store.publish(before)
    assert asked(tick(project)) == ["mix_build"]


def test_built_plan_that_differs_from_the_expected_plan_is_reported_and_not_requested_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = project.workspace.store
    before = store.open("mix/mixed_dataset")
    assert before
    assert carry_out(project, tick_after_change(project)) == [True]
    store.publish(before)
    recorded = Built(run=project.instance.get_runs(limit=1)[0].run_id, version=before.fingerprint)
    monkeypatch.setattr(mixtures, "last_built", lambda *_: recorded)
    assert "mix: built, but to another version than the code location expects" in reason(tick(project))


def test_mixture_waits_for_the_end_of_a_run_that_builds_partitions(project: Project) -> None:
    for name in ("one", "two", "three"):
        write_text(project.raw / f"{name}.txt", PLAY * 9)
    during: list[str] = []

    class Followed(RecordingProgress):
        def started(self, name: str) -> None:
            if name == "plays/two":  # the others are built and recorded
                later(project)
                during.append(reason(tick(project)))

    runner = project.runner("plays", progress=Followed())
    assert len(runner.run(runner.stale()).built) == 3
    assert during == ["mix: waiting for plays: being built or queued"]
    later(project)
    assert carry_out(project, tick(project)) == [True]


def test_segment_appended_at_a_position_is_up_to_date(project: Project) -> None:
    change(project)
    assert project.bring_up_to_date("mix", at=5).built == ["mix"]  # the partition is only recorded
    later(project)
    assert reason(tick(project)) == "1 mixture up to date."


def test_failed_partition_is_left_out_as_declared_as_soon_as_it_failed(project: Project) -> None:
    parts = [{"corpus": "plays", "weight": 1.5}]
    declare(project.workspace.data, "mixtures", name="mix", seq_len=16, on_failed_partition="skip", datasets=parts)
    cursor = tick(project).cursor
    write_text(project.raw / "two.txt", b"caf\xe9")
    assert project.bring_up_to_date("plays").failed
    later(project)
    assert carry_out(project, tick(project, cursor)) == [True]
    assert inputs(project) == {"one", "three"}
    assert reason(tick(project)) == "1 mixture up to date."


@pytest.mark.parametrize(("location", "is_held"), [(CODE_LOCATION, True), ("another", False)])
def test_no_mixture_is_built_while_follow_changes_is_off(project: Project, location: str, *, is_held: bool) -> None:
    change(project)
    of = RegisteredCodeLocationOrigin(location)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(of, SINGLETON_REPOSITORY_NAME), FOLLOW_CHANGES)
    project.instance.add_instigator_state(InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.STOPPED, SensorInstigatorData()))
    sensor = project.definitions.resolve_sensor_def("mixtures")
    context = dg.SensorEvaluationContext(
        instance_ref=None,
        last_tick_completion_time=None,
        last_run_key=None,
        cursor=None,
        repository_name=SINGLETON_REPOSITORY_NAME,
        instance=project.instance,
        code_location_origin=RegisteredCodeLocationOrigin(CODE_LOCATION),
    )
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    if is_held:
        assert "follow_changes is off" in reason(result)
    else:
        assert asked(result) == ["mix_build"]
