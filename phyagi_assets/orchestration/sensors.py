"""Sensors and schedules that scan sources for new or changed content and request one run per content.

Each run is tagged with the content for which it was requested. The outcome of the runs for a content decides whether another run is
requested; see :mod:`phyagi_assets.orchestration.run_requests`.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import RunsFilter

from phyagi_assets.build.scan import Due, Look, look_at
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.cron import looks_like_cron
from phyagi_assets.declare.intervals import parse_span
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted
from phyagi_assets.orchestration.declared import RELOAD, declared_tag, require_as_loaded
from phyagi_assets.orchestration.partitions import PartitionChange, partitions_def, sync_partitions
from phyagi_assets.orchestration.run_requests import Answer, Attempt, answer
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.data_folders import other_folder
from phyagi_assets.store.fingerprint import canonical_json, text_digest
from phyagi_assets.tokenizers.prepare import forget_commits

CONTENT_TAG = "phyagi_assets/content"
"""Tag of a run: the partition and the content that the run was requested to build."""

FAILURE_TAG, LASTING = "phyagi_assets/failure", "lasting"
"""Tag of a failed run, and its value if the cause persists until one of the run's inputs changes."""

RUNS_AT_ONCE = 100
"""Largest number of runs that one scan requests; the next scan requests the rest."""

_EVERY = 60
"""Time between two scans if none is declared, in seconds."""


def refresh_sensor(corpus: Corpus, workspace: Workspace) -> dg.SensorDefinition:
    """Return a sensor that scans a corpus's source at intervals.

    The sensor is on by default if ``refresh`` is a time span; otherwise it can be turned on in the UI.
    """
    name, refresh = corpus.config.name, corpus.config.refresh
    by_span = refresh is not None and not looks_like_cron(refresh)

    @dg.sensor(
        name=f"{name}_refresh",
        target=dg.AssetSelection.groups(name),
        minimum_interval_seconds=int(parse_span(refresh).total_seconds()) if refresh and by_span else _EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING if by_span else dg.DefaultSensorStatus.STOPPED,
        description=f"Looks at the source of {name}; adds new partitions, retires those that are gone, and builds what is new or changed.",
    )
    def refresh_corpus(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        listing, _, told = (context.cursor or "").partition(" ")
        look = _look(corpus, workspace, listing)
        change = PartitionChange.between(context.instance.get_dynamic_partitions(name), look.partitions)
        warnings = _warnings(corpus, workspace)
        for warning in warnings:
            context.log.warning(warning)
        asked = run_requests(context.instance, corpus, look.due)
        requests = list(asked.requests)
        told = _log_settled(context.log, corpus, asked, told)
        changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if change.new:
            changes.append(partitions_def(corpus).build_add_request(list(change.new)))
        if change.gone:
            changes.append(partitions_def(corpus).build_delete_request(list(change.gone)))
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=changes,
            cursor=f" {told}" if look.due else look.listing,
            skip_reason=None if requests or changes else "\n".join([_nothing(look, asked.left), *warnings]),
        )

    return refresh_corpus


def refresh_schedule(corpus: Corpus, workspace: Workspace) -> dg.ScheduleDefinition | None:
    """Return a schedule that scans a corpus's source, or None if ``refresh`` is not a cron expression."""
    name, refresh = corpus.config.name, corpus.config.refresh
    if refresh is None or not looks_like_cron(refresh):
        return None

    def refresh_corpus(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        look = _look(corpus, workspace, "")
        sync_partitions(context.instance, corpus, look.partitions)
        warnings = _warnings(corpus, workspace)
        for warning in warnings:
            context.log.warning(warning)
        asked = run_requests(context.instance, corpus, look.due)
        _log_settled(context.log, corpus, asked)
        yield from asked.requests
        if not asked.requests:
            yield dg.SkipReason("\n".join([_nothing(look, asked.left), *warnings]))

    try:
        return dg.ScheduleDefinition(
            name=f"{name}_refresh_schedule",
            cron_schedule=refresh,
            execution_timezone=corpus.config.timezone,
            target=dg.AssetSelection.groups(name),
            execution_fn=refresh_corpus,
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description=f"Looks at the source of {name} as its declaration says, and builds what is new or changed.",
        )
    except dg.DagsterInvalidDefinitionError as problem:
        raise corpus.error(str(problem), "refresh") from None


def follow_sensor(declared: Iterable[Corpus | Mixture] = ()) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that builds the assets downstream of a change."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags=declared_tag(declared),
        description="Builds what is downstream of a partition whose content has changed, and nothing where it was touched alone.",
    )


def follow_condition() -> Any:
    """Return the condition that builds an asset when upstream data versions change and upstream checks pass.

    An asset is built once per change. A run that was cancelled or failed is not repeated, nor is the rest of a run that was to build the
    asset itself. So, in contrast to ``AutomationCondition.eager()``, a missing asset alone is not built.
    """
    condition = dg.AutomationCondition
    changed = condition.data_version_changed() & ~condition.executed_with_root_target()
    return (
        condition.any_deps_match(changed | condition.will_be_requested()).since_last_handled()
        & ~condition.any_deps_missing()
        & ~condition.any_deps_in_progress()
        & ~condition.in_progress()
        & condition.all_deps_blocking_checks_passed()
    )


def freshness_policy(within: str | None) -> dg.FreshnessPolicy | None:
    """Return a policy that fails if an asset was not materialized for the time span `within`; None without a time span."""
    return dg.FreshnessPolicy.time_window(fail_window=parse_span(within)) if within else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The runs to request, and the decisions for the other partitions that are due."""

    requests: Sequence[dg.RunRequest]
    left: Counter[Answer]
    """Number of partitions without a request, by reason."""
    settled: Sequence[str]
    """Keys of partitions that a run has built, but to another version than this process expects."""


def run_requests(instance: dg.DagsterInstance, corpus: Corpus, due: Sequence[Due]) -> Asked:
    """Decide for each partition that is due whether to request a run; at most `RUNS_AT_ONCE` runs are requested."""
    name = corpus.config.name
    tags = {item.key: f"{name}/{item.key}@{item.content}" for item in due}
    runs = _runs(instance, list(tags.values()))
    now = time.time()
    requests, left, settled = [], Counter[Answer](), []
    for item in due:
        so_far = runs.get(tags[item.key], [])
        current = item.published and bool(so_far) and _is_current(instance, name, item, so_far[-1].dagster_run.run_id)
        said = answer([_attempt(record) for record in so_far], now=now, current=current)
        if said is not Answer.ASK:
            left[said] += 1
            settled += [item.key] if said is Answer.SETTLED else []
            continue
        requests.append(
            dg.RunRequest(
                run_key=f"{tags[item.key]}#{len(so_far)}",
                partition_key=item.key,
                asset_selection=[dg.AssetKey([name, stage]) for stage in item.stages],
                tags={CONTENT_TAG: tags[item.key], **declared_tag([corpus])},
            )
        )
    return Asked(requests=requests[:RUNS_AT_ONCE], left=left, settled=settled)


def _runs(instance: dg.DagsterInstance, contents: Sequence[str]) -> Mapping[str, list[dg.RunRecord]]:
    """Return the runs for each content, the oldest first."""
    found: dict[str, list[dg.RunRecord]] = {}
    for start in range(0, len(contents), 500):
        records = instance.get_run_records(RunsFilter(tags={CONTENT_TAG: contents[start : start + 500]}))
        for record in sorted(records, key=lambda record: record.storage_id):
            found.setdefault(record.dagster_run.tags[CONTENT_TAG], []).append(record)
    return found


def _attempt(record: dg.RunRecord) -> Attempt:
    run = record.dagster_run
    return Attempt(status=run.status, ended=record.end_time or 0.0, lasting=run.tags.get(FAILURE_TAG) == LASTING)


def _is_current(instance: dg.DagsterInstance, corpus: str, item: Due, run_id: str) -> bool:
    """Return whether a run made the latest materialization of the last step that is due."""
    key = dg.AssetKey([corpus, item.stages[-1]])
    latest = instance.fetch_materializations(dg.AssetRecordsFilter(asset_key=key, asset_partitions=[item.key]), limit=1).records
    return bool(latest) and latest[0].run_id == run_id


def _look(corpus: Corpus, workspace: Workspace, settled: str) -> Look:
    require_as_loaded(corpus)
    forget_commits()  # the branch of a tokenizer may have moved since the last scan of this process
    try:
        return look_at(corpus, workspace, settled)
    except PhyagiAssetsError as problem:  # the tick has failed, and says why
        raise dg.Failure(description=f"{corpus.config.name}: {problem}") from problem


def _warnings(corpus: Corpus, workspace: Workspace) -> list[str]:
    """Return the warnings that a tick shows: files that the source leaves out, and another data folder that built this corpus."""
    name = corpus.config.name
    left_out = workspace.sources.left_out(corpus)
    other = other_folder(workspace.store, workspace.data, name)
    return [f"{name}: {left_out}"] * bool(left_out) + [other] * bool(other)


def _log_settled(log: logging.Logger, corpus: Corpus, asked: Asked, before: str = "") -> str:
    """Log an error if runs built partitions to other versions than expected, once per set of partitions.

    Returns
    -------
    str
        Digest of the partitions, to pass as `before` in the next tick; empty if there are none.
    """
    told = text_digest(canonical_json(sorted(asked.settled))) if asked.settled else ""
    if told and told != before:
        listed = ", ".join(asked.settled[:5]) + (", …" if len(asked.settled) > 5 else "")
        log.error(
            f"{corpus.config.name}: {counted(len(asked.settled), 'partition')} built ({listed}), but to other versions than expected here; "
            f"something that they are made from changed since the code location was loaded: {RELOAD}"
        )
    return told


def _nothing(look: Look, left: Mapping[Answer, int]) -> str:
    if left:
        return "Nothing to ask for. " + " ".join(f"{counted(count, 'partition')}: {said.value}." for said, count in left.items())
    return f"Nothing is new in {counted(len(look.partitions), 'partition')}."
