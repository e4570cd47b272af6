"""Jobs that build stale partitions, in any set: one for each corpus, and the one that the command runs.

A run of assets takes a range of partitions. The op of these jobs takes any set from its configuration, or determines which partitions are
stale, and logs the same events.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import dagster as dg

from phyagi_assets.build.examine import examine_partitions
from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import Work, stale_partitions
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceChangedError, SourceError
from phyagi_assets.execution.ray_address import default_executor
from phyagi_assets.orchestration.assets import build_fields
from phyagi_assets.orchestration.names import (
    BUILD_POOL,
    BUILDS_ALL_TAG,
    CONTENTS,
    CORPUS_TAG,
    EXECUTOR,
    PARTITIONS,
    PROCESSES,
    PROGRESS,
    WORKSPACE,
    build_job_name,
    op_name,
    partitions_op_name,
    run_config,
)
from phyagi_assets.orchestration.partition_runs import PartitionRun, is_lasting, run_of
from phyagi_assets.orchestration.partitions import sync_partitions
from phyagi_assets.orchestration.recorded import Recorded, recorded_of_partitions
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope

_CONTENTS_FIELD = dg.Field(
    dg.Map(str, str),  # type: ignore[no-untyped-call]
    default_value={},
    is_required=False,
    description="Set by sensors: the content for which each partition is requested.",
)


def corpus_job(corpus: Corpus, flow: Flow) -> Any:
    """Return the job that builds chosen partitions of a corpus."""
    name = corpus.config.name
    return dg.define_asset_job(
        build_job_name(name),
        selection=dg.AssetSelection.assets(*([name, step.name] for step in flow.in_scope(Scope.PARTITION))),
        description=f"Builds the partitions of {name} that you choose.",
        config=run_config(partitions_op_name(name), **{PROCESSES: None, EXECUTOR: default_executor()}),
        tags={CORPUS_TAG: name},
    )


def mixture_job(declared: Mixture, flow: Flow) -> Any:
    """Return the job that builds a mixture."""
    name = declared.config.name
    return dg.define_asset_job(
        build_job_name(name),
        selection=dg.AssetSelection.assets(*([name, step.name] for step in flow.in_scope(Scope.MIXTURE))),
        description=f"Builds {name}.",
        config=_defaults(name, flow),
    )


def _defaults(mixture: str, flow: Flow) -> dict[str, Any]:
    """Return the default options of a mixture's steps, which the launchpad shows."""
    steps = [step for step in flow.in_scope(Scope.MIXTURE) if step.options]
    return {"ops": {op_name(mixture, step): {"config": {name: option.default for name, option in step.options.items()}} for step in steps}}


def stale_job(name: str, corpora: Mapping[str, Corpus], flow: Flow) -> dg.JobDefinition:
    """Return a job that builds the stale partitions of corpora."""
    listed = dg.Field(
        dg.Map(str, [str]),  # type: ignore[no-untyped-call]
        default_value={},
        is_required=False,
        description="Keys of the partitions to build, by corpus; by default, all that are stale.",
    )

    @dg.op(
        name=partitions_op_name(name),
        pool=BUILD_POOL,
        config_schema={PARTITIONS: listed, **build_fields(), CONTENTS: _CONTENTS_FIELD},
        required_resource_keys={WORKSPACE, PROGRESS},
    )
    def build_stale(context: dg.OpExecutionContext) -> None:
        chosen: Mapping[str, list[str] | None] = context.op_config[PARTITIONS] or dict.fromkeys(corpora)
        if unknown := [corpus for corpus in chosen if corpus not in corpora]:
            raise dg.Failure(
                description=f"{PARTITIONS}: {unknown[0]!r} is not a corpus that this job builds; it builds: {', '.join(corpora)}",
                allow_retries=False,
            )
        _build_stale(context, chosen, Builder(corpora=corpora, workspace=context.resources.workspace, flow=flow))

    only = next(iter(corpora)) if len(corpora) == 1 else ""

    @dg.job(
        name=name,
        tags={**BUILDS_ALL_TAG, **({CORPUS_TAG: only} if only else {})},
        config=run_config(partitions_op_name(name), **{PARTITIONS: {}, PROCESSES: None, EXECUTOR: default_executor()}),
        description=f"Builds the stale partitions of {only or 'all corpora'}, or only those that you list.",
    )
    def job() -> None:
        build_stale()

    return job


def _build_stale(context: dg.OpExecutionContext, chosen: Mapping[str, list[str] | None], builder: Builder) -> None:
    """Build the stale partitions among the keys of each chosen corpus, or among all of its partitions."""
    with run_of(context, builder, list(chosen)), ExitStack() as locks:
        for corpus in sorted(chosen):  # wait for another such run, after which fewer partitions are stale
            locks.enter_context(builder.workspace.store.lock(f"runs/{corpus}"))
        recorded = {corpus: recorded_of_partitions(context.instance, corpus, builder.flow) for corpus in chosen}
        work: list[Work] = []
        failed: list[PartitionResult] = []
        for corpus, keys in chosen.items():
            stale, unexamined = _stale(context.instance, builder.corpora[corpus], keys, recorded[corpus], builder)
            work += stale
            failed += unexamined
        PartitionRun(context=context, builder=builder, recorded=recorded).build(work, failed)


def _stale(
    instance: dg.DagsterInstance, corpus: Corpus, keys: list[str] | None, recorded: Recorded, builder: Builder
) -> tuple[list[Work], list[PartitionResult]]:
    """Return the stale partitions among the given keys, or among all, and the results of those that cannot be examined.

    If the source cannot be listed, the given partitions count as failed, and the other corpora are built; without keys, the run fails.
    """
    try:
        partitions = builder.workspace.sources.partitions(corpus)
        sync_partitions(instance, corpus, partitions)
        examined = examine_partitions(corpus, partitions, builder.workspace, builder.flow, among=keys)
    except PhyagiAssetsError as problem:
        if keys is None:
            raise
        if isinstance(problem, DeclarationError | SourceError) and is_lasting(problem, corpus):
            problem = SourceChangedError(str(problem))  # it was listed when the run was requested
        return [], [_failed(corpus, key, problem, builder.flow) for key in keys]
    failed = [_failed(corpus, name.partition("/")[2], problem, builder.flow) for name, problem in examined.failed.items()]
    gone = [key for key in keys or () if key not in partitions]
    failed += [
        _failed(corpus, key, SourceChangedError(f"{corpus.path}: partition {key!r} is not in the source"), builder.flow) for key in gone
    ]
    return stale_partitions(examined, recorded, builder.workspace, builder.flow), failed


def _failed(corpus: Corpus, key: str, problem: PhyagiAssetsError, flow: Flow) -> PartitionResult:
    steps = [step.name for step in flow.in_scope(Scope.PARTITION)]
    return PartitionResult(work=Work(corpus=corpus.config.name, key=key, partition=None, steps=steps), problem=problem)
