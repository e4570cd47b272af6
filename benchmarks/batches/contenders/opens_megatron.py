"""Opens a blend of megatron-core, with indices made beforehand and documents of 2,048 tokens, which favors it."""

from typing import Any

import numpy as np
from megatron.core.datasets.indexed_dataset import _IndexWriter
from megatron_blend import blend
from opens import BATCH, SEQ_LEN, arguments, run, sparse
from torch.utils.data import DataLoader

folder, samples, sources = arguments()


def prepare() -> None:
    documents = samples // sources + 2
    for source in range(sources):
        sparse(folder / f"{source}.bin", 0, documents * SEQ_LEN)
        with _IndexWriter(str(folder / f"{source}.idx"), np.uint16) as writer:
            writer.write([SEQ_LEN] * documents, None, list(range(documents + 1)))
    blended()


def blended() -> Any:
    return blend([folder / str(source) for source in range(sources)], [1.0] * sources, samples, SEQ_LEN)


if __name__ == "__main__":
    run(folder, prepare, lambda: DataLoader(blended(), batch_size=BATCH))
