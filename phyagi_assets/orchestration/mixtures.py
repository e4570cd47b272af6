"""The sensor that keeps mixtures up to date.

The sensor compares each plan with the published caches in the store, and does not rely on Dagster's events. The next tick therefore finds a
change that was missed because a declaration was broken, Dagster was down or a run failed. Dagster's automation conditions cannot read the
store: they are evaluated outside the code location, or for at most 500 assets. A mixture is requested once for the same inputs, and only
while no run builds its corpora; see :mod:`phyagi_assets.orchestration.run_requests`.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Self

import dagster as dg
from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

from phyagi_assets.build.mixture_scan import MixtureScan
from phyagi_assets.declare.catalog import Catalog, Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import counted, listed
from phyagi_assets.orchestration.declared import RELOAD, change_since_load, declared_tag
from phyagi_assets.orchestration.names import FAILURE_TAG, FOLLOW_CHANGES, INPUTS_TAG, LASTING, LAUNCHED_BY, REFRESH, build_job_name
from phyagi_assets.orchestration.recorded import last_built
from phyagi_assets.orchestration.run_requests import Attempt, Decision, decide
from phyagi_assets.orchestration.run_targets import under_way
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope, Step, Workspace

_EVERY = 30
"""Time between two ticks, in seconds."""
_LONGEST = 30.0
"""Time after which a tick leaves the remaining mixtures to the next tick, in seconds; Dagster stops a tick after 60."""
_NEXT = "next"
"""Key of the cursor for the name of the first mixture that the previous tick did not reach."""
_REMEMBERED = 100
"""Largest number of earlier runs to consider, starting from the latest."""
_LISTED = 5
"""Largest number of names in a reason."""
_REASONS = {Decision.SETTLED: f"{Decision.SETTLED.value}; one of its inputs changed after the code location was loaded: {RELOAD}"}
"""Reasons that are more specific than the decision."""


def mixtures_sensor(
    catalog: Catalog, jobs: Sequence[Any], workspace: Workspace, flow: Flow, *, seconds: float = _LONGEST
) -> dg.SensorDefinition:
    """Return the sensor that requests a run for each mixture whose plan is stale, given the jobs that build the mixtures.

    Parameters
    ----------
    seconds
        Time after which a tick leaves the remaining mixtures to the next tick, in seconds.
    """

    @dg.sensor(
        name="mixtures",
        jobs=jobs,
        minimum_interval_seconds=_EVERY,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Builds each mixture whose plan is stale, while no run builds its corpora. Builds nothing while "
        f"{FOLLOW_CHANGES} is off.",
    )
    def mixtures(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        earlier = _parsed_cursor(context.cursor)
        tick = _Tick.at(context.instance, catalog, workspace, flow, earlier, seconds=seconds)
        requests: list[dg.RunRequest] = []
        reasons = [
            f"{declaration.name}: {declaration.reason}; correct it, then {RELOAD}"
            for declaration in catalog.broken
            if declaration.path.parent.name == "mixtures"
        ]
        for name in _in_turn(list(catalog.mixtures), earlier.get(_NEXT)):
            answer = tick.answer(catalog.mixtures[name])
            if answer.request:
                requests.append(answer.request)
            elif answer.reason:
                reasons.append(f"{name}: {answer.reason}")
        if requests and _is_turned_off(context):
            jobs_to_run = listed([str(request.job_name) for request in requests], _LISTED)
            reasons.append(f"{FOLLOW_CHANGES} is off, so no mixture is built; turn it on to run {jobs_to_run}")
            requests = []
        for line in reasons if requests else ():
            context.log.info(line)
        up_to_date = f"{counted(len(catalog.mixtures), 'mixture')} up to date."
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "\n".join(reasons) or up_to_date,
            cursor=json.dumps(tick.kept),
        )

    return mixtures


class _Known(NamedTuple):
    """Findings of a tick about a plan, which are valid until the stamp changes. The cursor stores them as a list."""

    stamp: str
    waits_for: str
    """Reason why the plan cannot be built; empty if it is up to date."""

    @classmethod
    def of(cls, kept: object) -> Self | None:
        """Return an entry of the cursor as findings; None if it does not have their form."""
        return cls(*kept) if isinstance(kept, list) and len(kept) == len(cls._fields) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """The run to request for a mixture, or the reason not to request one; neither if its plan is up to date."""

    request: dg.RunRequest | None = None
    reason: str = ""
    lasts: bool = False
    """Whether the answer stays valid until something is published or declared."""


@dataclass(kw_only=True, eq=False)
class _Tick:
    """One tick of the sensor."""

    instance: dg.DagsterInstance
    catalog: Catalog
    workspace: Workspace
    steps: Sequence[Step]
    """The steps of mixtures."""
    scan: MixtureScan
    earlier: Mapping[str, Any]
    """The cursor: findings of earlier ticks, by address."""
    until: float
    """Time after which no further mixture is examined, except for the first, by the monotonic clock."""
    kept: dict[str, Any] = field(default_factory=dict)
    """The next cursor."""
    has_examined: bool = False

    @classmethod
    def at(
        cls,
        instance: dg.DagsterInstance,
        catalog: Catalog,
        workspace: Workspace,
        flow: Flow,
        earlier: Mapping[str, Any],
        *,
        seconds: float,
    ) -> "_Tick":
        corpora = sorted({part for mixture in catalog.mixtures.values() for part in mixture.config.corpora})
        partitions = {corpus: sorted(instance.get_dynamic_partitions(corpus)) for corpus in corpora}
        recorded = _recorded(instance, corpora, catalog.mixtures, flow) if workspace.store.is_remote else {}
        return cls(
            instance=instance,
            catalog=catalog,
            workspace=workspace,
            steps=list(flow.in_scope(Scope.MIXTURE)),
            scan=MixtureScan(catalog.corpora, partitions, workspace, recorded=recorded),
            earlier=earlier,
            until=time.monotonic() + seconds,
        )

    @cached_property
    def busy(self) -> set[str]:
        """Corpora and mixtures that a queued or running build will write. Looked up only if a mixture has to be examined."""
        return under_way(self.instance, [*self.catalog.corpora, *self.catalog.mixtures])

    def answer(self, mixture: Mixture) -> _Answer:
        """Return the answer for the first step of a mixture that is not up to date."""
        answers = (self._recall_or_examine(mixture, step) for step in self.steps)
        return next((answer for answer in answers if answer.request or answer.reason), _Answer())

    def _recall_or_examine(self, mixture: Mixture, step: Step) -> _Answer:
        """Return the finding of an earlier tick if it is still valid; otherwise examine the plan, if there is time left."""
        address, stamp = step.address(mixture.config.name), self.scan.stamp(mixture, step)
        if (known := _Known.of(self.earlier.get(address))) and known.stamp == stamp:
            self.kept[address] = known
            return _Answer(reason=known.waits_for)
        if self.has_examined and time.monotonic() > self.until:
            self.kept.setdefault(_NEXT, mixture.config.name)
            return _Answer(reason="will be examined in the next tick")
        self.has_examined = True
        answer = self._examine(mixture, step)
        if answer.lasts:
            self.kept[address] = _Known(stamp, answer.reason)
        return answer

    def _examine(self, mixture: Mixture, step: Step) -> _Answer:
        """Examine the plan of a mixture, and decide whether to request a run."""
        name, parts = mixture.config.name, mixture.config.corpora
        if reason := self._activity(mixture, step):
            return _Answer(reason=reason)
        try:
            found = self.scan.scan(mixture, step)
        except PhyagiAssetsError as problem:
            return _Answer(reason=str(problem))
        if found.is_current:
            return _Answer(lasts=True)
        if found.missing:
            return _Answer(reason=f"waiting for {listed(found.missing, _LISTED)}: not built yet", lasts=not found.is_damaged)
        reason, runs = self._obstacle(mixture, step), self._runs(found.inputs_digest)
        last = runs[-1].dagster_run.run_id if runs else ""
        built = last_built(self.instance, dg.AssetKey([name, step.name]))
        is_latest = built is not None and (last, found.other) == built  # unlike a plan of a store that was restored from a backup
        decision = decide([_attempt(record) for record in runs], now=time.time(), current=is_latest)
        if reason or decision is not Decision.REQUEST:
            return _Answer(reason=reason or _REASONS.get(decision, decision.value))
        declared: list[Corpus | Mixture] = [mixture, *(self.catalog.corpora[part] for part in parts)]
        request = dg.RunRequest(
            run_key=f"{name}@{found.inputs_digest}#{last}",  # one request per run that ended
            job_name=build_job_name(name),
            tags={LAUNCHED_BY: REFRESH, INPUTS_TAG: found.inputs_digest, **declared_tag(declared)},
        )
        return _Answer(request=request)

    def _activity(self, mixture: Mixture, step: Step) -> str:
        """Return the reason why a mixture or its corpora may change soon; empty if nothing is being built."""
        if waits := [each for each in (*mixture.config.corpora, mixture.config.name) if each in self.busy]:
            return f"waiting for {listed(waits, _LISTED)}: being built or queued"
        if part := self.scan.changed_just_now(mixture, step):
            return f"waiting for the next tick: {part} has just changed"
        return ""

    def _obstacle(self, mixture: Mixture, step: Step) -> str:
        """Return the reason why a run of a stale mixture would fail now; empty if it may succeed."""
        if self.workspace.store.is_read_only(step.address(mixture.config.name)):
            return f"the user who runs Dagster may not write to {self.workspace.store.root}"
        changes = (change_since_load(self.catalog.corpora[part]) for part in mixture.config.corpora)
        return change_since_load(mixture) or next(filter(None, changes), "")

    def _runs(self, inputs_digest: str) -> list[dg.RunRecord]:
        """Return all runs with the same inputs digest, oldest first."""
        records = self.instance.get_run_records(dg.RunsFilter(tags={INPUTS_TAG: inputs_digest}), limit=_REMEMBERED)
        return sorted(records, key=lambda record: record.storage_id)


def _attempt(record: dg.RunRecord) -> Attempt:
    run = record.dagster_run
    return Attempt(status=run.status, ended=record.end_time or 0.0, lasting=run.tags.get(FAILURE_TAG) == LASTING)


def _recorded(instance: dg.DagsterInstance, corpora: Sequence[str], mixtures: Mapping[str, Mixture], flow: Flow) -> dict[str, str]:
    """Return the storage ids of the latest materializations of the caches of each corpus and of the plan of each mixture, by name."""
    steps = list(flow.in_scope(Scope.MIXTURE))
    keys = [dg.AssetKey([corpus, str(step.input)]) for corpus in corpora for step in steps]
    keys += [dg.AssetKey([mixture, step.name]) for mixture in mixtures for step in steps]
    found: dict[str, str] = {}
    for record in instance.get_asset_records(keys):
        name, latest = record.asset_entry.asset_key.path[0], record.asset_entry.last_materialization_storage_id
        found[name] = f"{found.get(name, '')} {latest}"
    return found


def _parsed_cursor(cursor: str | None) -> dict[str, Any]:
    """Parse the cursor: findings of earlier ticks about plans, by address, and the mixture to begin with."""
    with suppress(ValueError):
        found = json.loads(cursor or "{}")
        return found if isinstance(found, dict) else {}
    return {}


def _in_turn(names: Sequence[str], first: str | None) -> Sequence[str]:
    """Rotate names to begin with the given one, so that slow mixtures do not keep the others waiting forever."""
    begin = names.index(first) if first in names else 0
    return [*names[begin:], *names[:begin]]


def _is_turned_off(context: dg.SensorEvaluationContext) -> bool:
    """Return whether a user turned off the sensor `follow_changes`, which built mixtures in earlier releases."""
    stopped = context.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR, instigator_statuses={InstigatorStatus.STOPPED})
    here = context.code_location_origin
    found = [state.repository_selector.location_name for state in stopped if state.name == FOLLOW_CHANGES]
    return bool(found) if here is None else here.location_name in found
