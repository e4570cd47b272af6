"""Dagster asset checks: the checks of a step, made at each materialization, and a check that reads all published artifacts."""

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
"""Largest number of problems that a result lists."""

_LIMITS = {tokens.DUPLICATES, tokens.INVALID}


def check_specs(name: str, step: Step) -> list[dg.AssetCheckSpec]:
    """Return the checks of an asset. If one fails, the version is not published, and downstream assets are not built."""
    key = dg.AssetKey([name, step.name])
    return [
        dg.AssetCheckSpec(check_name, asset=key, blocking=True, description=description) for check_name, description in step.checks.items()
    ]


def outcome(built: Built, describe: Callable[[Built], Facts]) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """Report the outcome of a step to Dagster, as its asset function.

    Parameters
    ----------
    built
        The outcome of the step.
    describe
        Returns the facts to show as metadata.

    Yields
    ------
    dagster.MaterializeResult or dagster.AssetCheckResult
        The materialization with the results of its checks; only the results of the checks if one of them failed.

    Raises
    ------
    dagster.Failure
        A check failed. The version was not published, so no materialization is reported.
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
    """Return a check that compares all published artifacts of a corpus with their checksums.

    The check runs on its own, from the UI or from a schedule, not as part of a materialization.

    Parameters
    ----------
    corpus
        The corpus.
    workspace_key
        Key of the Dagster resource that holds the workspace.
    """
    name = corpus.config.name
    key = dg.AssetKey([name, cache.STAGE])
    description = (
        "All published partitions, in all stages, are what was written, by their checksums. Run it by itself: it reads all of them."
    )
    spec = dg.AssetCheckSpec(STORED, asset=key, description=description)

    @dg.multi_asset_check(name=f"{name}__{STORED}", specs=[spec], can_subset=True, required_resource_keys={workspace_key})
    def stored_as_written(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        if context.has_partition_key:  # the run builds one partition, which its own checks cover; this check covers all
            return
        workspace: Workspace = getattr(context.resources, workspace_key)
        read: list[str] = []
        yield stored_result(key, list(store_problems(workspace.store, read.append, name)), read)

    return stored_as_written


def stored_result(key: dg.AssetKey, problems: list[StoreProblem], read: list[str]) -> dg.AssetCheckResult:
    """Return the result of comparing artifacts with their checksums.

    Parameters
    ----------
    key
        Key of the asset that shows the result.
    problems
        Problems that were found.
    read
        Addresses of the artifacts that were read.
    """
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
