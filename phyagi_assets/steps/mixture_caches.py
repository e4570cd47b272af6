"""The caches that a mixture reads, and the indices of their packed samples."""

from collections.abc import Mapping, Sequence

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.steps.cache import cache_address
from phyagi_assets.steps.mixture_version import STAGES, mixture_address, with_version_path
from phyagi_assets.steps.packed_index import build_index, without_documents
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store

Caches = Mapping[str, Sequence[Artifact]]
"""Published caches of each corpus, sorted by partition key."""


def partition_key(cache: Artifact) -> str:
    """Return the key of the partition of a cache."""
    return cache.version.address.key


def first_cache(caches: Caches) -> Artifact:
    """Return one of the caches, for what all of them have in common: their tokenizer and dtype."""
    return next(iter(caches.values()))[0]


def published_caches(
    mixture: Mixture, corpora: Mapping[str, Corpus], partitions: Mapping[str, Sequence[str]], store: Store
) -> dict[str, list[Artifact]]:
    """Return the published caches of each corpus of a mixture, sorted by partition key; the arguments are those of `build_mixture`.

    Raises
    ------
    MissingArtifactsError
        Some caches are missing or damaged, or a corpus has no partitions; the error lists all of them.
    """
    caches: dict[str, list[Artifact]] = {}
    missing = []
    for name in mixture.config.corpora:
        found = []
        for key in sorted(partitions[name]):
            address = cache_address(corpora[name], key)
            store.restore(address)
            artifact = store.open(address, intact=True)
            if artifact is None:
                missing.append(address)
            else:
                found.append(with_version_path(artifact, store))
        if not partitions[name]:
            missing.append(f"{name} (it has no partitions yet)")
        caches[name] = found
    if missing:
        raise MissingArtifactsError(mixture_address(mixture), missing)
    return caches


def check_alike(mixture: Mixture, caches: Caches) -> None:
    """Check that all caches have the same tokenizer and dtype: one model reads them all, so an id must mean the same in every corpus."""
    for what, detail in (("tokenizer", "tokenizer_fingerprint"), ("dtype", "dtype")):
        found = {cache.manifest.details[detail]: name for name, artifacts in caches.items() for cache in artifacts}
        if len(found) > 1:
            one, other = list(found.values())[:2]
            message = (
                f"{one!r} and {other!r} do not have the same {what}"
                if one != other
                else f"partitions of {one!r} do not have the same {what}"
            )
            raise mixture.error(
                f"{message}; bring them up to date, or declare the same {what} for both", STAGES if mixture.config.stages else "datasets"
            )


def packed_indices(mixture: Mixture, caches: Caches, store: Store) -> dict[str, Artifact]:
    """Return the indices of packed samples by address of the cache; build those that the store does not have."""
    found = {}
    for key, part in mixture.config.all_parts:
        if mixture.config.packing_of(part) != "best_fit":
            continue
        at = (*key, "packing") if part.packing else ("packing",) if mixture.config.packing else (*key, "corpus")
        for cache in caches[part.corpus]:
            if missing := without_documents(cache):
                message = f"best_fit packs whole documents, and {cache.place} has no {missing}, which says where they end"
                raise mixture.error(f"{message}; use packing: concat, or build the cache with phyagi-assets materialize", *at)
            index = build_index(cache, mixture.config.seq_len, store)
            found[cache.address] = with_version_path(index, store)
    return found


def check_lengths(mixture: Mixture, tokens_by_corpus: Mapping[str, int]) -> None:
    """Check that each corpus has enough training tokens for a sample; corpora without a number are not checked."""
    seq_len = mixture.config.seq_len
    for key, part in mixture.config.all_parts:
        tokens = tokens_by_corpus.get(part.corpus)
        if tokens is None:
            continue
        if mixture.config.packing_of(part) == "best_fit":
            if not tokens:
                raise mixture.error(f"{part.corpus!r} has no training tokens; add documents", *key, "corpus")
        elif tokens <= seq_len:
            message = f"{part.corpus!r} has {tokens:,} training tokens, and one sample takes seq_len + 1 = {seq_len + 1:,}"
            raise mixture.error(f"{message}; lower seq_len, or add documents", *key, "corpus")
