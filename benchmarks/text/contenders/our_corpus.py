"""The task as a declaration of this project: a data folder with one corpus.

The store keeps prepared tokenizers from one run to the next, as a user's store does; everything else in it is deleted.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

NAME = "bench"


def data_folder(given: Any) -> Path:
    """Return the data folder, whose store has no artifact of a corpus."""
    data: Path = given.kept / "data"
    (data / "corpora").mkdir(parents=True, exist_ok=True)
    for made in (NAME, f".digests/{NAME}"):
        shutil.rmtree(data / "store" / made, ignore_errors=True)
    (data / "corpora" / f"{NAME}.yaml").write_text(
        f"name: {NAME}\nsource: {{path: '{given.source}/*.{given.format}'}}\ntokenizer: '{given.tokenizer}'\n", encoding="utf-8"
    )
    return data


def opened(given: Any) -> tuple[Any, Workspace]:
    """Return the corpus and the workspace of a data folder in which only the tokenizer is prepared, and is loaded."""
    data = data_folder(given)
    corpus, workspace = load_catalog(data).corpora[NAME], Workspace(data=data, store=LocalStore(data / "store"))
    workspace.engines.engines(prepare_tokenizer(corpus, workspace.identities, workspace.store), workspace.store)
    return corpus, workspace


def published(data: Path) -> dict[str, Any]:
    """Return the published token arrays, the ends of their documents, and their number of tokens."""
    caches = sorted((data / "store" / NAME / "numpy_cache").glob("[!.]*"))
    # One file per array, or, of a large partition, one per chunk and array.
    arrays = [path for cache in caches for path in sorted(cache.glob("train*.npy")) if path.name.count(".") == 1]
    ends = [path.with_suffix(".documents.npy") for path in arrays]
    return {"arrays": arrays, "ends": ends, "tokens": sum(len(np.load(array, mmap_mode="r")) for array in arrays)}
