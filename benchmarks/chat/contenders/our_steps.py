"""This project's steps on a corpus of conversations: file → raw → tokenized → published cache."""

import shutil

import datasets  # noqa: F401  (imported by a step, and not to be timed)
import numpy as np
from compared import digests
from contender import Stopwatch, done, given

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.formats.trained_bits import mask_between
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.raw import build_raw
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.tokenize import build_tokenized
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepare_chat import prepare_chat

NAME = "bench"

if __name__ == "__main__":
    told = given()
    data = told.kept / "chat"
    (data / "corpora").mkdir(parents=True, exist_ok=True)
    for made in (NAME, f".digests/{NAME}"):
        shutil.rmtree(data / "store" / made, ignore_errors=True)
    (data / "corpora" / f"{NAME}.yaml").write_text(
        f"name: {NAME}\nsource: {{path: '{told.source}/*.jsonl'}}\nmessages: messages\ntokenizer: '{told.tokenizer}'\n", encoding="utf-8"
    )
    corpus, workspace = load_catalog(data).corpora[NAME], Workspace(data=data, store=LocalStore(data / "store"))
    chat = prepare_chat(corpus, prepare_tokenizer(corpus, workspace.identities, workspace.store), data, workspace.store)
    workspace.engines.engines(chat.bare, workspace.store)

    with Stopwatch() as watch:
        (partition,) = workspace.sources.partitions(corpus).values()
        *_, cache = [step(corpus, partition, workspace) for step in (build_raw, build_tokenized, build_cache)]

    ids = np.load(cache.artifact.path / "train.npy")
    done(watch, digests=digests(ids, mask_between(np.load(cache.artifact.path / "train.trained.npy"), 0, len(ids))))
