"""The tokens of packed samples, as runs of token arrays."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.plan import PlannedIndex
from phyagi_assets.order.best_fit import PackedSamples
from phyagi_assets.order.packing import PADDING, Runs
from phyagi_assets.order.permutation import Ints

OpenIndex = Callable[[PlannedIndex, str], PackedSamples]
"""Function that opens the packed samples of a split, given the index of the partition."""


def packed_runs(index: PackedSamples, shard: int, numbers: Ints, width: int) -> Runs:
    """Return the runs of packed samples of one token array: their parts, and padding.

    Parameters
    ----------
    index
        The packed samples of the token array.
    shard
        Index of the token array.
    numbers
        Number of each sample in the index, 1-D.
    width
        Tokens per sample, with the padding.

    Examples
    --------
    >>> index = PackedSamples(starts=np.array([0, 9, 3]), lengths=np.array([3, 1, 6]), ends=np.array([0, 2, 3]))
    >>> runs = packed_runs(index, 5, np.array([1, 0]), 6)
    >>> runs.sample.tolist(), runs.shard.tolist(), runs.start.tolist(), runs.tokens.tolist()
    ([0, 1, 1, 1], [5, 5, 5, -1], [3, 0, 9, 0], [6, 3, 1, 2])
    """
    low, high = (index.ends[numbers + i].astype(np.int64) for i in (0, 1))
    counts = high - low
    closes = np.cumsum(counts)
    part = np.arange(int(closes[-1])) + np.repeat(low - (closes - counts), counts)
    lengths = index.lengths[part].astype(np.int64)
    until = np.cumsum(lengths)
    sums = np.diff(until[closes - 1], prepend=0)
    is_padded = sums < width
    runs = counts + is_padded
    stops = np.cumsum(runs)
    place = np.arange(len(part)) + np.repeat(np.cumsum(is_padded) - is_padded, counts)
    padding = stops[is_padded] - 1
    columns = np.zeros((4, int(stops[-1])), dtype=np.int64)
    at, shards, start, tokens = columns
    at[place] = until - lengths - np.repeat(np.cumsum(sums) - sums, counts)
    shards[:] = shard
    start[place] = index.starts[part]
    tokens[place] = lengths
    at[padding], shards[padding], tokens[padding] = sums[is_padded], PADDING, width - sums[is_padded]
    single = np.ones(len(at), dtype=bool)
    if index.merged:
        single[place] = False
    return Runs(
        sample=np.repeat(np.arange(len(numbers)), runs),
        at=at,
        shard=shards,
        start=start,
        tokens=tokens,
        are_whole=False,
        packed=np.ones(len(at), dtype=bool),
        single=single,
    )


def joined(found: Sequence[tuple[Ints, Runs]], samples: int) -> Runs:
    """Return the runs of several sets of samples as the runs of all samples.

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
    """Return a flag of runs, which is false for those of samples that are not packed."""
    flag = getattr(runs, name)
    return np.zeros(len(runs.sample), dtype=bool) if flag is None else flag
