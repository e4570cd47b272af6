"""The checks of a step, made at each materialization, as Dagster asset checks."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from phyagi_assets.orchestration.metadata import metadata
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.step import Built, Step

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
    results = check_results(built.checks)
    if built.failures:
        yield from results
        raise dg.Failure(description="; ".join(map(str, built.failures)), allow_retries=False)
    yield dg.MaterializeResult(
        metadata=metadata(describe(built)), data_version=dg.DataVersion(built.artifact.fingerprint), check_results=results
    )


def check_results(checks: Sequence[Check]) -> list[dg.AssetCheckResult]:
    """Return the results of Dagster's checks of a version, each of which summarizes several checks of this package."""
    groups: dict[str, list[Check]] = {}
    for check in checks:
        groups.setdefault(check.part_of, []).append(check)
    return [_result(name, members) for name, members in groups.items()]


def _result(name: str, checks: Sequence[Check]) -> dg.AssetCheckResult:
    failures = [check for check in checks if not check.passed]
    lines = [f"| {check.name} | {'passed' if check.passed else '**failed**'} | {check.found} |" for check in checks]
    table = dg.MetadataValue.md("\n".join(["| check | result | found |", "| --- | --- | --- |", *lines]))
    numbers = {f"{check.name}: {what}": value for check in checks for what, value in check.numbers.items()}
    found = "; ".join(check.found for check in failures or checks)
    return dg.AssetCheckResult(check_name=name, passed=not failures, description=found, metadata={"checks": table, **numbers})
