"""Dagster asset checks: the checks of a step, made at each materialization, and a check that reads all published artifacts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.integrity import StoreProblem, store_problems
from phyagi_assets.orchestration.metadata import metadata
from phyagi_assets.orchestration.names import CHECK_POOL, WORKSPACE
from phyagi_assets.steps.checks import tokens
from phyagi_assets.steps.checks.check import SOUND, WITHIN_LIMITS, Check
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.step import Built, Step, Workspace

STORED = "stored_as_written"
CHECK_STORE = "check_store"
"""Name of the job that compares all published artifacts with their checksums."""
_STORE = dg.AssetKey(["store"])

_LISTED = 20
"""Largest number of problems that a result lists."""

_LIMITS = {tokens.DUPLICATES, tokens.INVALID}
_UNPUBLISHED = "A version that fails is not published, and the previous version stays."
"""Added to each description, because the UI calls the checks of partitions non-blocking."""


def check_specs(name: str, step: Step, partitions: dg.PartitionsDefinition[str] | None = None) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset, for each of its partitions. If one fails, the version is not published."""
    key = dg.AssetKey([name, step.name])
    blocking = partitions is None  # the events of partitions are logged, which blocks nothing, and nothing is published if a check fails
    return [
        dg.AssetCheckSpec(check_name, asset=key, blocking=blocking, description=f"{description} {_UNPUBLISHED}", partitions_def=partitions)
        for check_name, description in step.checks.items()
    ]


def outcome(built: Built, describe: Callable[[Built], Facts]) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """Report the outcome of a step that is not partitioned to Dagster, as its asset function.

    Yields
    ------
    dagster.MaterializeResult or dagster.AssetCheckResult
        The materialization with the results of its checks; only the results of the checks if one of them failed.

    Raises
    ------
    dagster.Failure
        A check failed. The version was not published, so no materialization is reported.
    """
    results = [
        dg.AssetCheckResult(check_name=of.name, passed=of.passed, description=of.description, metadata=of.metadata)
        for of in verdicts(built.checks)
    ]
    if built.failures:
        yield from results
        raise dg.Failure(description="; ".join(map(str, built.failures)), allow_retries=False)
    yield dg.MaterializeResult(
        metadata=metadata(describe(built)), data_version=dg.DataVersion(built.artifact.fingerprint), check_results=results
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of one of Dagster's checks, which summarizes several checks of this package."""

    name: str
    passed: bool
    description: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def limits_of(checks: Sequence[Check]) -> list[Check]:
    """Return the checks of limits that a corpus can declare."""
    return [of for of in checks if of.name in _LIMITS]


def verdicts(checks: Sequence[Check]) -> list[Verdict]:
    """Return the results of Dagster's checks of a version, given the outcomes of this package's checks."""
    groups = {
        SOUND: [of for of in checks if of.name not in _LIMITS],
        WITHIN_LIMITS: limits_of(checks),
    }
    return [_verdict(name, of) for name, of in groups.items() if of]


def _verdict(name: str, checks: Sequence[Check]) -> Verdict:
    failures = [of for of in checks if not of.passed]
    lines = [f"| {of.name} | {'passed' if of.passed else '**failed**'} | {of.found} |" for of in checks]
    table = dg.MetadataValue.md("\n".join(["| check | result | found |", "| --- | --- | --- |", *lines]))
    numbers = {f"{of.name}: {what}": value for of in checks for what, value in of.numbers.items()}
    found = "; ".join(of.found for of in failures or checks)
    return Verdict(name=name, passed=not failures, description=found, metadata={"checks": table, **numbers})


def store_asset() -> dg.AssetSpec:
    """Return the asset that carries the checks of the store, so that no run of another asset selects them."""
    return dg.AssetSpec(
        _STORE, kinds={"folder"}, group_name="store", description="All published artifacts. Nothing builds this asset: it only has checks."
    )


def stored_check(corpus: Corpus) -> dg.AssetChecksDefinition:
    """Return a check that compares all published artifacts of a corpus with their checksums."""
    name = corpus.config.name
    description = f"All published artifacts of {name}, of all steps, match the checksums that were written with them."
    spec = dg.AssetCheckSpec(f"{name}_{STORED}", asset=_STORE, description=description)

    @dg.multi_asset_check(name=f"{name}__{STORED}", specs=[spec], pool=CHECK_POOL, required_resource_keys={WORKSPACE})
    def stored_as_written(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        workspace: Workspace = context.resources.workspace
        read: list[str] = []
        yield stored_result(spec, list(store_problems(workspace.store, read.append, name)), read)

    return stored_as_written


def check_store_job(checks: Sequence[dg.AssetChecksDefinition]) -> Any:
    """Return the job that runs the checks of all corpora's published artifacts."""
    return dg.define_asset_job(
        CHECK_STORE, selection=dg.AssetSelection.checks(*checks), description="Compares all published artifacts with their checksums."
    )


def check_store_schedule(job: Any) -> dg.ScheduleDefinition:
    """Return the schedule of the job; it is off until a user turns it on, because the job reads the whole store."""
    return dg.ScheduleDefinition(
        name=f"{CHECK_STORE}_schedule",
        cron_schedule="0 4 * * 0",
        job=job,
        description="Compares all published artifacts with their checksums every week. Off by default, because it reads the whole store.",
    )


def stored_result(spec: dg.AssetCheckSpec, problems: list[StoreProblem], read: list[str]) -> dg.AssetCheckResult:
    """Return the result of comparing artifacts with their checksums."""
    damaged = {problem.address for problem in problems}
    found = f"{counted(len(read), 'artifact')} compared with what was written, none damaged"
    if problems:
        found = f"{len(damaged):,} of {counted(len(read), 'artifact')} damaged; phyagi-assets check --discard removes them for a new build"
    listed = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in problems[:_LISTED]))
    numbers = {"artifacts": len(read), "damaged artifacts": len(damaged)}
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=found,
        metadata={**numbers, "damage": listed} if problems else numbers,
    )
