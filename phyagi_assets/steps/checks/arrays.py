"""The checks of a numpy_cache: every array is read, block by block."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.cache_folder import DOCUMENTS, IDS, ORIGINS, counts_of_files
from phyagi_assets.formats.npy import array_blocks, array_length, open_array
from phyagi_assets.formats.token_rows import TRAINED
from phyagi_assets.formats.trained_bits import MASK, mask_bytes
from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.checks.token_ids import Findings, IdCounts, IdRules
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.manifest import Manifest

ENDS = "document_ends"
COUNTS = "counts_of_tokenized"
TRAINED_AS_COUNTED = "trained_as_counted"


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedArrays(Findings):
    """Findings in the arrays of a cache or of one of its chunks."""

    ids: IdCounts = field(default_factory=IdCounts)
    documents: int = 0
    tokens: int = 0
    trained: int = 0
    """Number of tokens that the masks mark as trained on."""
    broken: tuple[str, ...] = ()
    """Problems with the ends of documents."""
    broken_masks: tuple[str, ...] = ()


def examine_arrays(
    path: Callable[[str], Path], counts: Mapping[str, Mapping[str, int]], tokenizer: Mapping[str, Any], *, append_eos: bool
) -> CheckedArrays:
    """Read arrays, block by block.

    Parameters
    ----------
    counts
        Counts of documents, tokens and, with masks, trained tokens by the beginning of the names of the files.
    """
    rules = IdRules.of(tokenizer, append_eos=append_eos)
    return sum((_examined(path, stem, expected, rules) for stem, expected in counts.items()), CheckedArrays())


def _examined(path: Callable[[str], Path], stem: str, recorded: Mapping[str, int], rules: IdRules) -> CheckedArrays:
    array, origins = path(f"{stem}{IDS}"), path(f"{stem}{ORIGINS}")
    length, ends = array_length(array), open_array(path(f"{stem}{DOCUMENTS}"))
    found = CheckedArrays(documents=len(ends), tokens=length)
    if problem := _broken(ends, length, array_length(origins)):
        found = replace(found, broken=(f"{stem}{DOCUMENTS}: {problem}",))
        ends = np.unique(ends)  # sorted, so that the other checks can still run
    if TRAINED in recorded:
        mask = path(f"{stem}{MASK}")
        ones = sum(int(np.bitwise_count(octets).sum()) for octets in array_blocks(mask))
        found = replace(found, trained=ones)
        if array_length(mask) != mask_bytes(recorded["tokens"]) or ones != recorded[TRAINED]:
            expected = f"{counted(recorded['tokens'], 'token')}, {recorded[TRAINED]:,} of them trained on"
            found = replace(found, broken_masks=(f"{stem}{MASK} is not the mask of {expected}",))
    return replace(found, ids=sum((rules.count(ids, lasts) for ids, lasts in _blocks(array, ends)), IdCounts()))


def check_arrays(artifact: Artifact, tokenized: Manifest) -> list[Check]:
    """Check the token arrays of a partition."""
    manifest, folder = artifact.manifest, artifact.folder()
    counts = {stem: expected for split in manifest.counts for stem, expected in counts_of_files(manifest, split).items()}
    append_eos = bool(tokenized.settings["append_eos"])
    found = examine_arrays(lambda name: folder / name, counts, manifest.details["tokenizer"], append_eos=append_eos)
    return array_checks(found, manifest, tokenized)


def array_checks(found: CheckedArrays, cache: Manifest, tokenized: Manifest) -> list[Check]:
    """Return the outcomes of the checks of a cache, given the findings in its arrays, its manifest, and that of its tokenized artifact."""
    rules = IdRules.of(cache.details["tokenizer"], append_eos=bool(tokenized.settings["append_eos"]))
    masked = [_trained(found, tokenized.counts[TRAINED])] if TRAINED in tokenized.counts else []
    numbers = {"documents": found.documents, "arrays with broken ends": len(found.broken)}
    otherwise = f"the ends of {counted(found.documents, 'document')} increase, and close where their arrays end"
    ends = Check.of(ENDS, found.broken, otherwise, numbers)
    return [*rules.checks(found.ids), ends, _counts(cache, tokenized, found.documents, found.tokens), *masked]


def _trained(arrays: CheckedArrays, before: int) -> Check:
    """Check the masks of conversations against the counts of their tokens."""
    broken, trained = arrays.broken_masks, arrays.trained
    if not broken and trained != before:
        broken = (f"{trained:,} tokens are trained on, and the tokenized artifact has {before:,}",)
    return Check.of(TRAINED_AS_COUNTED, broken, f"{counted(trained, 'token')} trained on, as counted", {"trained tokens": trained})


def _broken(ends: npt.NDArray[np.int64], length: int, origins: int) -> str:
    """Describe the problem with the ends of an array's documents; empty if there is none."""
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


def _counts(cache: Manifest, tokenized: Manifest, documents: int, tokens: int) -> Check:
    recorded = tuple(sum(counts[count] for counts in cache.counts.values()) for count in ("documents", "tokens"))
    before = (tokenized.counts["documents"] - tokenized.counts["empty"], tokenized.counts["tokens"])
    found = f"the arrays hold {counted(documents, 'document')} with {counted(tokens, 'token')}"
    passed = recorded == before == (documents, tokens)
    if not passed:
        found += f"; the manifest says {recorded[0]:,} with {recorded[1]:,}, and the tokenized artifact {before[0]:,} with {before[1]:,}"
    return Check(name=COUNTS, passed=passed, found=found, numbers={"documents": documents, "tokens": tokens})
