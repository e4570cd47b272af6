"""Sizes of corpora in training tokens, counted if all partitions are built and otherwise estimated from a sample of the text."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import MissingPackageError, translate_missing_packages
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.steps.cache import cache_address
from phyagi_assets.steps.conversations import conversation_recipe
from phyagi_assets.steps.eos import eos_to_append
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

logger = logging.getLogger(__name__)

_PROBED = 4
"""Number of batches that are encoded to measure tokens per byte and bytes per second."""
_BYTES_PER_TOKEN = 4.3
"""Bytes per token of English text, assumed for remote sources that have no local partition to measure."""
_BYTES_PER_SECOND = 50e6
"""Bytes per second at which such sources are assumed to be fetched and encoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusSize:
    """Size of a corpus in training tokens, and the cost of building its missing partitions."""

    tokens: int
    is_exact: bool
    """Whether all partitions are built, so that the tokens are counted and not estimated."""
    caches: Mapping[str, str] = field(default_factory=dict)
    """Fingerprint of the cache of each partition, by key, if all partitions are built."""
    bytes_to_write: int = 0
    seconds: float = 0.0


def corpus_size(corpus: Corpus, partitions: Mapping[str, Partition], workspace: Workspace) -> CorpusSize:
    """Return the size of a corpus, given the partitions to read."""
    caches: dict[str, str] = {}
    missing = []
    tokens = 0
    for key, partition in partitions.items():
        built = partition_artifacts(corpus, partition, workspace)[-1].is_current and workspace.store.open(cache_address(corpus, key))
        if built:
            tokens += built.manifest.counts.get("train", {"tokens": 0})["tokens"]
            caches[key] = built.fingerprint
        else:
            missing.append(partition)
    if not missing:
        return CorpusSize(tokens=tokens, is_exact=True, caches=caches)
    estimated = _estimated(corpus, missing, workspace)
    return CorpusSize(
        tokens=tokens + round(estimated.tokens * (1 - sum(corpus.config.splits.values()))),
        is_exact=False,
        bytes_to_write=estimated.bytes_to_write,
        seconds=estimated.seconds,
    )


def _estimated(corpus: Corpus, partitions: Sequence[Partition], workspace: Workspace) -> CorpusSize:
    """Estimate the tokens and cost of missing partitions from the beginning of the largest local one, or from their size alone."""
    try:
        with translate_missing_packages():
            return _probed(corpus, partitions, workspace)
    except MissingPackageError as problem:
        logger.warning("%s: its tokens are estimated from its size alone: %s", corpus.config.name, problem)
        return _from_size(sum(partition.bytes for partition in partitions), bytes_per_token=np.dtype(np.uint16).itemsize)


def _from_size(size: int, *, bytes_per_token: int) -> CorpusSize:
    tokens = round(size / _BYTES_PER_TOKEN)
    # Tokens are written twice: as rows and as an array.
    return CorpusSize(tokens=tokens, is_exact=False, bytes_to_write=size + tokens * 2 * bytes_per_token, seconds=size / _BYTES_PER_SECOND)


def _probed(corpus: Corpus, partitions: Sequence[Partition], workspace: Workspace) -> CorpusSize:
    prepared = prepare_tokenizer(corpus, workspace.identities, workspace.store)
    bytes_per_token = prepared.dtype(corpus.config.dtype).itemsize
    size = sum(partition.bytes for partition in partitions)
    local = [partition for partition in partitions if partition.is_local]
    if not local:  # nothing is fetched for an estimate
        return _from_size(size, bytes_per_token=bytes_per_token)
    probed = max(local, key=lambda partition: partition.bytes)
    conversations = conversation_recipe(corpus, prepared, workspace)
    encoding = prepared if conversations is None else conversations.prepared.bare
    exact = ExactTokenizer(workspace.engines.engines(encoding, workspace.store, corpus.config.special_tokens, corpus.config.engine))
    appends = eos_to_append(prepared, append_eos=corpus.config.append_eos) is not None
    consumed = tokens = 0
    started = time.perf_counter()
    for documents in islice(read_documents(corpus, readable(probed)), _PROBED):
        consumed += documents.consumed
        if conversations is not None:
            tokens += len(conversations.encode(documents, np.zeros(0, np.uint64), exact, 0).encoded.ids)
            continue
        tokens += len(exact.encode(documents.texts).ids) + appends * int(documents.nonempty.sum())
    seconds = time.perf_counter() - started
    scale = size / max(1, consumed)
    whole = round(tokens * scale)
    return CorpusSize(tokens=whole, is_exact=False, bytes_to_write=whole * 2 * bytes_per_token, seconds=seconds * scale)
