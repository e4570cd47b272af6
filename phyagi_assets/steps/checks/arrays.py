"""The checks of a numpy_cache: every array is read, block by block."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.cache_folder import DOCUMENTS, IDS, ORIGINS, array_path
from phyagi_assets.formats.npy import array_blocks, array_length, open_array
from phyagi_assets.formats.token_rows import TRAINED as TRAINED_TOKENS
from phyagi_assets.formats.trained_bits import TRAINED, mask_bytes
from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.checks.tally import TokenTally
from phyagi_assets.store.base import Artifact
from phyagi_assets.store.manifest import Manifest

ENDS = "document_ends"
COUNTS = "counts_of_tokenized"
TRAINED_AS_COUNTED = "trained_as_counted"


def check_arrays(artifact: Artifact, tokenized: Manifest) -> list[Check]:
    """Check the token arrays of a partition.

    Parameters
    ----------
    artifact
        The version of the cache that holds the arrays.
    tokenized
        Manifest of the tokenized artifact from which the arrays were made.
    """
    tally = TokenTally(artifact.manifest.details["tokenizer"], append_eos=bool(tokenized.settings["append_eos"]))
    broken: list[str] = []
    folder = artifact.folder()
    documents = tokens = 0
    for split in artifact.manifest.counts:
        array, of_ends, of_origins = (array_path(folder, split, ending) for ending in (IDS, DOCUMENTS, ORIGINS))
        length, ends, origins = array_length(array), open_array(of_ends), array_length(of_origins)
        documents, tokens = documents + len(ends), tokens + length
        if problem := _broken(ends, length, origins):
            broken.append(f"{of_ends.name}: {problem}")
            ends = np.unique(ends)  # sorted, so that the other checks can still run
        for ids, lasts in _blocks(array, ends):
            tally.add(ids, lasts)
    masked = [_trained(artifact, tokenized)] if TRAINED_TOKENS in tokenized.counts else []
    return [*tally.checks(), _ends(documents, broken), _counts(artifact.manifest, tokenized, documents, tokens), *masked]


def _trained(artifact: Artifact, tokenized: Manifest) -> Check:
    """Check the masks of conversations against the counts of their tokens."""
    broken: list[str] = []
    trained = 0
    for split, counts in artifact.manifest.counts.items():
        path = array_path(artifact.folder(), split, TRAINED)
        ones = sum(int(np.bitwise_count(octets).sum()) for octets in array_blocks(path))
        trained += ones
        if array_length(path) != mask_bytes(counts["tokens"]) or ones != counts[TRAINED_TOKENS]:
            said = f"{counted(counts['tokens'], 'token')}, {counts[TRAINED_TOKENS]:,} of them trained on"
            broken.append(f"{path.name} is not the mask of {said}")
    before = tokenized.counts[TRAINED_TOKENS]
    if not broken and trained != before:
        broken.append(f"{trained:,} tokens are trained on, and what they were made from has {before:,}")
    found = "; ".join(broken) or f"{counted(trained, 'token')} trained on, as counted"
    return Check(name=TRAINED_AS_COUNTED, passed=not broken, found=found, numbers={"trained tokens": trained})


def _broken(ends: npt.NDArray[np.int64], length: int, origins: int) -> str:
    """Describe what is wrong with the ends of an array's documents; empty if nothing is."""
    backward = np.diff(ends, prepend=0) <= 0
    if backward.any():
        at = int(backward.argmax())
        before = int(ends[at - 1]) if at else 0
        return f"document {at + 1:,} ends at {int(ends[at]):,}, and begins at {before:,}"
    last = int(ends[-1]) if len(ends) else 0
    if last != length:
        return f"the last document ends at {last:,}, and the array at {length:,}"
    return f"{counted(len(ends), 'document')} with {counted(origins, 'origin')} beside" if origins != len(ends) else ""


def _blocks(array: Path, ends: npt.NDArray[np.int64]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[np.int64]]]:
    start = 0
    for ids in array_blocks(array):
        first, last = np.searchsorted(ends, [start, start + len(ids)], side="right")
        yield ids, ends[first:last] - 1 - start
        start += len(ids)


def _ends(documents: int, broken: list[str]) -> Check:
    found = "; ".join(broken) or f"the ends of {counted(documents, 'document')} increase, and close where their arrays end"
    return Check(name=ENDS, passed=not broken, found=found, numbers={"documents": documents, "arrays with broken ends": len(broken)})


def _counts(cache: Manifest, tokenized: Manifest, documents: int, tokens: int) -> Check:
    said = tuple(sum(of[count] for of in cache.counts.values()) for count in ("documents", "tokens"))
    before = (tokenized.counts["documents"] - tokenized.counts["empty"], tokenized.counts["tokens"])
    found = f"the arrays hold {counted(documents, 'document')} with {counted(tokens, 'token')}"
    passed = said == before == (documents, tokens)
    if not passed:
        found += f"; the manifest says {said[0]:,} with {said[1]:,}, and what they were made from has {before[0]:,} with {before[1]:,}"
    return Check(name=COUNTS, passed=passed, found=found, numbers={"documents": documents, "tokens": tokens})
