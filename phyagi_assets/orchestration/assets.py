"""The assets of a declaration: the steps of the flow as Dagster assets."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceDownError, SourceError, TokenizerError, memory_named
from phyagi_assets.inspection.describe import LEFT_OUT
from phyagi_assets.orchestration.checks import check_specs, outcome
from phyagi_assets.orchestration.declared import require_as_asked
from phyagi_assets.orchestration.orphaned_runs import at_work
from phyagi_assets.orchestration.partitions import partitions_def
from phyagi_assets.orchestration.progress import Progress
from phyagi_assets.orchestration.sensors import FAILURE_TAG, LASTING, follow_condition, freshness_policy
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps import raw
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Option, Scope, Step, Workspace
from phyagi_assets.store.data_folders import claim

WORKSPACE = "workspace"
PROGRESS = "progress"


def corpus_assets(corpus: Corpus, flow: Flow = FLOW) -> list[dg.AssetsDefinition]:
    """Return the assets of a corpus: one for each step with the scope of a partition or of a corpus."""
    partitioned = [_partitioned_asset(corpus, step) for step in flow.of(Scope.PARTITION)]
    return [*partitioned, *(_whole_corpus_asset(corpus, step) for step in flow.of(Scope.CORPUS))]


def mixture_assets(declared: Mixture, corpora: Mapping[str, Corpus], flow: Flow = FLOW) -> list[dg.AssetsDefinition]:
    """Return the assets of a mixture, downstream of the inputs in all its corpora's partitions."""
    return [_mixture_asset(declared, corpora, step) for step in flow.of(Scope.MIXTURE)]


def run_config(name: str, step: Step, **options: int | None) -> dict[str, Any]:
    """Return the run configuration that sets options of a step of the corpus or mixture `name`."""
    return {"ops": {f"{name}__{step.name}": {"config": options}}}


def _partitioned_asset(corpus: Corpus, step: Step) -> dg.AssetsDefinition:
    name = corpus.config.name

    own = {
        "deps": [[name, step.input]] if step.input else [],
        "partitions_def": partitions_def(corpus),
        "automation_condition": follow_condition() if step.input else None,
        "required_resource_keys": {WORKSPACE, PROGRESS},
    }

    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        progress: Progress = context.resources.progress
        with _failures(context, corpus), at_work(context.run.run_id, workspace.store):
            require_as_asked(context.run.tags, corpus)
            claim(workspace.store, workspace.data, [name], context.log)
            partition = _partition(corpus, context.partition_key, step, workspace)
            with progress.watch(context, step, partition) as on_progress:
                built = step.build(corpus, partition, workspace, on_progress, **(context.op_execution_context.op_config or {}))
        left_out = workspace.sources.left_out(corpus) if step.input is None else ""
        with _failures(context, corpus):
            yield from outcome(built, lambda of: {**step.facts(of), LEFT_OUT: left_out} if left_out else step.facts(of))

    return _asset(corpus, step, materialize, own)


def _whole_corpus_asset(corpus: Corpus, step: Step) -> dg.AssetsDefinition:
    name = corpus.config.name

    own = {
        "deps": [_of_all_partitions(name, step)],
        "automation_condition": follow_condition(),
        "required_resource_keys": {WORKSPACE},
    }

    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        with _failures(context, corpus), at_work(context.run.run_id, workspace.store):
            require_as_asked(context.run.tags, corpus)
            claim(workspace.store, workspace.data, [name], context.log)
            keys = sorted(context.instance.get_dynamic_partitions(name))
            built = step.build(corpus, keys, workspace, **(context.op_execution_context.op_config or {}))
        with _failures(context, corpus):
            yield from outcome(built, step.facts)

    return _asset(corpus, step, materialize, own)


def _mixture_asset(declared: Mixture, corpora: Mapping[str, Corpus], step: Step) -> dg.AssetsDefinition:
    parts = [part.corpus for part in declared.config.datasets]

    own = {
        "deps": [_of_all_partitions(corpus, step) for corpus in parts],
        "automation_condition": follow_condition(),
        "required_resource_keys": {WORKSPACE},
    }

    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        keys = {corpus: context.instance.get_dynamic_partitions(corpus) for corpus in parts}
        with _failures(context), at_work(context.run.run_id, workspace.store):
            require_as_asked(context.run.tags, declared)
            claim(workspace.store, workspace.data, [declared.config.name], context.log)
            for part in parts:
                require_as_asked(context.run.tags, corpora[part])
            built = step.build(declared, corpora, keys, workspace, **(context.op_execution_context.op_config or {}))
        with _failures(context):
            yield from outcome(built, step.facts)

    return _asset(declared, step, materialize, own)


def _asset(declared: Corpus | Mixture, step: Step, materialize: Callable[..., Any], own: Mapping[str, Any]) -> dg.AssetsDefinition:
    """Return the asset of a step. `own` holds the arguments of `dg.asset` that depend on the step's scope."""
    name = declared.config.name
    made: dg.AssetsDefinition = dg.asset(
        key=[name, step.name],
        group_name=name,
        kinds=set(step.kinds),
        owners=list(declared.config.owners),
        description=_described(declared, step.description),
        code_version=step.code_version,
        freshness_policy=freshness_policy(declared.config.fresh_within),
        check_specs=check_specs(name, step),
        config_schema={option: _field(of) for option, of in step.options.items()},
        **own,
    )(materialize)
    return made


def _field(option: Option) -> dg.Field:
    kind = int if option.default is not None else dg.Noneable(int)
    return dg.Field(kind, default_value=option.default, is_required=False, description=option.description)


def _of_all_partitions(corpus: str, step: Step) -> dg.AssetDep:
    assert step.input is not None, "a step of a corpus or mixture reads partitions"
    return dg.AssetDep([corpus, step.input], partition_mapping=dg.AllPartitionMapping())


def _partition(corpus: Corpus, key: str, step: Step, workspace: Workspace) -> Partition:
    """Return a partition: as the source lists it for the first step, which pins it; as it was pinned for all other steps."""
    if step.input is None:
        return raw.listed_partition(corpus, key, workspace)
    return raw.pinned_partition(corpus, key, workspace, wanted_by=step.address(corpus.config.name, key))


@contextmanager
def _failures(context: dg.AssetExecutionContext, corpus: Corpus | None = None) -> Iterator[None]:
    """Turn user errors into Dagster failures without a traceback, and tag the run if a retry cannot help."""
    try:
        with memory_named(context.asset_key.to_user_string()):
            yield
    except PhyagiAssetsError as problem:
        if _lasts(problem, corpus):
            context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise dg.Failure(description=str(problem), allow_retries=False) from problem
    except dg.Failure:  # a check of what was built failed
        context.instance.add_run_tags(context.run.run_id, {FAILURE_TAG: LASTING})
        raise


def _lasts(problem: PhyagiAssetsError, corpus: Corpus | None) -> bool:
    """Return whether an error persists until an input changes. Errors caused by the disk, a server or another step may go away."""
    if isinstance(problem, TokenizerError):
        return corpus is not None and "@" not in corpus.config.tokenizer
    return isinstance(problem, DeclarationError | SourceError) and not isinstance(problem, SourceDownError)


def _described(declared: Corpus | Mixture, what: str) -> str:
    summary = f"{declared.config.description}\n\n" if declared.config.description else ""
    return f"{what}\n\n{summary}Declared in `{declared.path.parent.name}/{declared.path.name}`:\n\n```yaml\n{declared.text.rstrip()}\n```"
