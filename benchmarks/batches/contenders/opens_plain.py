"""Opens plain memory-mapped datasets, concatenated and shuffled by torch."""

import numpy as np
import torch
from opens import BATCH, SEQ_LEN, arguments, run, sparse
from torch.utils.data import ConcatDataset, DataLoader, Dataset

folder, samples, sources = arguments()
TOKENS = samples // sources * SEQ_LEN


class Samples(Dataset[torch.Tensor]):
    def __init__(self, source: int) -> None:
        self.ids = np.memmap(folder / f"{source}.bin", np.uint16, "r")

    def __len__(self) -> int:
        return len(self.ids) // SEQ_LEN

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.ids[index * SEQ_LEN : (index + 1) * SEQ_LEN].astype(np.int64))


def prepare() -> None:
    for source in range(sources):
        sparse(folder / f"{source}.bin", 0, TOKENS)


if __name__ == "__main__":
    run(folder, prepare, lambda: DataLoader(ConcatDataset([Samples(source) for source in range(sources)]), batch_size=BATCH, shuffle=True))
