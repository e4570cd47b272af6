"""A declaration → its assets. What the assets do is the pipeline's business; here it is only given Dagster's form."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import dagster as dg

from phyagi_assets.components.metadata import Metadata, cache_metadata, mixture_metadata, raw_metadata, tokenized_metadata
from phyagi_assets.components.partitions import partitions_def
from phyagi_assets.components.progress import Progress
from phyagi_assets.declarations import Corpus, Mixture
from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.pipeline import cache, mixture, raw, tokenized
from phyagi_assets.pipeline.sources.listing import Partition, list_partitions
from phyagi_assets.pipeline.step import Built, OnProgress, Workspace

WORKSPACE = "workspace"
PROGRESS = "progress"


class Step(Protocol):
    """A step of a corpus's chain."""

    def __call__(self, corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress) -> Built: ...


def corpus_assets(corpus: Corpus) -> list[dg.AssetsDefinition]:
    """raw_dataset → tokenized_arrow → numpy_cache, partitioned alike."""
    return [
        _step(corpus, raw.STAGE, raw.CODE_VERSION, None, {"file"}, lambda c, p, w, _: raw.build_raw(c, p, w), raw_metadata),
        _step(
            corpus,
            tokenized.STAGE,
            tokenized.CODE_VERSION,
            raw.STAGE,
            {"arrow", "huggingface"},
            lambda c, p, w, progress: tokenized.build_tokenized(c, p, w, on_progress=progress),
            tokenized_metadata,
        ),
        _step(
            corpus,
            cache.STAGE,
            cache.CODE_VERSION,
            tokenized.STAGE,
            {"numpy"},
            lambda c, p, w, _: cache.build_cache(c, p, w),
            cache_metadata,
        ),
    ]


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
        required_resource_keys={WORKSPACE},
    )
    def mixed_dataset(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        keys = {corpus: context.instance.get_dynamic_partitions(corpus) for corpus in parts}
        with _failures():
            built = mixture.build_mixture(declared, corpora, keys, context.resources.workspace)
        return _result(built, mixture_metadata(built))

    return mixed_dataset


def _step(
    corpus: Corpus, stage: str, code_version: str, upstream: str | None, kinds: set[str], build: Step, describe: Callable[[Built], Metadata]
) -> dg.AssetsDefinition:
    @dg.asset(
        key=[corpus.config.name, stage],
        deps=[[corpus.config.name, upstream]] if upstream else [],
        partitions_def=partitions_def(corpus),
        group_name=corpus.config.name,
        kinds=kinds,
        owners=list(corpus.config.owners),
        description=_described(corpus, _STAGES[stage]),
        code_version=code_version,
        required_resource_keys={WORKSPACE, PROGRESS},
    )
    def step(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        workspace: Workspace = context.resources.workspace
        progress: Progress = context.resources.progress
        with _failures():
            partition = _partition(corpus, context.partition_key, workspace)
            with progress.watch(context, stage, partition) as on_progress:
                built = build(corpus, partition, workspace, on_progress)
        return _result(built, describe(built))

    return step


_STAGES = {
    raw.STAGE: "The files of the source, pinned by their content.",
    tokenized.STAGE: "The token ids of every document, a row each: `datasets.load_from_disk` opens it.",
    cache.STAGE: "The token arrays of every split, for training code to map into memory.",
}


def _partition(corpus: Corpus, key: str, workspace: Workspace) -> Partition:
    partitions = list_partitions(corpus, workspace.data)
    if key not in partitions:
        raise SourceError(f"{corpus.path}: partition {key!r} is no longer in the source; there are: {', '.join(list(partitions)[:20])}")
    return partitions[key]


@contextmanager
def _failures() -> Iterator[None]:
    """What the user can put right is a failure with its message, not a traceback of this package."""
    try:
        yield
    except PhyagiAssetsError as problem:
        raise dg.Failure(description=str(problem), allow_retries=False) from problem


def _result(built: Built, metadata: Metadata) -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(built.artifact.fingerprint))


def _described(declared: Corpus | Mixture, what: str) -> str:
    summary = f"{declared.config.description}\n\n" if declared.config.description else ""
    return f"{what}\n\n{summary}Declared in `{declared.path.parent.name}/{declared.path.name}`:\n\n```yaml\n{declared.text.rstrip()}\n```"
