"""grain: one ``MapDataset`` per corpus over a memory-mapped array, shuffled, mixed by weight and batched, in its own worker processes."""

from typing import Any

import grain
import numpy as np
import torch
from batches.inputs import CORPORA, WEIGHTS
from task import BATCH, run, task


class Samples:
    """Samples of a token array, as a source with random access."""

    def __init__(self, path: str, seq_len: int) -> None:
        self.path, self.seq_len = path, seq_len
        self.ids = np.load(path, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.ids) // self.seq_len

    def __getitem__(self, index: int) -> np.ndarray:
        return np.asarray(self.ids[index * self.seq_len : (index + 1) * self.seq_len])

    def __reduce__(self) -> Any:  # a memory map would be copied to the workers
        return Samples, (self.path, self.seq_len)


def loader() -> Any:
    corpora = [
        grain.MapDataset.source(Samples(str(given.source / f"{corpus}.npy"), given.seq_len)).seed(given.seed).shuffle()
        for corpus in CORPORA
    ]
    mixed = grain.MapDataset.mix([corpus.repeat() for corpus in corpora], weights=WEIGHTS)
    batches = mixed.batch(BATCH, drop_remainder=True).to_iter_dataset(grain.ReadOptions(num_threads=0 if given.workers else 16))
    return batches.mp_prefetch(grain.MultiprocessingOptions(num_workers=given.workers)) if given.workers else batches


def tensors(batch: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(batch.astype(np.int64)), torch.from_numpy(batch.astype(np.int64))


if __name__ == "__main__":  # grain's workers import this file, with other arguments
    given = task()
    run(given, None, loader, tensors)
