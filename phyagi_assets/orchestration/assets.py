"""The assets of a declaration: the steps of the flow as Dagster assets.

The steps of a corpus's partitions are one multi-asset, whose run builds any range of partitions and any of the steps. The other steps are
one asset each.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from phyagi_assets.build.available import available_partitions
from phyagi_assets.build.failures import Failures
from phyagi_assets.build.mixture_scan import mixture_inputs_digest, published_inputs
from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import Work, work_of
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError, SourceError, translate_limit_errors
from phyagi_assets.execution.ray_address import default_executor
from phyagi_assets.orchestration.asset_attributes import shown_attributes
from phyagi_assets.orchestration.automation import follow_condition
from phyagi_assets.orchestration.checks import check_specs, outcome
from phyagi_assets.orchestration.mixed_samples import mixture_facts
from phyagi_assets.orchestration.names import (
    BUILD_POOL,
    BUILDS_ALL_TAG,
    CORPUS_TAG,
    EXECUTOR,
    FAILURE_TAG,
    INPUTS_TAG,
    LASTING,
    OPEN,
    PROCESSES,
    PROGRESS,
    WORKSPACE,
    partitions_op_name,
    stale_job_name,
)
from phyagi_assets.orchestration.partition_runs import PartitionRun, is_lasting, run_of
from phyagi_assets.orchestration.partitions import partitions_def
from phyagi_assets.orchestration.recorded import recorded_of_partitions
from phyagi_assets.orchestration.run_lock import hold_run
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.mixture import LEFT_OUT_LABEL
from phyagi_assets.steps.step import Option, Scope, Step, Workspace

_MOST_PARTITIONS = 1000
"""Largest number of partitions that a backfill builds in one run."""


def build_fields() -> dict[str, dg.Field]:
    """Return the fields of a run's configuration for the executor and the number of processes."""
    processes = "Number of processes; by default, one for every 8 processors."
    where = "Where the partitions are built: local, ray for the cluster that RAY_ADDRESS names, or ray:ADDRESS."
    return {
        PROCESSES: dg.Field(dg.Noneable(int), default_value=None, is_required=False, description=processes),
        EXECUTOR: dg.Field(str, default_value=default_executor(), is_required=False, description=where),
    }


def corpus_assets(corpus: Corpus, flow: Flow) -> list[dg.AssetsDefinition]:
    """Return the assets of a corpus: one multi-asset for the steps of its partitions, and one asset for each step of the whole corpus."""
    return [_partition_assets(corpus, flow), *(_whole_corpus_asset(corpus, step) for step in flow.in_scope(Scope.CORPUS))]


def mixture_assets(declared: Mixture, corpora: Mapping[str, Corpus], flow: Flow) -> list[dg.AssetsDefinition]:
    """Return the assets of a mixture, downstream of the inputs in all its corpora's partitions."""
    return [_mixture_asset(declared, corpora, step) for step in flow.in_scope(Scope.MIXTURE)]


def _partition_assets(corpus: Corpus, flow: Flow) -> dg.AssetsDefinition:
    name, partitions = corpus.config.name, partitions_def(corpus)
    steps = {dg.AssetKey([name, step.name]): step for step in flow.in_scope(Scope.PARTITION)}

    def build_partitions(context: dg.AssetExecutionContext) -> Iterator[Any]:
        selected = [step for key, step in steps.items() if key in context.selected_asset_keys]
        builder = Builder(corpora={name: corpus}, workspace=context.resources.workspace, flow=flow)
        run = PartitionRun(
            context=context,
            builder=builder,
            recorded={name: recorded_of_partitions(context.instance, name, flow)} if context.retry_number else None,
            checks={name: {key.asset_key.path[-1] for key in context.selected_asset_check_keys}},
        )
        keys = context.partition_keys if context.has_partition_key or context.has_partition_key_range else ()
        if not keys:  # also for a range that ends before it begins
            remedy = f"select some, or launch {stale_job_name(name)}, which builds those that are stale"
            raise dg.Failure(description=f"no partition of {name} is selected; {remedy}", allow_retries=False)
        # Runs of a job have the tag of the corpus already; those of "Materialize" in the UI have no job.
        tags = {CORPUS_TAG: name, **(BUILDS_ALL_TAG if len(selected) == len(steps) else {})}
        context.instance.add_run_tags(context.run.run_id, tags)
        with run_of(context, builder, [name]):
            run.build(*_work(corpus, keys, selected, builder))
        yield from ()  # the events are logged, each with its partition; the multi-asset itself yields none

    asset: dg.AssetsDefinition = dg.multi_asset(
        name=partitions_op_name(name),
        specs=[_spec(corpus, step) for step in steps.values()],
        can_subset=True,
        pool=BUILD_POOL,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.multi_run(_MOST_PARTITIONS),
        check_specs=[spec for step in steps.values() for spec in check_specs(name, step, partitions)],
        config_schema=build_fields(),
        required_resource_keys={WORKSPACE, PROGRESS},
    )(build_partitions)
    return asset


def _work(corpus: Corpus, keys: Sequence[str], steps: Sequence[Step], builder: Builder) -> tuple[list[Work], list[PartitionResult]]:
    """Return the work of building selected steps of selected partitions, and the results of partitions that are not in the source."""
    sources, names = builder.workspace.sources, [step.name for step in steps]
    unlisted = {key: Work(corpus=corpus.config.name, key=key, partition=None, steps=names) for key in keys}
    if steps[0].input is not None and all(sources.remote(path) for path in corpus.config.source.paths):
        return list(unlisted.values()), []  # the raw artifacts name the files, so a remote source is not listed
    listed = sources.partitions(corpus)
    work = [work_of(corpus, listed[key], names, builder.workspace, builder.flow) for key in keys if key in listed]
    known = ", ".join(list(listed)[:20])
    gone = [
        PartitionResult(
            work=unlisted[key], problem=SourceError(f"{corpus.path}: partition {key!r} is no longer in the source, which has: {known}")
        )
        for key in keys
        if key not in listed
    ]
    return work, gone


def _whole_corpus_asset(corpus: Corpus, step: Step) -> dg.AssetsDefinition:
    name = corpus.config.name

    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        with _failures(context, corpus):
            with hold_run(context, [corpus]):
                keys = sorted(context.instance.get_dynamic_partitions(name))
                built = step.build(corpus, keys, workspace, **(context.op_execution_context.op_config or {}))
            yield from outcome(built, step.facts)

    return _asset(corpus, step, materialize, [_all_partitions(name, step)])


def _mixture_asset(declared: Mixture, corpora: Mapping[str, Corpus], step: Step) -> dg.AssetsDefinition:
    name, parts = declared.config.name, declared.config.corpora

    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        keys = {corpus: sorted(context.instance.get_dynamic_partitions(corpus)) for corpus in parts}
        with _failures(context):
            with hold_run(context, [declared], reads=[corpora[part] for part in parts]):
                available = available_partitions(declared, corpora, keys, workspace)
                _tag_inputs(context, declared, step, available.keys)
                options: dict[str, Any] = {**(context.op_execution_context.op_config or {}), "left_out": available.left_out}
                built = step.build(declared, corpora, available.keys, workspace, **options)
            missing: Facts = {LEFT_OUT_LABEL: ", ".join(available.left_out)} if available.left_out else {}
            yield from outcome(built, lambda plan: {**mixture_facts(name, step, plan, workspace.store), **missing})

    return _asset(declared, step, materialize, [_all_partitions(corpus, step) for corpus in parts])


def _tag_inputs(context: dg.AssetExecutionContext, declared: Mixture, step: Step, keys: Mapping[str, Sequence[str]]) -> None:
    """Tag the run of a mixture with the digest of its inputs before the build, so that a failed run is not requested again at once."""
    workspace: Workspace = context.resources.workspace
    expected = step.expected(declared, workspace, published_inputs(step, keys, workspace.store))
    assert expected is not None, "the fingerprints of published caches are known"
    tags = {INPUTS_TAG: mixture_inputs_digest(declared, expected)}
    if FAILURE_TAG in context.run.tags:  # a re-executed run inherits the tags of the first run
        tags[FAILURE_TAG] = OPEN
    context.instance.add_run_tags(context.run.run_id, tags)


def _spec(corpus: Corpus, step: Step) -> dg.AssetSpec:
    """Return the specification of the asset of a step of a partition."""
    name = corpus.config.name
    dependency: dict[str, Any] = {}
    if step.input:
        dependency = {"deps": [dg.AssetKey([name, step.input])], "automation_condition": follow_condition(in_partitions=True)}
    return dg.AssetSpec([name, step.name], skippable=True, **dependency, **shown_attributes(corpus, step))


def _asset(declared: Corpus | Mixture, step: Step, materialize: Callable[..., Any], deps: list[dg.AssetDep]) -> dg.AssetsDefinition:
    """Return the asset of a step that is not partitioned. The sensor `mixtures` requests the assets of mixtures."""
    name = declared.config.name
    asset: dg.AssetsDefinition = dg.asset(
        key=[name, step.name],
        deps=deps,
        automation_condition=follow_condition() if step.scope is Scope.CORPUS else None,
        required_resource_keys={WORKSPACE},
        check_specs=check_specs(name, step),
        config_schema={option: _field(declared) for option, declared in step.options.items()},
        **shown_attributes(declared, step),
    )(materialize)
    return asset


def _field(option: Option) -> dg.Field:
    kind = int if option.default is not None else dg.Noneable(int)
    return dg.Field(kind, default_value=option.default, is_required=False, description=option.description)


def _all_partitions(corpus: str, step: Step) -> dg.AssetDep:
    assert step.input is not None, "a step of a corpus or mixture reads partitions"
    return dg.AssetDep([corpus, step.input], partition_mapping=dg.AllPartitionMapping())


@contextmanager
def _failures(context: dg.AssetExecutionContext, corpus: Corpus | None = None) -> Iterator[None]:
    """Turn user errors into Dagster failures without a traceback, record them, and tag the run if a retry cannot help."""
    workspace: Workspace = context.resources.workspace
    failures, name = Failures(workspace.store), context.asset_key.path[0]
    try:
        with translate_limit_errors(context.asset_key.to_user_string()):
            yield
        failures.record(name, "")
    except PhyagiAssetsError as problem:
        failures.record(name, str(problem))
        if is_lasting(problem, corpus):
            context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise dg.Failure(description=str(problem), allow_retries=False) from problem
    except dg.Failure as problem:  # a check of the new version failed
        failures.record(name, problem.description or "")
        context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise
