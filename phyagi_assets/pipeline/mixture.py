"""mixed_dataset: a plan of which caches a mixture reads and how.

No token is copied. The plan names the versions of the caches, not what is published under their names, so that a training run
reads the same bytes after a refresh.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from phyagi_assets.config import SPLITS
from phyagi_assets.declarations import Corpus, Mixture
from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.pipeline.cache import cache_address
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.step import Built, Workspace, reuse_or_build
from phyagi_assets.pipeline.store import Artifact, Store
from phyagi_assets.pipeline.tokenizers.prepare import SAVED
from phyagi_assets.plan import PLAN, Plan, PlannedCorpus, PlannedPartition, Shard, samples_in

STAGE = "mixed_dataset"
CODE_VERSION = "1"

Caches = Mapping[str, Sequence[Artifact]]


def mixture_address(mixture: Mixture) -> str:
    return f"{mixture.config.name}/{STAGE}"


def published_caches(
    mixture: Mixture, corpora: Mapping[str, Corpus], partitions: Mapping[str, Sequence[str]], store: Store
) -> dict[str, list[Artifact]]:
    """The published caches of every partition of a mixture's corpora.

    Parameters
    ----------
    partitions
        Keys of the partitions that there are, by corpus.

    Raises
    ------
    MissingArtifactsError
        Some are not there, or damaged; it lists them all.
    """
    caches: dict[str, list[Artifact]] = {}
    missing = []
    for part in mixture.config.datasets:
        found = []
        for key in sorted(partitions[part.corpus]):
            address = cache_address(corpora[part.corpus], key)
            artifact = store.open(address)
            if artifact is None:
                missing.append(address)
            else:
                found.append(artifact)
        if not partitions[part.corpus]:
            missing.append(f"{part.corpus} (it has no partitions yet)")
        caches[part.corpus] = found
    if missing:
        raise MissingArtifactsError(mixture_address(mixture), missing)
    return caches


def wanted_mixture(mixture: Mixture, caches: Mapping[str, Mapping[str, str]]) -> Manifest:
    """What the plan has to be, given the fingerprints of the caches, by corpus and partition."""
    config = mixture.config
    settings = {
        "seq_len": config.seq_len,
        "seed": config.seed,
        "datasets": [{"corpus": part.corpus, "weight": part.weight} for part in config.datasets],
    }
    inputs = {corpus: dict(of) for corpus, of in caches.items()}
    return Manifest.wanted(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)


def build_mixture(mixture: Mixture, corpora: Mapping[str, Corpus], partitions: Mapping[str, Sequence[str]], workspace: Workspace) -> Built:
    """Plan a mixture over what is published.

    Raises
    ------
    MissingArtifactsError
        A partition's cache is not there.
    DeclarationError
        The corpora have different tokenizers or dtypes, or one has not a single sample of this length.
    """
    caches = published_caches(mixture, corpora, partitions, workspace.store)
    wanted = wanted_mixture(mixture, {corpus: {_key(cache): cache.fingerprint for cache in found} for corpus, found in caches.items()})
    _check_alike(mixture, caches)
    address = mixture_address(mixture)

    def fill(folder: Path) -> Manifest:
        # Relative to where the plan will lie once it is published; every version of it lies equally deep. Resolved, as the caches'
        # paths are: the store may be reached through a link.
        home = workspace.store.pointer(address).parent.resolve() / ".versions" / f"{STAGE}@{wanted.fingerprint}"
        corpora_planned = tuple(
            _planned(part.corpus, part.weight, caches[part.corpus], home, mixture.config.seq_len) for part in mixture.config.datasets
        )
        for i, corpus in enumerate(corpora_planned):
            if corpus.total("train", "samples") == 0:
                longest = max((shard.tokens for shard in corpus.shards("train")), default=0)
                found = (
                    f"no training array of {corpus.name!r} holds {mixture.config.seq_len} tokens and one more; the longest has {longest}"
                )
                raise mixture.error(f"{found}; lower seq_len, or make its partitions coarser", "datasets", i, "corpus")
        first = next(iter(caches.values()))[0]
        plan = Plan(
            name=mixture.config.name,
            seq_len=mixture.config.seq_len,
            seed=mixture.config.seed,
            dtype=first.manifest.details["dtype"],
            tokenizer=os.path.relpath(first.path / SAVED, home),
            corpora=corpora_planned,
        )
        (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
        counts = {split: {count: plan.total(split, count) for count in ("documents", "tokens", "samples")} for split in SPLITS}
        engines = {cache.manifest.details["engine"] for of_corpus in caches.values() for cache in of_corpus}
        details = {"engine": ", ".join(sorted(engines))}
        return replace(wanted, counts={split: of for split, of in counts.items() if of["tokens"]}, details=details)

    return reuse_or_build(workspace.store, address, wanted, fill)


def _key(cache: Artifact) -> str:
    return cache.address.rpartition("/")[2]


def _planned(name: str, weight: float, caches: Sequence[Artifact], home: Path, seq_len: int) -> PlannedCorpus:
    partitions = []
    for cache in caches:
        shards = {
            split: Shard(path=os.path.relpath(cache.path / f"{split}.npy", home), samples=samples_in(of["tokens"], seq_len), **of)
            for split, of in cache.manifest.counts.items()
        }
        partitions.append(PlannedPartition(key=_key(cache), fingerprint=cache.fingerprint, shards=shards))
    return PlannedCorpus(name=name, weight=weight, partitions=tuple(partitions))


def _check_alike(mixture: Mixture, caches: Caches) -> None:
    """One model reads all of it: ids must mean the same in every corpus."""
    for what, of in (("tokenizer", "tokenizer_fingerprint"), ("dtype", "dtype")):
        found = {cache.manifest.details[of]: name for name, artifacts in caches.items() for cache in artifacts}
        if len(found) > 1:
            one, other = list(found.values())[:2]
            message = (
                f"{one!r} and {other!r} have not the same {what}" if one != other else f"partitions of {one!r} have not the same {what}"
            )
            raise mixture.error(f"{message}; bring them up to date, or declare the same {what} for both", "datasets")
