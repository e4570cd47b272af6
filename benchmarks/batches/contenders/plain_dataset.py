"""A memory-mapped dataset read sample by sample, with the default collation, as the reference library does.

Batches are made by torch: a ``ConcatDataset`` that repeats each corpus by its weight, and a shuffling ``DataLoader``.
"""

import numpy as np
import torch
from batches.inputs import CORPORA, WEIGHTS
from task import BATCH, run, task
from torch.utils.data import ConcatDataset, DataLoader, Dataset

given = task()


class Samples(Dataset[dict[str, torch.Tensor]]):
    """Samples of a token array; the labels are the ids, which the model shifts."""

    def __init__(self, path: str, seq_len: int) -> None:
        self.ids = np.load(path, mmap_mode="r")
        self.seq_len = seq_len

    def __len__(self) -> int:
        return len(self.ids) // self.seq_len

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = self.ids[index * self.seq_len : (index + 1) * self.seq_len].astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(ids.copy())}


def loader() -> DataLoader[dict[str, torch.Tensor]]:
    torch.manual_seed(given.seed)
    corpora = [Samples(str(given.source / f"{corpus}.npy"), given.seq_len) for corpus in CORPORA]
    passes = [corpus for corpus, weight in zip(corpora, WEIGHTS, strict=True) for _ in range(weight)]
    return DataLoader(ConcatDataset(passes), batch_size=BATCH, shuffle=True, num_workers=given.workers, drop_last=True)


if __name__ == "__main__":
    run(given, None, loader, lambda batch: (batch["input_ids"], batch["labels"]))
