"""litdata: one ``StreamingDataset`` with a ``TokensLoader`` per corpus, combined by weight and read by its ``StreamingDataLoader``.

The chunks are local, have 64 MB, the default, and hold ids of 2 bytes. Inputs and labels are cut from blocks with one more token.
"""

from pathlib import Path

import numpy as np
import torch
from batches.inputs import CORPORA, WEIGHTS
from litdata import CombinedStreamingDataset, StreamingDataLoader, StreamingDataset, TokensLoader
from litdata.streaming.writer import BinaryWriter
from task import BATCH, run, task

given = task()
BLOCK = given.seq_len + 1


def prepare(folder: Path) -> None:
    blocks = 64_000_000 // 2 // BLOCK
    for corpus in CORPORA:
        ids = np.load(given.source / f"{corpus}.npy")
        writer = BinaryWriter(str(folder / corpus), chunk_size=blocks * BLOCK, item_loader=TokensLoader(BLOCK))
        for item, start in enumerate(range(0, len(ids), BLOCK)):
            writer[item] = torch.from_numpy(ids[start : start + BLOCK])
        writer.done()
        writer.merge()


def loader() -> StreamingDataLoader:
    datasets = [
        StreamingDataset(str(given.prepared / corpus), item_loader=TokensLoader(BLOCK), shuffle=True, drop_last=True, seed=given.seed)
        for corpus in CORPORA
    ]
    weights = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    combined = CombinedStreamingDataset(datasets, seed=given.seed, weights=weights, iterate_over_all=False)
    return StreamingDataLoader(combined, batch_size=BATCH, num_workers=given.workers, drop_last=True)


if __name__ == "__main__":
    run(given, prepare, loader, lambda batch: (batch[:, :-1].long(), batch[:, 1:].long()))
