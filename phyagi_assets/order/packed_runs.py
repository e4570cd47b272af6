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
    sample = np.repeat(np.arange(len(numbers)), counts)
    closes = np.cumsum(counts)
    part = np.arange(len(sample)) + np.repeat(low - (closes - counts), counts)
    tokens = index.lengths[part].astype(np.int64)
    before = np.cumsum(tokens) - tokens
    at = before - np.repeat(before[closes - counts], counts)
    filled = at[closes - 1] + tokens[closes - 1]
    single = np.full(len(sample), not index.merged)
    runs = Runs(
        sample=sample,
        at=at,
        shard=np.full(len(sample), shard),
        start=index.starts[part].astype(np.int64),
        tokens=tokens,
        are_whole=False,
        packed=np.ones(len(sample), dtype=bool),
        single=single,
    )
    padded = np.flatnonzero(filled < width)
    if not len(padded):
        return runs
    padding = {"sample": padded, "at": filled[padded], "shard": PADDING, "start": 0, "tokens": width - filled[padded]}
    columns = {name: np.insert(getattr(runs, name), closes[padded], values) for name, values in padding.items()}
    flags = {name: np.insert(getattr(runs, name), closes[padded], values=True) for name in ("packed", "single")}
    return Runs(**columns, **flags, are_whole=False)


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
