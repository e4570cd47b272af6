"""This project's steps, called one after the other: files → raw → tokenized → published cache."""

import datasets  # noqa: F401  (imported by a step, and not to be timed)
from our_corpus import opened, published
from task import Stopwatch, done, task

from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.tokenize import build_tokenized

corpus, workspace = opened(task())

with Stopwatch() as watch:
    (partition,) = workspace.sources.partitions(corpus).values()
    for step in (build_raw, build_tokenized, build_cache):
        step(corpus, partition, workspace)

done(watch, **published(workspace.data))
