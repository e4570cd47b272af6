"""mosaicml-streaming: a ``StreamingDataset`` over an MDS stream in the bucket, shuffled."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from from_bucket.task import BATCH, run, task
from streaming_import import StreamingDataset
from torch.utils.data import DataLoader

given = task()


class Samples(StreamingDataset):  # type: ignore[misc]
    """The ids of a row."""

    def __getitem__(self, index: int) -> Any:
        return torch.from_numpy(super().__getitem__(index)["tokens"].astype(np.int64))


def opened(cache: Path) -> Iterable[Any]:
    from streaming.base.util import clean_stale_shared_memory

    clean_stale_shared_memory()
    dataset = Samples(remote=f"{given.bucket}/mosaic", local=str(cache), shuffle=True, batch_size=BATCH)
    return DataLoader(dataset, batch_size=BATCH, num_workers=given.workers, drop_last=True)


if __name__ == "__main__":
    run(given, opened, lambda batch: batch.numel())
