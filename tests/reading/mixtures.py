"""Write mixtures whose tokens are all different, without the pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from phyagi_assets.formats.plan import PLAN, Group, Plan, PlannedCorpus, PlannedPartition, Segment, Shard, Source
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest
from tests.order.plans import Samples

SAMPLES: Samples = {"one": {"a": 14, "b": 9}, "two": {"a": 6}, "three": {"a": 1, "b": 11}}


def write_mixture(folder: Path, plan: Plan) -> Path:
    """Write a plan and its arrays with documents of 1 to 9 tokens; return the folder."""
    draw, token = np.random.default_rng(0), 0
    folder.mkdir(parents=True, exist_ok=True)
    for corpus in plan.corpora:
        for part in corpus.partitions:
            for shard in part.shards.values():
                array = folder / shard.path
                array.parent.mkdir(exist_ok=True)
                np.save(array, np.arange(token, token + shard.tokens, dtype=plan.dtype))
                ends = np.cumsum(draw.integers(1, 10, shard.tokens))
                np.save(array.with_suffix(".documents.npy"), np.append(ends[ends < shard.tokens], shard.tokens))
                token += shard.tokens
    (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
    return folder


def publish_demo(store: Path) -> None:
    """Publish a mixture ``demo`` of one corpus of 8 samples, as examples in the documentation read it."""
    home = store / "demo" / ".versions" / "mixed_dataset@1"
    home.mkdir(parents=True)
    (store / "demo" / "mixed_dataset").symlink_to(home.relative_to(store / "demo"))
    np.save(home / "train.npy", np.arange(8 * 512 + 1, dtype=np.uint16))
    np.save(home / "train.documents.npy", np.array([8 * 512 + 1]))
    shard = Shard(path="train.npy", tokens=8 * 512 + 1, documents=1)
    corpus = PlannedCorpus(name="numbers", partitions=(PlannedPartition(key="all", fingerprint="1", shards={"train": shard}),))
    group = Group(partitions=(0,), samples=8, offset=0, key=1)
    source = Source(corpus=0, weight=1.0, share=None, rate=8, drawn=8, groups=(group,))
    plan = Plan(
        name="demo",
        fingerprint="1",
        seq_len=512,
        seed=42,
        dtype="uint16",
        tokenizer="",
        concat="interleaved",
        shuffle=True,
        corpora=(corpus,),
        segments=(Segment(start=0, sources=(source,)),),
    )
    (home / PLAN).write_text(plan.to_json(), encoding="utf-8")
    manifest = Manifest.expected("mixed_dataset", code_version="3", inputs={}, settings={})
    (home / MANIFEST).write_text(replace(manifest, files={PLAN: FileRecord.of(home / PLAN)}).to_json(), encoding="utf-8")
