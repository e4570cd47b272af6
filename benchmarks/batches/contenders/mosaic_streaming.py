"""mosaicml-streaming: a ``StreamingDataset`` over one MDS stream per corpus with one sample per row, read by a ``DataLoader``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from batches.inputs import CORPORA, WEIGHTS
from streaming_import import MDSWriter, Stream, StreamingDataset
from task import BATCH, run, task
from torch.utils.data import DataLoader

given = task()


def prepare(folder: Path) -> None:
    for corpus in CORPORA:
        ids = np.load(given.source / f"{corpus}.npy")
        with MDSWriter(out=str(folder / corpus), columns={"tokens": f"ndarray:uint16:{given.seq_len}"}) as writer:
            for start in range(0, len(ids) - given.seq_len + 1, given.seq_len):
                writer.write({"tokens": ids[start : start + given.seq_len]})


class Samples(StreamingDataset):
    """The ids of a row, and the same as labels."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = super().__getitem__(index)["tokens"].astype(np.int64)
        return {"input_ids": torch.from_numpy(ids), "labels": torch.from_numpy(ids.copy())}


def loader() -> DataLoader[Any]:
    streams = [
        Stream(local=str(given.prepared / corpus), proportion=weight / sum(WEIGHTS))
        for corpus, weight in zip(CORPORA, WEIGHTS, strict=True)
    ]
    return DataLoader(
        Samples(streams=streams, shuffle=True, shuffle_seed=given.seed, batch_size=BATCH),
        batch_size=BATCH,
        num_workers=given.workers,
        drop_last=True,
    )


if __name__ == "__main__":
    run(given, prepare, loader, lambda batch: (batch["input_ids"], batch["labels"]))
