"""Plans with packed corpora, built from the lengths of their documents."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from phyagi_assets.formats.plan import PlannedIndex, PlannedPartition, Shard
from phyagi_assets.order.best_fit import PackedSamples, packed
from tests.order.plans import Sample

SEQ_LEN = 4


def documents(key: str, version: str = "1", *, seq_len: int = SEQ_LEN, **lengths: Sequence[int]) -> PlannedPartition:
    """Return a packed partition, given the lengths of its documents in each split; its fingerprint and its index tell them."""
    shards = {
        split: Shard(path=f"{key}@{version}/{split}.npy", tokens=sum(of), documents=len(of)) for split, of in lengths.items() if sum(of)
    }
    said = " ".join(f"{split}:{','.join(map(str, of))}" for split, of in lengths.items())
    samples = {split: _packed(of, seq_len).samples for split, of in lengths.items() if sum(of)}
    index = PlannedIndex(path=f"{key}@{version}", fingerprint=f"{seq_len}/{said}", samples=samples, merged=False)
    return PlannedPartition(key=key, fingerprint=f"{key}@{version}", shards=shards, index=index)


def open_index(index: PlannedIndex, split: str) -> PackedSamples:
    """Pack the documents that an index tells of."""
    seq_len, said = index.fingerprint.split("/")
    return _packed(lengths_of(said)[split], int(seq_len))


def lengths_of(said: str) -> Mapping[str, list[int]]:
    """Return the lengths of the documents of each split."""
    return {split: list(map(int, of.split(","))) if of else [] for split, of in (each.split(":") for each in said.split())}


def _packed(lengths: Sequence[int], seq_len: int) -> PackedSamples:
    return _of_lengths(tuple(lengths), seq_len)


@lru_cache(maxsize=256)
def _of_lengths(lengths: tuple[int, ...], seq_len: int) -> PackedSamples:
    return packed(np.cumsum(lengths, dtype=np.int64), seq_len)


def packed_samples(partition: PlannedPartition, split: str = "train", seq_len: int = SEQ_LEN) -> list[Sample]:
    """Return the samples of a partition in order; the path of padding is empty."""
    if split not in partition.shards or partition.index is None:
        return []
    index, path, samples = open_index(partition.index, split), partition.shards[split].path, []
    for low, high in zip(index.ends[:-1].tolist(), index.ends[1:].tolist(), strict=True):
        tokens = [
            (path, int(start) + i)
            for start, length in zip(index.starts[low:high], index.lengths[low:high], strict=True)
            for i in range(int(length))
        ]
        samples.append(tuple(tokens + [("", i) for i in range(seq_len - len(tokens))]))
    return samples
