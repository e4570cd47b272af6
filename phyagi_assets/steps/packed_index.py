"""packed_index: the packed samples of a partition, for mixtures that keep documents whole.

An index depends on the cache and on the length of the samples only, so it is not an asset of the corpus: building a mixture builds the
indices that it needs and the store does not have. After a refresh, only the partitions that changed are packed again.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import DOCUMENTS, SplitArrays, array_files, array_path
from phyagi_assets.formats.npy import REMEDY
from phyagi_assets.formats.packed_index import LENGTHS, SAMPLES, STARTS, expected_index, index_address
from phyagi_assets.order.best_fit import merges_documents, packed
from phyagi_assets.steps.step import reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest


def build_index(cache: Artifact, seq_len: int, store: Store) -> Artifact:
    """Return the index of the packed samples of a cache, and build it unless the store has it."""
    address = cache.version.address
    expected = expected_index(cache.fingerprint, seq_len)
    return reuse_or_build(
        store, index_address(address.name, address.key), expected, lambda folder: _fill(folder, cache, seq_len, expected)
    ).artifact


def without_documents(cache: Artifact) -> str:
    """Return the name of a file of document ends that a cache lacks, or an empty string."""
    names = _files_of_ends(cache)
    return next((name for name in names if name not in cache.manifest.files), "")


def _files_of_ends(cache: Artifact) -> list[str]:
    """Return the names of the files with the ends of the documents of a cache."""
    return [name for split in cache.manifest.counts for name in array_files(cache.manifest, split, DOCUMENTS)]


def _fill(folder: Path, cache: Artifact, seq_len: int, expected: Manifest) -> Manifest:
    splits = cache.manifest.counts
    home = cache.folder(*_files_of_ends(cache)) if splits else cache.path
    counts: dict[str, Mapping[str, int]] = {}
    merged = False
    for split, in_cache in splits.items():
        file = array_path(home, split, DOCUMENTS)
        ends = SplitArrays(home, cache.manifest, split).ends
        if (int(ends[-1]) if len(ends) else 0) != in_cache["tokens"] or bool((np.diff(ends) < 0).any()):
            raise StoreError(f"{file}: is damaged: its documents do not end one after another, the last with {split}.npy; {REMEDY}")
        samples = packed(ends, seq_len, merges=merges_documents(ends, seq_len))
        for ending, array in ((STARTS, samples.starts), (LENGTHS, samples.lengths), (SAMPLES, samples.ends)):
            np.save(array_path(folder, split, ending), array)
        counts[split] = {
            "documents": in_cache["documents"],
            "tokens": in_cache["tokens"],
            "samples": samples.samples,
            "parts": len(samples.starts),
            "bytes": samples.bytes,
        }
        merged |= samples.merged
    return replace(expected, counts=counts, details={"merged": merged}, produced_with={"numpy": np.__version__})
