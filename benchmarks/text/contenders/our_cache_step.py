"""This project's last step alone, tokenized Arrow → published ``.npy`` files, and what its bytes cost at least.

The limits are taken in the same process: copying the bytes in memory, once all pages are there; and writing them to a file and having
them flushed to the disk, as the step does.
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from our_corpus import NAME, data_folder, published
from task import done, task

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.local import LocalStore


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def written() -> None:
    with (data / "plain.bin").open("wb") as file:
        file.write(content.data)
        os.fsync(file.fileno())


data = data_folder(task())
corpus = load_catalog(data).corpora[NAME]
workspace = Workspace(data=data, store=LocalStore(data / "store"))
(partition,) = workspace.sources.partitions(corpus).values()
for step in (build_raw, build_tokenized):
    step(corpus, partition, workspace)
os.sync()

seconds = timed(lambda: build_cache(corpus, partition, workspace))

cache = published(data)["arrays"][0].parent
content = np.concatenate([np.fromfile(path, np.uint8) for path in sorted(cache.glob("*.npy"))])
copy = content.copy()
os.sync()
memcpy = statistics.median(timed(lambda: np.copyto(copy, content)) for _ in range(9))
write = timed(written)
(data / "plain.bin").unlink()
done(seconds, bytes=len(content), memcpy_seconds=memcpy, write_seconds=write)
