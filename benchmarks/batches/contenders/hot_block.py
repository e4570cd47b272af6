"""The limit: the two tensors of a batch, converted again and again from one block in the processor's cache."""

from collections.abc import Iterator

import numpy as np
import torch
from batches.inputs import VOCABULARY
from task import BATCH, run, task

given = task()


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    block = np.random.default_rng(0).integers(0, VOCABULARY, (BATCH, given.seq_len), dtype=np.uint16)
    while True:
        yield torch.from_numpy(block.astype(np.int64)), torch.from_numpy(block.astype(np.int64))


if __name__ == "__main__":
    run(given, None, batches, lambda batch: batch)
