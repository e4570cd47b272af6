"""Write mixtures whose tokens are all different, without the pipeline."""

from pathlib import Path

import numpy as np

from phyagi_assets.formats.plan import PLAN, Plan
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
