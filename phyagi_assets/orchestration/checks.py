"""The checks of steps as Dagster's: those that come with each materialization, and one that reads all that is published."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.integrity import StoreProblem, store_problems
from phyagi_assets.orchestration.metadata import metadata
from phyagi_assets.steps import cache
from phyagi_assets.steps.checks import check, tokens
from phyagi_assets.steps.checks.check import SOUND, WITHIN_LIMITS
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.step import Built, Step, Workspace

STORED = "stored_as_written"

_LISTED = 20
"""Damaged files that a result names."""

_LIMITS = {tokens.DUPLICATES, tokens.INVALID}


def check_specs(name: str, step: Step) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset. One that fails keeps the version from being published, and what follows from being built."""
    key = dg.AssetKey([name, step.name])
    return [
        dg.AssetCheckSpec(check_name, asset=key, blocking=True, description=description) for check_name, description in step.checks.items()
    ]


def outcome(built: Built, describe: Callable[[Built], Facts]) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """What a step has built, as its asset gives it to Dagster.

    Raises
    ------
    dagster.Failure
        A check failed. Nothing was published, so nothing is said to be materialized.
    """
    groups = {
        SOUND: [of for of in built.checks if of.name not in _LIMITS],
        WITHIN_LIMITS: [of for of in built.checks if of.name in _LIMITS],
    }
    results = [_result(name, of) for name, of in groups.items() if of]
    if built.failures:
        yield from results
        raise dg.Failure(description="; ".join(map(str, built.failures)), allow_retries=False)
    yield dg.MaterializeResult(
        metadata=metadata(describe(built)), data_version=dg.DataVersion(built.artifact.fingerprint), check_results=results
    )


def _result(name: str, looked_at: Sequence[check.Check]) -> dg.AssetCheckResult:
    failures = [of for of in looked_at if not of.passed]
    lines = [f"| {of.name} | {'passed' if of.passed else '**failed**'} | {of.found} |" for of in looked_at]
    table = dg.MetadataValue.md("\n".join(["| | | |", "| --- | --- | --- |", *lines]))
    numbers = {f"{of.name}: {what}": value for of in looked_at for what, value in of.numbers.items()}
    found = "; ".join(of.found for of in failures or looked_at)
    return dg.AssetCheckResult(check_name=name, passed=not failures, description=found, metadata={"looked at": table, **numbers})


def stored_check(corpus: Corpus, workspace_key: str) -> dg.AssetChecksDefinition:
    """Reads everything that is published of a corpus against its checksums, when it is run by itself: in the UI, or by a schedule.

    Parameters
    ----------
    workspace_key
        Of the resource that is the workspace.
    """
    name = corpus.config.name
    key = dg.AssetKey([name, cache.STAGE])
    description = (
        "All published partitions, in all stages, are what was written, by their checksums. Run it by itself: it reads all of them."
    )
    spec = dg.AssetCheckSpec(STORED, asset=key, description=description)

    @dg.multi_asset_check(name=f"{name}__{STORED}", specs=[spec], can_subset=True, required_resource_keys={workspace_key})
    def stored_as_written(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if context.has_partition_key:  # a run that builds one partition, whose own checks have looked at it: this one is about all
            return
        workspace: Workspace = getattr(context.resources, workspace_key)
        read: list[str] = []
        yield stored_result(key, list(store_problems(workspace.store, read.append, name)), read)

    return stored_as_written


def stored_result(key: dg.AssetKey, problems: list[StoreProblem], read: list[str]) -> dg.AssetCheckResult:
    """What reading the artifacts came to."""
    damaged = {problem.address for problem in problems}
    found = f"{counted(len(read), 'artifact')} compared with what was written, none damaged"
    if problems:
        found = f"{len(damaged):,} of {counted(len(read), 'artifact')} damaged; phyagi-assets check --discard removes them for a new build"
    listed = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in problems[:_LISTED]))
    numbers = {"artifacts": len(read), "damaged artifacts": len(damaged)}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=STORED,
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=found,
        metadata={**numbers, "damage": listed} if problems else numbers,
    )
