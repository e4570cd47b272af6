"""``datasets`` in torch format: rows of one sample, saved as Arrow, shuffled and interleaved by weight, read by a ``DataLoader``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from batches.inputs import CORPORA, WEIGHTS
from datasets import Dataset, Features, List, Value, disable_progress_bars, interleave_datasets, load_from_disk
from task import BATCH, run, task
from torch.utils.data import DataLoader

given = task()
disable_progress_bars()


def prepare(folder: Path) -> None:
    features = Features({"input_ids": List(Value("uint16"), length=given.seq_len)})
    for corpus in CORPORA:
        ids = np.load(given.source / f"{corpus}.npy", mmap_mode="r")

        def rows(ids: Any = ids) -> Iterator[dict[str, Any]]:
            for start in range(0, len(ids) - given.seq_len + 1, given.seq_len):
                yield {"input_ids": ids[start : start + given.seq_len]}

        made = Dataset.from_generator(rows, features=features, cache_dir=str(folder / "cache"))
        made.save_to_disk(str(folder / corpus))


def loader() -> DataLoader[Any]:
    corpora = [load_from_disk(str(given.prepared / corpus)).shuffle(seed=given.seed) for corpus in CORPORA]
    weights = [weight / sum(WEIGHTS) for weight in WEIGHTS]
    mixed = interleave_datasets(corpora, probabilities=weights, seed=given.seed).with_format("torch")
    return DataLoader(mixed, batch_size=BATCH, num_workers=given.workers, drop_last=True)


if __name__ == "__main__":
    run(given, prepare, loader, lambda batch: (batch["input_ids"].long(), batch["input_ids"].long().clone()))
