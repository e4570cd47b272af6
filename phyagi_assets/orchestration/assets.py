"""A declaration → its assets. What the assets do is the pipeline's business; here it is only given Dagster's form."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import DeclarationError, PhyagiAssetsError, SourceDownError, SourceError, TokenizerError, memory_named
from phyagi_assets.inspection.describe import LEFT_OUT
from phyagi_assets.orchestration.checks import check_specs, outcome
from phyagi_assets.orchestration.declared import require_as_asked
from phyagi_assets.orchestration.metadata import Metadata, cache_metadata, mixture_metadata, raw_metadata, tokenized_metadata
from phyagi_assets.orchestration.orphaned_runs import at_work
from phyagi_assets.orchestration.partitions import partitions_def
from phyagi_assets.orchestration.progress import Progress
from phyagi_assets.orchestration.sensors import FAILURE_TAG, LASTING, follow_condition, freshness_policy
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps import cache, mixture, raw, tokenize
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.store.data_folders import claim


class MixtureRun(dg.Config):
    """How a mixture is materialized."""

    at_position: int | None = Field(
        default=None,
        description="Position of training from which on the corpora and weights are read as they are now; what comes before stays as it "
        "was. Without one, a new plan replaces the old one.",
    )


PROCESSES = "processes"
WORKSPACE = "workspace"
PROGRESS = "progress"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainStep:
    """A step of a corpus's chain, and how its asset looks."""

    stage: str
    code_version: str
    upstream: str | None
    kinds: frozenset[str]
    holds: str
    build: Callable[..., Built]
    """Runs it, given the corpus, the partition, the workspace and what to tell progress to; and, by name, what is configured."""
    describe: Callable[[Built], Metadata]
    config: dict[str, dg.Field] = field(default_factory=dict)
    """What of a run of it can be configured."""


CHAIN = (
    ChainStep(
        stage=raw.STAGE,
        code_version=raw.CODE_VERSION,
        upstream=None,
        kinds=frozenset({"file"}),
        holds="The files of the source, pinned by their content.",
        build=raw.build_raw,
        describe=raw_metadata,
    ),
    ChainStep(
        stage=tokenize.STAGE,
        code_version=tokenize.CODE_VERSION,
        upstream=raw.STAGE,
        kinds=frozenset({"arrow", "huggingface"}),
        holds="The token ids of every document, a row each: `datasets.load_from_disk` opens it.",
        build=tokenize.build_tokenized,
        describe=tokenized_metadata,
        config={
            PROCESSES: dg.Field(
                int,
                default_value=1,  # as many runs as there are processors may be at work
                description="How many processes encode it, where it is so large that it is cut into pieces.",
            )
        },
    ),
    ChainStep(
        stage=cache.STAGE,
        code_version=cache.CODE_VERSION,
        upstream=tokenize.STAGE,
        kinds=frozenset({"numpy"}),
        holds="The token arrays of every split, for training code to map into memory.",
        build=cache.build_cache,
        describe=cache_metadata,
    ),
)


def corpus_assets(corpus: Corpus) -> list[dg.AssetsDefinition]:
    """raw_dataset → tokenized_arrow → numpy_cache, partitioned alike."""
    return [_step_asset(corpus, step) for step in CHAIN]


def mixture_asset(declared: Mixture, corpora: Mapping[str, Corpus]) -> dg.AssetsDefinition:
    """The plan of a mixture, downstream of the caches of all its corpora's partitions."""
    parts = [part.corpus for part in declared.config.datasets]

    @dg.asset(
        key=[declared.config.name, mixture.STAGE],
        deps=[dg.AssetDep([corpus, cache.STAGE], partition_mapping=dg.AllPartitionMapping()) for corpus in parts],
        group_name=declared.config.name,
        kinds={"json"},
        owners=list(declared.config.owners),
        description=_described(declared, "The plan of the mixture: which token arrays, with what weights, in what order."),
        code_version=mixture.CODE_VERSION,
        automation_condition=follow_condition(),
        freshness_policy=freshness_policy(declared.config.fresh_within),
        check_specs=check_specs(declared.config.name, mixture.STAGE),
        required_resource_keys={WORKSPACE},
    )
    def mixed_dataset(context: dg.AssetExecutionContext, config: MixtureRun) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        keys = {corpus: context.instance.get_dynamic_partitions(corpus) for corpus in parts}
        with _failures(context), at_work(context.run.run_id, workspace.store):
            require_as_asked(context.run.tags, declared)
            claim(workspace.store, workspace.data, [declared.config.name], context.log)
            for part in parts:
                require_as_asked(context.run.tags, corpora[part])
            built = mixture.build_mixture(declared, corpora, keys, workspace, config.at_position)
        with _failures(context):
            yield from outcome(built, mixture_metadata)

    return mixed_dataset


def mixture_run_config(name: str, at: int | None) -> dict[str, Any]:
    """The run configuration that changes a mixture from a position on."""
    return {"ops": {f"{name}__{mixture.STAGE}": {"config": {"at_position": at}}}} if at is not None else {}


def encoding_run_config(item: Work) -> dict[str, Any]:
    """The run configuration that has a partition encoded by its share of the processes."""
    return {"ops": {f"{item.corpus}__{tokenize.STAGE}": {"config": {PROCESSES: item.processes}}}}


def _step_asset(corpus: Corpus, step: ChainStep) -> dg.AssetsDefinition:
    name = corpus.config.name

    @dg.asset(
        key=[name, step.stage],
        deps=[[name, step.upstream]] if step.upstream else [],
        partitions_def=partitions_def(corpus),
        group_name=name,
        kinds=set(step.kinds),
        owners=list(corpus.config.owners),
        description=_described(corpus, step.holds),
        code_version=step.code_version,
        automation_condition=follow_condition() if step.upstream else None,
        freshness_policy=freshness_policy(corpus.config.fresh_within),
        check_specs=check_specs(name, step.stage),
        required_resource_keys={WORKSPACE, PROGRESS},
        config_schema=step.config,
    )
    def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult | dg.MaterializeResult[None]]:
        workspace: Workspace = context.resources.workspace
        progress: Progress = context.resources.progress
        with _failures(context, corpus), at_work(context.run.run_id, workspace.store):
            require_as_asked(context.run.tags, corpus)
            claim(workspace.store, workspace.data, [name], context.log)
            partition = _partition(corpus, context.partition_key, step, workspace)
            with progress.watch(context, step.stage, partition) as on_progress:
                built = step.build(corpus, partition, workspace, on_progress, **(context.op_execution_context.op_config or {}))
        left_out = workspace.sources.left_out(corpus) if step.upstream is None else ""
        with _failures(context, corpus):
            yield from outcome(built, lambda of: {**step.describe(of), LEFT_OUT: left_out} if left_out else step.describe(of))

    return materialize


def _partition(corpus: Corpus, key: str, step: ChainStep, workspace: Workspace) -> Partition:
    """Of the source where the step pins it, and as it was pinned where it builds on that."""
    if step.upstream is None:
        return raw.listed_partition(corpus, key, workspace)
    return raw.pinned_partition(corpus, key, workspace, wanted_by=f"{corpus.config.name}/{step.stage}/{key}")


@contextmanager
def _failures(context: dg.AssetExecutionContext, corpus: Corpus | None = None) -> Iterator[None]:
    """Turn errors that the user can put right into failures with a message, and tag the run if trying again cannot help."""
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
    """Whether an error stays until an input changes: what the disk, a server or another step causes may go away."""
    if isinstance(problem, TokenizerError):
        return corpus is not None and "@" not in corpus.config.tokenizer
    return isinstance(problem, DeclarationError | SourceError) and not isinstance(problem, SourceDownError)


def _described(declared: Corpus | Mixture, what: str) -> str:
    summary = f"{declared.config.description}\n\n" if declared.config.description else ""
    return f"{what}\n\n{summary}Declared in `{declared.path.parent.name}/{declared.path.name}`:\n\n```yaml\n{declared.text.rstrip()}\n```"
