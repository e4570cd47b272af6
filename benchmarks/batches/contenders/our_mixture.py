"""This project's mixture, read by ``MixtureLoader``: a plan over the token arrays as they are."""

from pathlib import Path

import numpy as np
from batches.inputs import CORPORA, WEIGHTS
from batches.plans import PlannedArrays, write_plan
from task import BATCH, run, task

from phyagi_assets.datasets import MixtureLoader, load_mixture

given = task()


def prepare(folder: Path) -> None:
    arrays = [given.source.absolute() / f"{corpus}.npy" for corpus in CORPORA]
    sources = [
        PlannedArrays(paths=[str(path)], tokens=len(np.load(path, mmap_mode="r")), weight=weight)
        for path, weight in zip(arrays, WEIGHTS, strict=True)
    ]
    write_plan(folder, sources, given.seq_len)


if __name__ == "__main__":
    run(
        given,
        prepare,
        lambda: MixtureLoader(load_mixture(given.prepared).train, batch_size=BATCH, num_workers=given.workers, endless=True),
        lambda batch: (batch["input_ids"], batch["labels"]),
    )
