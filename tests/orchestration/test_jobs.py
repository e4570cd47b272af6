"""Runs that build many partitions: the jobs for stale partitions, and ranges of partitions of the assets."""

import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceDownError
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.orchestration.names import COMMAND, LAUNCHED_BY, REFRESH, run_config
from phyagi_assets.orchestration.recorded_digests import RecordedDigests
from phyagi_assets.sources.listing import Sources
from tests.project import PLAY, Project
from tests.support import PARTITION_STEPS, declare_corpus, write_jsonl, write_text

JOB, OP = "plays_build_stale", "plays_build_stale__partitions"


def run_stale(project: Project, **options: Any) -> dg.ExecuteInProcessResult:
    job = project.definitions.resolve_job_def(JOB)
    return job.execute_in_process(instance=project.instance, run_config=run_config(OP, **options), raise_on_error=False)


def run_range(project: Project, first: str, last: str, *steps: str) -> dg.ExecuteInProcessResult:
    job = project.definitions.resolve_job_def("plays_build")
    return job.execute_in_process(
        instance=project.instance,
        asset_selection=[dg.AssetKey(["plays", step]) for step in steps or PARTITION_STEPS],
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        raise_on_error=False,
    )


def failure(result: dg.ExecuteInProcessResult) -> str:
    data = next(event.step_failure_data for event in result.all_events if event.is_step_failure)
    assert data.user_failure_data
    return str(data.user_failure_data.description)


def evaluations(project: Project, result: dg.ExecuteInProcessResult) -> set[tuple[str, str | None, bool]]:
    """The results of checks in a run: asset and check, partition, and whether it passed."""
    entries = project.instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    found = [entry.dagster_event.asset_check_evaluation_data for entry in entries if entry.dagster_event]
    return {(f"{of.asset_key.path[-1]}.{of.check_name}", of.partition, of.passed) for of in found}


CHECKS = ("tokenized_arrow.sound", "tokenized_arrow.within_limits", "numpy_cache.sound")


def shown(project: Project) -> set[tuple[str, str, bool]]:
    """Return the rows on the page of a check: the check, the partition, and whether it passed."""
    keys = [dg.AssetCheckKey(dg.AssetKey(["plays", *check.split(".")[:1]]), check.split(".")[1]) for check in CHECKS]
    found = project.instance.event_log_storage.get_asset_check_partition_info(keys)
    ended = {AssetCheckExecutionRecordStatus.SUCCEEDED: True, AssetCheckExecutionRecordStatus.FAILED: False}
    return {
        (f"{of.check_key.asset_key.path[-1]}.{of.check_key.name}", of.partition_key, ended[of.latest_execution_status])
        for of in found
        if of.is_current and of.partition_key
    }


def test_runs_build_on_the_cluster_that_the_environment_names(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project = replace(project, workspace=replace(project.workspace, retry_policy=RetryPolicy(pause=0.0)))
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    unreachable = "$RAY_ADDRESS: the Ray cluster 127.0.0.1:1 cannot be reached"
    down = run_stale(project)
    assert unreachable in failure(down)
    assert sum(event.is_step_up_for_retry for event in down.all_events) == 3  # the cluster may come back
    assert unreachable in failure(run_range(project, "one", "two"))
    assert run_stale(project, executor="local").success


def test_run_on_a_cluster_whose_name_is_not_known_fails_at_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    mistyped = run_stale(project, executor="ray:haed:6379")
    assert "executor: the Ray cluster haed:6379 cannot be reached: no host has the name haed; correct it" in failure(mistyped)
    assert not any(event.is_step_up_for_retry for event in mistyped.all_events)


def test_job_builds_stale_partitions_once(project: Project) -> None:
    first = run_stale(project)
    assert first.success
    assert project.materialized("plays", "numpy_cache") == 3
    assert evaluations(project, first) == {(check, None, True) for check in CHECKS}
    all_of_them = {(check, key, True) for check in CHECKS for key in ("one", "two", "three")}
    assert shown(project) == all_of_them
    second = run_stale(project)
    assert second.success
    assert project.materialized("plays", "numpy_cache") == 3
    write_text(project.raw / "two.txt", PLAY * 9)
    assert run_stale(project).success
    assert project.materialized("plays", "numpy_cache") == 4
    assert shown(project) == all_of_them
    sound = dg.AssetCheckKey(dg.AssetKey(["plays", "numpy_cache"]), "sound")
    (record,) = project.instance.event_log_storage.get_asset_check_execution_history(
        sound, 1, partition_filter=PartitionKeyFilter(key="two")
    )
    assert record.evaluation
    assert "checks" in record.evaluation.metadata


def test_job_builds_the_listed_partitions_and_names_those_that_are_not_in_the_source(project: Project) -> None:
    result = run_stale(project, partitions={"plays": ["one", "four"]}, processes=2)
    assert not result.success
    assert failure(result).startswith("1 of 2 partitions failed:\nplays/four: ")
    assert failure(result).endswith("plays.yaml: partition 'four' is not in the source")
    assert project.instance.get_materialized_partitions(dg.AssetKey(["plays", "numpy_cache"])) == {"one"}
    for run in (result, run_stale(project, partitions={"plays": ["four"]})):  # both show the partition as failed, which planned events do
        entries = project.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
        planned = [entry.dagster_event.asset_materialization_planned_data for entry in entries if entry.dagster_event]
        assert {of.asset_key.path[-1] for of in planned if of.partition == "four"} == set(PARTITION_STEPS)


def test_checks_of_a_partition_that_fails_are_logged_and_so_is_its_recovery(project: Project) -> None:
    def declare_limit(limit: float) -> None:
        path = project.workspace.data / "corpora" / "plays.yaml"
        path.write_text(f"{path.read_text().partition('limits:')[0]}limits: {{duplicates: {limit}}}\n")

    write_jsonl(project.raw / "same.jsonl", ["the same"] * 9)
    path = project.workspace.data / "corpora" / "plays.yaml"
    path.write_text(path.read_text().replace("raw/*.txt", "raw/*"))
    declare_limit(0.1)
    failed = run_stale(project)
    assert 'plays/same: check "duplicates" failed' in failure(failed)
    rest = {(check, None, True) for check in CHECKS}
    assert evaluations(project, failed) == rest | {("tokenized_arrow.within_limits", "same", False)}
    assert ("tokenized_arrow.within_limits", "same", False) in shown(project)
    declare_limit(1)
    recovered = run_stale(project)
    assert recovered.success
    assert ("tokenized_arrow.within_limits", "same", True) in shown(project)


def test_failed_checks_pass_after_their_cause_is_removed(built_project: Project) -> None:
    good = (built_project.raw / "two.txt").read_bytes()
    write_text(built_project.raw / "two.txt", b"\xff")
    recorded = RecordedDigests(Path(built_project.instance.root_directory))
    recorded.remember({"plays": "as it was"})
    assert not run_range(built_project, "one", "two").success
    assert not recorded.match({"plays": "as it was"}), "the next command looks at the records"
    failed = {key for _, key, passed in shown(built_project) if not passed}
    assert "two" in failed
    write_text(built_project.raw / "two.txt", good)
    runner = built_project.runner("plays")
    runner.run(runner.stale())
    assert not [key for _, key, passed in shown(built_project) if not passed]
    assert not built_project.runner("plays").stale()


def test_range_of_partitions_is_one_run_with_all_checks_of_each(project: Project) -> None:
    project.instance.add_dynamic_partitions("plays", ["one", "two", "three"])
    write_text(project.raw / "two.txt", b"\xff")
    result = run_range(project, "one", "three")
    assert not result.success
    assert failure(result).startswith("1 of 3 partitions failed:\nplays/two: ")
    assert evaluations(project, result) == {(check, key, key != "two") for check in CHECKS for key in ("one", "two", "three")}
    assert project.instance.get_materialized_partitions(dg.AssetKey(["plays", "numpy_cache"])) == {"one", "three"}
    assert shown(project) == evaluations(project, result)
    (project.raw / "one.txt").unlink()
    gone = run_range(project, "one", "three", "numpy_cache")
    assert "plays/one: " in failure(gone)
    assert "partition 'one' is no longer in the source, which has: three, two" in failure(gone)
    assert project.materialized("plays", "numpy_cache") == 3
    assert "no partition of plays is selected" in failure(run_range(project, "three", "one"))


@pytest.mark.parametrize("processes", [0, -1])
def test_run_has_at_least_one_process(project: Project, processes: int) -> None:
    assert failure(run_stale(project, processes=processes)) == f"processes: at least 1 process builds partitions, not {processes}"


def test_corpus_that_a_job_does_not_build_is_named(project: Project) -> None:
    found = failure(run_stale(project, partitions={"play": ["one"]}))
    assert found == "partitions: 'play' is not a corpus that this job builds; it builds: plays"


def test_corpus_whose_source_cannot_be_listed_does_not_stop_another(project: Project) -> None:
    write_text(project.workspace.data / "notes" / "a.txt", PLAY)
    declare_corpus(project.workspace.data, "notes", "notes/*.txt")
    runner = project.runner()
    work = runner.stale()
    (project.workspace.data / "notes" / "a.txt").unlink()
    outcome = runner.run(work)
    assert "no file matches" in outcome.failed["notes/all"]
    assert sorted(outcome.built) == ["mix", "plays/one", "plays/three", "plays/two"]


@pytest.mark.parametrize(("launched_by", "attempts"), [("", 3), (REFRESH, 1), (COMMAND, 1)])
@pytest.mark.parametrize("job", ["plays_build", JOB])
def test_run_is_tried_again_while_its_source_is_down_unless_another_run_will_follow(
    project: Project, monkeypatch: pytest.MonkeyPatch, job: str, launched_by: str, attempts: int
) -> None:
    project = replace(project, workspace=replace(project.workspace, retry_policy=RetryPolicy(pause=0.0)))
    project.runner().stale()  # Dagster knows the partitions
    partitions, asked = Sources.partitions, []

    def down_at_first(sources: Sources, corpus: Corpus) -> Any:
        asked.append(corpus)
        if len(asked) < 3:
            raise SourceDownError("s3://raw: cannot be reached")
        return partitions(sources, corpus)

    monkeypatch.setattr(Sources, "partitions", down_at_first)
    tags = {LAUNCHED_BY: launched_by, **({"dagster/partition": "two"} if job == "plays_build" else {})}
    done = project.definitions.resolve_job_def(job).execute_in_process(instance=project.instance, tags=tags, raise_on_error=False)
    assert (done.success, len(asked)) == (attempts == 3, attempts)
    assert project.materialized("plays", "numpy_cache") == (0 if attempts == 1 else 1 if job == "plays_build" else 3)


def test_run_fails_with_the_reason_if_its_source_stays_down(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project = replace(project, workspace=replace(project.workspace, retry_policy=RetryPolicy(pause=0.0)))

    def down(_sources: Sources, _corpus: Corpus) -> Any:
        raise SourceDownError("s3://raw: cannot be reached")

    monkeypatch.setattr(Sources, "partitions", down)
    done = run_stale(project)
    assert sum(event.is_step_up_for_retry for event in done.all_events) == 3
    assert failure(done) == "s3://raw: cannot be reached"
