"""Packed mixtures with files, without the pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.formats.packed_index import LENGTHS, SAMPLES, STARTS
from phyagi_assets.formats.plan import PLAN, PlannedIndex, PlannedPartition, Shard
from phyagi_assets.formats.trained_bits import MaskWriter
from phyagi_assets.order.best_fit import merges_documents, packed
from tests.order.plans import plan_of

PAD = 9_999


def write_documents(
    home: Path, key: str, lengths: Sequence[int], *, seq_len: int, first: int = 0, masked: bool = False, is_packed: bool = True
) -> PlannedPartition:
    """Write a partition whose token ids count from `first`; in each document, a mask trains on its second half."""
    folder = home / key
    folder.mkdir(parents=True)
    ends = np.cumsum(lengths, dtype=np.int64)
    tokens = int(ends[-1])
    np.save(folder / "train.npy", np.arange(first, first + tokens, dtype=np.uint16))
    np.save(folder / "train.documents.npy", ends)
    trained = None
    if masked:
        mask = np.concatenate([np.arange(length) >= length // 2 for length in lengths])
        trained = int(mask.sum())
        with MaskWriter(folder / "train.trained.npy") as writer:
            writer.append(mask)
    merges = merges_documents(ends, seq_len)
    samples = packed(ends, seq_len, merges=merges)
    for ending, array in ((STARTS, samples.starts), (LENGTHS, samples.lengths), (SAMPLES, samples.ends)):
        np.save(folder / f"train{ending}", array)
    shard = Shard(path=f"{key}/train.npy", tokens=tokens, documents=len(lengths), trained=trained)
    index = PlannedIndex(path=key, fingerprint=key, samples={"train": samples.samples}, merged=merges)
    return PlannedPartition(key=key, fingerprint=key, shards={"train": shard}, index=index if is_packed else None)


def write_packed(
    home: Path, corpora: dict[str, Sequence[int]], *, seq_len: int, masked: Sequence[str] = (), unpacked: Sequence[str] = (), **keys: Any
) -> Path:
    """Write a mixture of corpora of one partition each, given the lengths of their documents."""
    first, found = 0, {}
    for name, lengths in corpora.items():
        is_packed = name not in unpacked
        found[name] = [write_documents(home, name, lengths, seq_len=seq_len, first=first, masked=name in masked, is_packed=is_packed)]
        first += sum(lengths)
    plan = plan_of(found, seq_len=seq_len, **keys)
    from dataclasses import replace

    (home / PLAN).write_text(replace(plan, pad_id=PAD).to_json(), encoding="utf-8")
    return home
