"""Opens a mixture of this project."""

import numpy as np
from batches.plans import PlannedArrays, write_plan
from opens import BATCH, SEQ_LEN, SHARDS, arguments, run, sparse

from phyagi_assets.datasets import MixtureLoader, load_mixture

folder, samples, sources = arguments()


def prepare() -> None:
    shards = max(1, min(SHARDS, samples // sources // 100))
    tokens = samples // sources // shards * SEQ_LEN + SEQ_LEN
    corpora = []
    for source in range(sources):
        paths = [f"{source}-{shard}.npy" for shard in range(shards)]
        for path in paths:
            with (folder / path).open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<u2", "fortran_order": False, "shape": (tokens,)})
            sparse(folder / path, (folder / path).stat().st_size, tokens)
        corpora.append(PlannedArrays(paths=paths, tokens=tokens, weight=1.0))
    write_plan(folder, corpora, SEQ_LEN)


if __name__ == "__main__":
    run(folder, prepare, lambda: MixtureLoader(load_mixture(folder).train, batch_size=BATCH))
