"""This project's last step alone, tokenized Arrow → published ``.npy`` files, and the least that moving its bytes costs.

The limits are measured in the same process: copying the bytes in memory, after all pages are read; and writing them to a file and flushing
it to the disk, as the step does.
"""

import os
import statistics

import numpy as np
from our_corpus import opened, published
from task import Stopwatch, done, task

from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.tokenize import build_tokenized

given = task()
corpus, workspace = opened(given)
(partition,) = workspace.sources.partitions(corpus).values()
for step in (build_raw, build_tokenized):
    step(corpus, partition, workspace)
os.sync()

with Stopwatch() as watch:
    build_cache(corpus, partition, workspace)

cache = published(workspace.data)["arrays"][0].parent
content = np.concatenate([np.fromfile(path, np.uint8) for path in sorted(cache.glob("*.npy"))])
copy = content.copy()
os.sync()
copies = []
for _ in range(9):
    with Stopwatch() as memcpy:
        np.copyto(copy, content)
    copies.append(memcpy.seconds)
with Stopwatch() as write, (given.work / "plain.bin").open("wb") as file:
    file.write(content.data)
    os.fsync(file.fileno())
done(watch, bytes=len(content), memcpy_seconds=statistics.median(copies), write_seconds=write.seconds)
