"""This project's steps, called one after the other: files → raw → tokenized → published cache."""

import time

import datasets  # noqa: F401  (imported by a step, and not to be timed)
from our_corpus import NAME, data_folder, published
from task import done, task

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

data = data_folder(task())
corpus = load_catalog(data).corpora[NAME]
workspace = Workspace(data=data, store=LocalStore(data / "store"))
workspace.engines.engines(prepare_tokenizer(corpus, data, workspace.store), workspace.store)  # loads the tokenizer

started = time.perf_counter()
(partition,) = workspace.sources.partitions(corpus).values()
for step in (build_raw, build_tokenized, build_cache):
    step(corpus, partition, workspace)
seconds = time.perf_counter() - started

done(seconds, **published(data))
