"""The limit of reading: this project's reader alone, files → batches of decoded text, which are dropped."""

from our_corpus import opened
from task import Stopwatch, done, task

from phyagi_assets.sources.documents import read_documents
from phyagi_assets.steps.raw import build_raw, readable_files

corpus, workspace = opened(task())
(partition,) = workspace.sources.partitions(corpus).values()
files = readable_files(partition, build_raw(corpus, partition, workspace).artifact, workspace)

with Stopwatch() as watch:
    for _ in read_documents(corpus, files):
        pass
done(watch)
