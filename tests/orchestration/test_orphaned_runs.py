"""Runs of killed processes are marked as failed."""

import signal
import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus

from phyagi_assets.orchestration import orphaned_runs
from phyagi_assets.orchestration.orphaned_runs import fail_orphaned_runs
from tests.project import Project
from tests.robustness.command import Command

NAMES = ["plays", "mix"]


def test_run_of_a_killed_process_is_marked_failed_and_run_of_a_live_process_is_not(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(orphaned_runs, "_QUIET", timedelta(0))
    store, instance = project.workspace.store, project.instance
    with store.lock("plays/raw_dataset/one"):  # which the first step has to wait for
        command = Command("materialize", "--data", project.workspace.data, log=tmp_path / "log")
        while not list((store.root / ".locks" / "at_work").glob("*")):
            assert command.is_running
            time.sleep(0.05)
        (run,) = instance.get_runs()
        assert run.status is DagsterRunStatus.STARTED
        assert fail_orphaned_runs(instance, store, NAMES) == []
        command.kill_at(0.0)
        assert command.ended().code == -signal.SIGKILL
    assert fail_orphaned_runs(instance, store, ["others"]) == []
    ticked = project.definitions.resolve_sensor_def("partitions")(dg.build_sensor_context(instance=instance))
    assert isinstance(ticked, dg.SensorResult)
    (run,) = instance.get_runs()
    assert run.status is DagsterRunStatus.FAILURE
    assert fail_orphaned_runs(instance, store, NAMES) == []
    assert project.bring_up_to_date().failed == {}


def test_recently_started_run_is_not_marked_failed(project: Project) -> None:
    job = project.definitions.resolve_implicit_global_asset_job_def()
    mixed = frozenset([dg.AssetKey(["mix", "mixed_dataset"])])
    run = project.instance.create_run_for_job(job, status=DagsterRunStatus.STARTED, asset_selection=mixed)
    assert fail_orphaned_runs(project.instance, project.workspace.store, NAMES) == []
    assert project.instance.get_run_by_id(run.run_id).status is DagsterRunStatus.STARTED  # type: ignore[union-attr]


def test_run_of_a_job_of_a_mixture_is_marked_failed_also_if_its_process_was_killed_before_the_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphaned_runs, "_QUIET", timedelta(0))
    job = project.definitions.resolve_job_def("mix_build")
    runs = [project.instance.create_run_for_job(job, status=status) for status in (DagsterRunStatus.STARTED, DagsterRunStatus.NOT_STARTED)]
    assert fail_orphaned_runs(project.instance, project.workspace.store, ["others"]) == []
    assert set(fail_orphaned_runs(project.instance, project.workspace.store, NAMES)) == {run.run_id for run in runs}
