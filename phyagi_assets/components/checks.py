"""The pipeline's checks as Dagster's: those that come with each materialization, and one that reads all that is published."""

from collections.abc import Callable, Iterator, Mapping

import dagster as dg

from phyagi_assets.components.metadata import Metadata
from phyagi_assets.declarations import Corpus
from phyagi_assets.pipeline import cache, mixture, raw, tokenized
from phyagi_assets.pipeline.checks import arrays, check, plans, round_trip, tally, tokens
from phyagi_assets.pipeline.integrity import StoreProblem, store_problems
from phyagi_assets.pipeline.step import Built, Workspace

STORED = "stored_as_written"

_LISTED = 20
"""Damaged files that a result names."""

_AS_WRITTEN = {check.AS_WRITTEN: "The files are what was written, by their checksums; damaged ones are built again."}
_IDS = {
    tally.VOCABULARY: "Every id is one of the tokenizer's.",
    tally.EOS: "Every document that is not empty ends with the EOS.",
}
_OF_STAGE: Mapping[str, Mapping[str, str]] = {
    raw.STAGE: {},
    tokenized.STAGE: {
        **_AS_WRITTEN,
        **_IDS,
        round_trip.ROUND_TRIP: "A sample of the documents, decoded, is the text that they were made of, and gives the same ids.",
        tokens.ROWS: "There are as many documents and tokens as were counted when they were written.",
        tokens.DUPLICATES: "The share of documents whose text stands before them, against `limits.duplicates`.",
        tokens.INVALID: "The share of rows that were left out, against `limits.invalid`.",
    },
    cache.STAGE: {
        **_AS_WRITTEN,
        **_IDS,
        arrays.ENDS: "The ends of the documents increase, and close where their arrays end.",
        arrays.COUNTS: "Over all splits, there are as many documents and tokens as were tokenized.",
    },
    mixture.STAGE: {
        **_AS_WRITTEN,
        plans.ARRAYS: "Every array that the plan names is there, with as many tokens as it says.",
        plans.SAMPLES: "The samples of arrays and corpora add up.",
    },
}
"""What is checked with each materialization, and what that is."""


def check_specs(name: str, stage: str, *, append_eos: bool = True) -> list[dg.AssetCheckSpec]:
    """The checks of an asset. One that fails keeps the version from being published, and what follows from being built."""
    return [
        dg.AssetCheckSpec(check_name, asset=dg.AssetKey([name, stage]), blocking=True, description=description)
        for check_name, description in _OF_STAGE[stage].items()
        if append_eos or check_name != tally.EOS
    ]


def outcome(built: Built, describe: Callable[[Built], Metadata]) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
    """What a step has built, as its asset gives it to Dagster.

    Raises
    ------
    dagster.Failure
        A check failed. Nothing was published, so nothing is said to be materialized.
    """
    results = [
        dg.AssetCheckResult(check_name=of.name, passed=of.passed, description=of.found, metadata=dict(of.numbers)) for of in built.checks
    ]
    if built.failures:
        yield from results
        raise dg.Failure(description="; ".join(map(str, built.failures)), allow_retries=False)
    yield dg.MaterializeResult(metadata=describe(built), data_version=dg.DataVersion(built.artifact.fingerprint), check_results=results)


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
    found = f"{len(read)} artifacts are what was written"
    if problems:
        found = (
            f"{len(damaged)} of {len(read)} artifacts are damaged; phyagi-assets check --discard removes them, for them to be built again"
        )
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
