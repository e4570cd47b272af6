"""Sources are looked at, and runs asked for of what is new or changed in them, once each.

A run carries the content that it was asked for as a tag. While one of it is under way, no second one is asked for; one that failed is
asked for again by the next look, and after three failures at growing intervals, up to an hour.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from phyagi_assets.components.partitions import PartitionChange, partitions_def, sync_partitions
from phyagi_assets.cron import looks_like_cron
from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.intervals import parse_span
from phyagi_assets.pipeline.refresh import Due, Look, look_at
from phyagi_assets.pipeline.step import Workspace
from phyagi_assets.pipeline.tokenizers.prepare import forget_commits

CONTENT_TAG = "phyagi_assets/content"
"""Of a run: which partition, with which content, it was asked to build."""

RUNS_AT_ONCE = 100
"""Runs that a look asks for at most; the next look asks for the rest."""

_EVERY = 60
"""Seconds between two looks, where nothing else is declared."""
_PATIENT_FAILURES, _LONGEST_PAUSE = 3, 3600
_UNDER_WAY = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.MANAGED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


def refresh_sensor(corpus: Corpus, workspace: Workspace) -> dg.SensorDefinition:
    """Looks at a corpus's source again and again; running where ``refresh`` is a span of time, else to be turned on in the UI."""
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
        look = _look(corpus, workspace, context.cursor or "")
        change = PartitionChange.between(context.instance.get_dynamic_partitions(name), look.partitions)
        requests = run_requests(context.instance, name, look.due)
        changes: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if change.new:
            changes.append(partitions_def(corpus).build_add_request(list(change.new)))
        if change.gone:
            changes.append(partitions_def(corpus).build_delete_request(list(change.gone)))
        return dg.SensorResult(
            run_requests=requests,
            dynamic_partitions_requests=changes,
            cursor="" if look.due else look.listing,
            skip_reason=None if requests or changes else _nothing(look),
        )

    return refresh_corpus


def refresh_schedule(corpus: Corpus, workspace: Workspace) -> dg.ScheduleDefinition | None:
    """Looks at a corpus's source when its ``refresh`` says so, where that is a cron expression."""
    name, refresh = corpus.config.name, corpus.config.refresh
    if refresh is None or not looks_like_cron(refresh):
        return None

    def refresh_corpus(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        look = _look(corpus, workspace, "")
        sync_partitions(context.instance, corpus, look.partitions)
        requests = run_requests(context.instance, name, look.due)
        yield from requests
        if not requests:
            yield dg.SkipReason(_nothing(look))

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


def follow_sensor() -> dg.AutomationConditionSensorDefinition:
    """Builds what follows from what has changed."""
    return dg.AutomationConditionSensorDefinition(
        "follow_changes",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Builds what is downstream of a partition whose content has changed, and nothing where it was touched alone.",
    )


def follow_condition() -> Any:
    """When an asset follows the ones that it builds on: when their data versions change and their checks pass."""
    eager = dg.AutomationCondition.eager().replace("newly_updated", dg.AutomationCondition.data_version_changed())
    return eager & dg.AutomationCondition.all_deps_blocking_checks_passed()


def freshness_policy(within: str | None) -> dg.FreshnessPolicy | None:
    """A policy that is broken where nothing new came for a span of time."""
    return dg.FreshnessPolicy.time_window(fail_window=parse_span(within)) if within else None


def run_requests(instance: dg.DagsterInstance, corpus: str, due: Sequence[Due]) -> list[dg.RunRequest]:
    """The runs to ask for: of each partition that is due, one, unless one of the same content is under way or failed a moment ago."""
    tags = {item.key: f"{corpus}/{item.key}@{item.content}" for item in due}
    tries = _tries(instance, list(tags.values()))
    requests = []
    for item in due:
        so_far = tries.get(tags[item.key], _Tries())
        if so_far.under_way or time.time() < so_far.not_before:
            continue
        requests.append(
            dg.RunRequest(
                run_key=f"{tags[item.key]}#{so_far.count}",
                partition_key=item.key,
                asset_selection=[dg.AssetKey([corpus, stage]) for stage in item.stages],
                tags={CONTENT_TAG: tags[item.key]},
            )
        )
    return requests[:RUNS_AT_ONCE]


@dataclass(kw_only=True, slots=True)
class _Tries:
    """The runs of one content so far."""

    count: int = 0
    failures: int = 0
    under_way: bool = False
    ended: float = 0.0

    @property
    def not_before(self) -> float:
        """When the next one may be asked for, in seconds since 1970."""
        pauses = self.failures - _PATIENT_FAILURES
        return self.ended + min(_LONGEST_PAUSE, 60 * 2**pauses) if pauses >= 0 else 0.0


def _tries(instance: dg.DagsterInstance, contents: Sequence[str]) -> Mapping[str, _Tries]:
    found: dict[str, _Tries] = {}
    for start in range(0, len(contents), 500):
        for record in instance.get_run_records(RunsFilter(tags={CONTENT_TAG: contents[start : start + 500]})):
            tries = found.setdefault(record.dagster_run.tags[CONTENT_TAG], _Tries())
            tries.count += 1
            tries.failures += record.dagster_run.status == DagsterRunStatus.FAILURE
            tries.under_way |= record.dagster_run.status in _UNDER_WAY
            tries.ended = max(tries.ended, record.end_time or 0.0)
    return found


def _look(corpus: Corpus, workspace: Workspace, settled: str) -> Look:
    forget_commits()  # the branch of a tokenizer may have moved since the last look of this process
    try:
        return look_at(corpus, workspace, settled)
    except PhyagiAssetsError as problem:  # the tick has failed, and says why
        raise dg.Failure(description=str(problem)) from problem


def _nothing(look: Look) -> str:
    if look.due:
        return f"Runs of {len(look.due)} partitions are under way, or failed a moment ago."
    return f"Nothing is new in {len(look.partitions)} partitions."
