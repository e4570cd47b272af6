"""This project's steps: JSON Lines → raw → tokenized → published cache. Arguments: the source, a folder to work in."""

import json
import shutil
import sys
import time
from pathlib import Path

import datasets  # noqa: F401  (imported by the step, and not to be timed)

from phyagi_assets.config import CorpusConfig
from phyagi_assets.pipeline.cache import build_cache
from phyagi_assets.pipeline.raw import build_raw
from phyagi_assets.pipeline.step import Workspace
from phyagi_assets.pipeline.store import Store
from phyagi_assets.pipeline.tokenized import build_tokenized
from phyagi_assets.pipeline.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.yamlfile import load_yaml

source, work = Path(sys.argv[1]), Path(sys.argv[2])
tokenizer = Path(__file__).parent.parent / "data" / "tokenizers" / "gpt2"
shutil.rmtree(work / "store" / "bench", ignore_errors=True)
work.mkdir(exist_ok=True)
(work / "bench.yaml").write_text(f"name: bench\nsource: {{path: '{source}'}}\ntokenizer: '{tokenizer}'\n", encoding="utf-8")
corpus = load_yaml(work / "bench.yaml", CorpusConfig)
workspace = Workspace(data=work, store=Store(work / "store"))
workspace.engines.engines(prepare_tokenizer(corpus, work, workspace.store), workspace.store)

started = time.perf_counter()
(partition,) = workspace.sources.partitions(corpus).values()
for step in (build_raw, build_tokenized, build_cache):
    built = step(corpus, partition, workspace)
seconds = time.perf_counter() - started

array = built.artifact.manifest.files["train.npy"]
print(json.dumps({"seconds": seconds, "tokens": built.artifact.manifest.counts["train"]["tokens"], "digest": array.xxh3_128}))
