"""Sensors and schedules that scan sources for new or changed content and request one run per content.

Each run is tagged with the content for which it was requested. The outcome of the runs for a content decides whether another run is
requested; see :mod:`phyagi_assets.orchestration.run_requests`.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from phyagi_assets.build.scan import Due, Scan, scan_source
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.cron import looks_like_cron
from phyagi_assets.declare.intervals import parse_span
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted, listed
from phyagi_assets.orchestration.declared import RELOAD, change_since_load, declared_tag
from phyagi_assets.orchestration.names import (
    CONTENTS,
    CORPUS_TAG,
    FAILURE_TAG,
    LASTING,
    LASTING_TAG,
    LAUNCHED_BY,
    PARTITIONS,
    REFRESH,
    configured,
    partitions_op_name,
    run_config,
    stale_job_name,
)
from phyagi_assets.orchestration.partitions import partition_changes, sync_partitions
from phyagi_assets.orchestration.recorded import Built, last_built
from phyagi_assets.orchestration.run_requests import Attempt, Decision, decide
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.data_folders import other_folder
from phyagi_assets.store.fingerprint import canonical_json, text_digest

MOST_PARTITIONS = 10_000
"""Largest number of partitions for which one scan requests a run; the next scan requests the rest."""
RUNS_REMEMBERED = 500
"""Number of a corpus's latest requested runs that are searched for earlier attempts."""

_EVERY = 60
"""Time between two scans if none is declared, in seconds."""


def refresh_sensor(corpus: Corpus, workspace: Workspace, flow: Flow) -> dg.SensorDefinition | None:
    """Return a sensor that scans a corpus's source at intervals, and requests runs of a job; None if a schedule does so.

    The sensor is on by default if ``refresh`` is a time span. Without ``refresh``, it can be turned on in the UI.
    """
    name, refresh = corpus.config.name, corpus.config.refresh
    if refresh and looks_like_cron(refresh):
        return None

    @dg.sensor(
        name=f"{name}_refresh",
        job_name=stale_job_name(name),
        minimum_interval_seconds=int(parse_span(refresh).total_seconds()) if refresh else _EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING if refresh else dg.DefaultSensorStatus.STOPPED,
        description=f"Scans the source of {name}: adds new partitions, retires those that are gone, and builds what is new or changed.",
    )
    def refresh_corpus(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        listing, _, reported = (context.cursor or "").partition(" ")
        scanned = _scan(corpus, workspace, flow, listing)
        changes = partition_changes(context.instance, corpus, scanned.partitions)
        warnings = _log_warnings(context.log, corpus, workspace)
        decided = run_request(context.instance, corpus, scanned.due)
        requests = [decided.request] if decided.request else []
        reported = _log_settled(context.log, corpus, decided, reported)
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=changes.requests(),
            cursor=f" {reported}" if scanned.due else scanned.listing,
            skip_reason=None if requests else "\n".join([_skip_reason(scanned, decided.left, str(changes)), *warnings]),
        )

    return refresh_corpus


def refresh_schedule(corpus: Corpus, workspace: Workspace, flow: Flow) -> dg.ScheduleDefinition | None:
    """Return a schedule that scans a corpus's source, or None if ``refresh`` is not a cron expression."""
    name, refresh = corpus.config.name, corpus.config.refresh
    if refresh is None or not looks_like_cron(refresh):
        return None

    def refresh_corpus(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        scanned = _scan(corpus, workspace, flow, "")
        sync_partitions(context.instance, corpus, scanned.partitions)
        warnings = _log_warnings(context.log, corpus, workspace)
        decided = run_request(context.instance, corpus, scanned.due)
        _log_settled(context.log, corpus, decided)
        if decided.request:
            yield decided.request
        else:
            yield dg.SkipReason("\n".join([_skip_reason(scanned, decided.left), *warnings]))

    try:
        return dg.ScheduleDefinition(
            name=f"{name}_refresh_schedule",
            cron_schedule=refresh,
            execution_timezone=corpus.config.timezone,
            job_name=stale_job_name(name),
            execution_fn=refresh_corpus,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Scans the source of {name} at the declared times, and builds what is new or changed.",
        )
    except dg.DagsterInvalidDefinitionError as problem:
        raise corpus.error(str(problem), "refresh") from None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDecision:
    """The run to request, and the decisions for the due partitions that it does not build."""

    request: dg.RunRequest | None
    """The run to request; None if no partition has to be built."""
    left: Counter[Decision]
    """Number of partitions that the run does not build, by reason."""
    settled: Sequence[str]
    """Keys of partitions that a run has built, but to another version than this process expects."""


def run_request(instance: dg.DagsterInstance, corpus: Corpus, due: Sequence[Due]) -> RunDecision:
    """Decide for each partition that is due whether to build it, and request one run of the job that builds stale partitions for all."""
    attempts = _Attempts(instance, corpus)
    name, now = corpus.config.name, time.time()
    contents: dict[str, str] = {}
    left, settled = Counter[Decision](), []
    for item in due:
        so_far, latest = attempts.at(item)
        current = latest is not None and _last_built(instance, name, item) == (latest, item.published)
        decision = decide(so_far, now=now, current=current)
        if decision is Decision.REQUEST:
            contents |= {item.key: item.content} if len(contents) < MOST_PARTITIONS else {}
        else:
            left[decision] += 1
            settled += [item.key] if decision is Decision.SETTLED else []
    return RunDecision(request=_request(corpus, contents, attempts) if contents else None, left=left, settled=settled)


def _request(corpus: Corpus, contents: Mapping[str, str], attempts: "_Attempts") -> dg.RunRequest:
    name = corpus.config.name
    options = {PARTITIONS: {name: list(contents)}, CONTENTS: dict(contents)}
    return dg.RunRequest(
        run_key=attempts.run_key(contents),
        run_config=run_config(partitions_op_name(stale_job_name(name)), **options),
        tags={LAUNCHED_BY: REFRESH, **declared_tag([corpus])},
    )


class _Attempts:
    """The runs that earlier scans of a corpus have requested, by the content for which they were requested."""

    def __init__(self, instance: dg.DagsterInstance, corpus: Corpus) -> None:
        self._name = corpus.config.name
        self._instance = instance
        records = instance.get_run_records(RunsFilter(tags={CORPUS_TAG: self._name, LAUNCHED_BY: REFRESH}), limit=RUNS_REMEMBERED)
        self._runs = sorted(records, key=lambda record: record.storage_id)

    def at(self, item: Due) -> tuple[list[Attempt], str | None]:
        """Return the attempts at the content of a partition, the oldest first, and the id of the run of the last one."""
        runs = [record for record in self._runs if configured(record.dagster_run, CONTENTS).get(item.key) == item.content]
        return [self._attempt(record, item) for record in runs], runs[-1].dagster_run.run_id if runs else None

    def run_key(self, contents: Mapping[str, str]) -> str:
        """Return a key that distinguishes a request from all earlier ones for the same contents."""
        runs = (record.dagster_run for record in reversed(self._runs))
        last = next((run.run_id for run in runs if configured(run, CONTENTS) == contents), "")
        return f"{self._name}@{text_digest(canonical_json(dict(contents)))}#{last}"

    def _attempt(self, record: dg.RunRecord, item: Due) -> Attempt:
        run, ended = record.dagster_run, record.end_time or 0.0
        has_ended_early = run.status in (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
        if has_ended_early and (built := _last_built(self._instance, self._name, item)) and built.run == run.run_id:
            return Attempt(status=DagsterRunStatus.SUCCESS, ended=ended)  # another partition failed, or it was cancelled after this one
        lasting = f"{self._name}/{item.key}" in _lasting(run) or run.tags.get(FAILURE_TAG) == LASTING
        return Attempt(status=run.status, ended=ended, lasting=lasting)


def _lasting(run: dg.DagsterRun) -> list[str]:
    """Return the partitions of a failed run whose failure persists until an input changes."""
    with suppress(ValueError):
        names = json.loads(run.tags.get(LASTING_TAG, "[]"))
        return names if isinstance(names, list) else []
    return []


def _last_built(instance: dg.DagsterInstance, corpus: str, item: Due) -> Built | None:
    """Return the latest materialization of the last step that is due."""
    return last_built(instance, dg.AssetKey([corpus, item.steps[-1]]), item.key)


def _scan(corpus: Corpus, workspace: Workspace, flow: Flow, settled: str) -> Scan:
    if reason := change_since_load(corpus):
        raise dg.Failure(description=reason)
    workspace.identities.forget()  # the branch of a tokenizer may have moved since the last scan of this process
    try:
        return scan_source(corpus, workspace, settled, flow=flow)
    except PhyagiAssetsError as problem:  # the tick fails with this message
        raise dg.Failure(description=f"{corpus.config.name}: {problem}") from problem


def _log_warnings(log: logging.Logger, corpus: Corpus, workspace: Workspace) -> list[str]:
    """Log the warnings of a tick, and return them: files that the source leaves out, and another data folder that built this corpus."""
    name = corpus.config.name
    left_out = workspace.sources.left_out(corpus)
    other = other_folder(workspace.store, workspace.data, name)
    warnings = [f"{name}: {left_out}"] * bool(left_out) + [other] * bool(other)
    for warning in warnings:
        log.warning(warning)
    return warnings


def _log_settled(log: logging.Logger, corpus: Corpus, decided: RunDecision, before: str = "") -> str:
    """Log an error if runs built partitions in other versions than expected, once per set of partitions.

    Returns
    -------
    str
        Digest of the partitions, to pass as `before` in the next tick; empty if there are none.
    """
    reported = text_digest(canonical_json(sorted(decided.settled))) if decided.settled else ""
    if reported and reported != before:
        built = f"{counted(len(decided.settled), 'partition')} built ({listed(decided.settled)})"
        log.error(
            f"{corpus.config.name}: {built}, but in other versions than expected here; something that they depend on has changed since the "
            f"code location was loaded: {RELOAD}"
        )
    return reported


def _skip_reason(scanned: Scan, left: Mapping[Decision, int], changes: str = "") -> str:
    if left:
        reasons = " ".join(f"{counted(count, 'partition')}: {decision.value}." for decision, count in left.items())
        return f"{changes} No runs requested. {reasons}".strip()
    return changes or f"No changes in {counted(len(scanned.partitions), 'partition')}."
