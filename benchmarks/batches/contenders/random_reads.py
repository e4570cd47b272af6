"""The limit from disk: samples read at random places by 32 threads, without read-ahead, neither mixed nor converted in order."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from batches.inputs import CORPORA
from task import BATCH, run, task

given = task()
THREADS, AHEAD = 32, 8  # batches read at once


def batches() -> Iterator[torch.Tensor]:
    files = [os.open(given.source / f"{corpus}.npy", os.O_RDONLY) for corpus in CORPORA]
    for file in files:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    size = 2 * given.seq_len
    draw = np.random.default_rng(given.seed)

    def read(place: int) -> bytes:
        return os.pread(files[place % len(files)], size, place // len(files) * size + 128)

    with ThreadPoolExecutor(THREADS) as threads:
        samples = (os.fstat(files[0]).st_size // size - 1) * len(files)
        while True:
            read_ahead = list(threads.map(read, draw.integers(0, samples, AHEAD * BATCH).tolist()))
            for start in range(0, len(read_ahead), BATCH):
                yield torch.frombuffer(bytearray().join(read_ahead[start : start + BATCH]), dtype=torch.int16).view(BATCH, -1).long()


if __name__ == "__main__":
    run(given, None, batches, lambda batch: (batch, batch))
