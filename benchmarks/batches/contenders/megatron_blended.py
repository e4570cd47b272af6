"""megatron-core: a ``BlendedDataset`` over one ``GPTDataset`` per corpus, read by a ``DataLoader``.

Its indices are made beforehand and kept, as in a run that is resumed. Its samples are shuffled.
"""

from pathlib import Path
from typing import Any

import numpy as np
from batches.inputs import CORPORA, WEIGHTS
from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder
from megatron_blend import blend
from task import BATCH, run, task
from torch.utils.data import DataLoader

given = task()


def prepare(folder: Path) -> None:
    for corpus in CORPORA:
        ids, ends = (np.load(given.source / f"{corpus}{suffix}.npy") for suffix in ("", ".ends"))
        builder = IndexedDatasetBuilder(str(folder / f"{corpus}.bin"), dtype=np.uint16)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            builder.add_document(ids[start:end], [end - start])
        builder.finalize(str(folder / f"{corpus}.idx"))
    blended()


def blended() -> Any:
    tokens = [len(np.load(given.source / f"{corpus}.npy", mmap_mode="r")) for corpus in CORPORA]
    epoch = sum(weight * (count // given.seq_len) for weight, count in zip(WEIGHTS, tokens, strict=True))
    return blend([given.prepared / corpus for corpus in CORPORA], WEIGHTS, epoch, given.seq_len)


if __name__ == "__main__":
    run(
        given,
        prepare,
        lambda: DataLoader(blended(), batch_size=BATCH, num_workers=given.workers, drop_last=True),
        lambda batch: (batch["tokens"], batch["labels"]),
    )
