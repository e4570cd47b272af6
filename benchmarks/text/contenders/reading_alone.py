"""The limit of reading: this project's reader alone, files → batches of decoded text, which are dropped."""

import time

from our_corpus import NAME, data_folder
from task import done, task

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.steps.raw import build_raw, local_files
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore

data = data_folder(task())
corpus = load_catalog(data).corpora[NAME]
workspace = Workspace(data=data, store=LocalStore(data / "store"))
(partition,) = workspace.sources.partitions(corpus).values()
files = local_files(partition, build_raw(corpus, partition, workspace).artifact)

started = time.perf_counter()
for _ in read_documents(corpus, files):
    pass
done(time.perf_counter() - started)
