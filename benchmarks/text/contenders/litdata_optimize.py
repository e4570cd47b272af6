"""litdata's ``optimize`` with two workers, which get whole files: chunks of ids for its ``TokensLoader``, of 64 MB each, the default."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from litdata import TokensLoader, optimize
from task import EOS, Stopwatch, documents, done, task
from tokenizers import Tokenizer

given = task()
tokenizer = Tokenizer.from_file(str(given.backend))
kind = torch.uint16 if given.dtype is np.uint16 else torch.int32


def tokenized(file: str) -> Iterator[torch.Tensor]:
    for texts in documents(Path(file)):
        for one in tokenizer.encode_batch_fast([text + EOS for text in texts]):
            yield torch.tensor(one.ids, dtype=kind)


def ids_of(chunk: Path) -> np.ndarray:
    """Return the ids of a chunk: a count of items, their offsets, and their bytes."""
    content = np.fromfile(chunk, np.uint8)
    items = int(content[:4].view("<u4")[0])
    return content[4 * (items + 2) :].view(given.dtype)


if __name__ == "__main__":
    output = given.work / "chunks"
    with Stopwatch() as watch:
        optimize(
            tokenized,
            inputs=[str(file) for file in given.files],
            output_dir=str(output),
            num_workers=2,
            chunk_bytes="64MB",
            item_loader=TokensLoader(),
            reorder_files=False,
            keep_data_ordered=True,
            verbose=False,
        )

    order = sorted(output.glob("chunk-*.bin"), key=lambda path: [int(part) for part in path.stem.split("-")[1:]])
    array = np.concatenate([ids_of(chunk) for chunk in order])
    np.save(given.work / "train.npy", array)
    done(watch, tokens=len(array), arrays=[given.work / "train.npy"])
