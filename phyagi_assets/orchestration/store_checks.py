"""The check of the store, which has its own asset and job: all published artifacts of a corpus are compared with their checksums."""

from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.integrity import StoreProblem, store_problems
from phyagi_assets.orchestration.names import CHECK_POOL, WORKSPACE
from phyagi_assets.steps.step import Workspace

STORED = "stored_as_written"
CHECK_STORE = "check_store"
"""Name of the job that compares all published artifacts with their checksums."""
_STORE = dg.AssetKey(["store"])
_LISTED = 20
"""Largest number of problems that a result lists."""


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
    artifacts, damaged = counted(len(read), "artifact"), {problem.address for problem in problems if problem.version}
    found = f"{artifacts} compared with what was written, none damaged"
    if damaged:
        found = f"{len(damaged):,} of {artifacts} damaged; phyagi-assets check --discard removes them for a new build"
    elif problems:  # of artifacts that may not be read, or lost their links
        found = f"{len({problem.address for problem in problems}):,} of {artifacts} cannot be used as they are, though none is damaged"
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
