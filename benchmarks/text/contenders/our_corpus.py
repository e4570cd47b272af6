"""The task as this project has it declared: a data folder with one corpus.

The store keeps what is known of tokenizers from one run to the next, as a user's would; nothing else of it is left.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from task import Task

NAME = "bench"


def data_folder(task: Task) -> Path:
    """The data folder, with nothing in its store that was made of a corpus."""
    data = task.kept / "data"
    (data / "corpora").mkdir(parents=True, exist_ok=True)
    for made in (NAME, f".digests/{NAME}"):
        shutil.rmtree(data / "store" / made, ignore_errors=True)
    (data / "corpora" / f"{NAME}.yaml").write_text(
        f"name: {NAME}\nsource: {{path: '{task.source}/*.{task.format}'}}\ntokenizer: '{task.tokenizer}'\n", encoding="utf-8"
    )
    return data


def published(data: Path) -> dict[str, Any]:
    """What there is now: the token arrays, the ends of their documents, and how many tokens they have."""
    caches = sorted((data / "store" / NAME / "numpy_cache").glob("[!.]*"))
    arrays, ends = ([cache / name for cache in caches] for name in ("train.npy", "train.documents.npy"))
    return {"arrays": arrays, "ends": ends, "tokens": sum(len(np.load(array, mmap_mode="r")) for array in arrays)}
