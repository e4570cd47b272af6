"""The tokens of packed samples, as runs of token arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.plan import PlannedIndex
from phyagi_assets.order.best_fit import PackedSamples
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.ranges import concatenated_ranges
from phyagi_assets.order.runs import PADDING, Runs

OpenIndex = Callable[[PlannedIndex, str], PackedSamples]
"""Function that opens the packed samples of a split, given the index of the partition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackedIn:
    """Packed samples of one token array."""

    index: PackedSamples
    """The packed samples of the token array."""
    shard: int
    """Index of the token array."""
    samples: Ints
    """Index of each sample among all samples, 1-D and ascending."""
    numbers: Ints
    """Number of each sample in the index, 1-D."""

    def parts(self) -> tuple[Ints, Ints, Ints]:
        """Return the number of parts of each sample, and the first token and length of each part."""
        low, high = (self.index.ends[self.numbers + i].astype(np.int64) for i in (0, 1))
        counts = high - low
        part = concatenated_ranges(low, counts)
        return counts, self.index.starts.take(part).astype(np.int64), self.index.lengths.take(part).astype(np.int64)


def packed_runs(found: Sequence[PackedIn], width: int) -> Runs:
    """Return the runs of packed samples: their parts, and padding.

    Parameters
    ----------
    found
        The samples, by token array; their indices among all samples are the numbers from 0.
    width
        Tokens per sample, with the padding.

    Examples
    --------
    >>> index = PackedSamples(starts=np.array([0, 9, 3]), lengths=np.array([3, 1, 6]), ends=np.array([0, 2, 3]))
    >>> runs = packed_runs([PackedIn(index=index, shard=5, samples=np.array([0, 1]), numbers=np.array([1, 0]))], 6)
    >>> runs.sample.tolist(), runs.shard.tolist(), runs.start.tolist(), runs.tokens.tolist()
    ([0, 1, 1, 1], [5, 5, 5, -1], [3, 0, 9, 0], [6, 3, 1, 2])
    """
    counts, start, tokens = _in_order(found)
    ends = np.cumsum(counts)
    padding = width - np.add.reduceat(tokens, ends - counts)
    padded = np.flatnonzero(padding)
    if len(padded):
        start = np.insert(start, ends[padded], 0)
        tokens = np.insert(tokens, ends[padded], padding[padded])
        counts[padded] += 1
    sample = np.arange(len(counts)).repeat(counts)
    shard = _repeated(found, sample, [part.shard for part in found])
    single = _repeated(found, sample, [not part.index.merged for part in found])
    padding_at = ends[padded] + np.arange(len(padded))
    shard[padding_at], single[padding_at] = PADDING, True
    at = np.cumsum(tokens)
    at -= tokens
    at -= sample * width
    return Runs(
        sample=sample,
        at=at,
        shard=shard,
        start=start,
        tokens=tokens,
        are_whole=False,
        packed=np.ones(len(sample), dtype=bool),
        single=single,
    )


def _repeated(found: Sequence[PackedIn], sample: Ints, values: Sequence[int]) -> npt.NDArray[Any]:
    """Return a value for each run, that of its token array, given the sample of each run and a value for each token array."""
    if len(set(values)) == 1:
        return np.full(len(sample), values[0])
    by_sample = np.empty(sum(len(part.samples) for part in found), np.asarray(values).dtype)
    for part, value in zip(found, values, strict=True):
        by_sample[part.samples] = value
    return by_sample[sample]


def _in_order(found: Sequence[PackedIn]) -> tuple[Ints, Ints, Ints]:
    """Return the number of parts of each sample, and the first token and length of each part, in the order of all samples."""
    columns = [part.parts() for part in found]
    if len(columns) == 1:
        return columns[0]
    counts, start, tokens = (np.concatenate(column) for column in zip(*columns, strict=True))
    order = np.argsort(np.concatenate([part.samples for part in found]))
    first, counts = (np.cumsum(counts) - counts)[order], counts[order]
    part = concatenated_ranges(first, counts)
    return counts, start[part], tokens[part]


def joined(found: Sequence[tuple[Ints, Runs]], samples: int) -> Runs:
    """Merge the runs of several sets of samples.

    Parameters
    ----------
    found
        Index of each sample among all samples, 1-D and ascending, and the runs of these samples.
    samples
        Number of all samples.
    """
    if len(found) == 1 and len(found[0][0]) == samples:
        return found[0][1]
    order = np.argsort(sample := np.concatenate([chosen[runs.sample] for chosen, runs in found]), kind="stable")
    columns = {name: np.concatenate([getattr(runs, name) for _, runs in found])[order] for name in ("at", "shard", "start", "tokens")}
    packed, single = (np.concatenate([_flag(runs, name) for _, runs in found])[order] for name in ("packed", "single"))
    return Runs(sample=sample[order], **columns, are_whole=False, packed=packed, single=single)


def _flag(runs: Runs, name: str) -> npt.NDArray[np.bool_]:
    """Return a flag of runs, which is false for samples that are not packed."""
    flag = getattr(runs, name)
    return np.zeros(len(runs.sample), dtype=bool) if flag is None else flag
