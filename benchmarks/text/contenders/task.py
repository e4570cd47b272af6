"""The task of this suite: encode the documents of some files, append an EOS to each, and keep the end of each."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import contender
import numpy as np
import numpy.typing as npt
from contender import Stopwatch, done

__all__ = ["EOS", "Stopwatch", "documents", "done", "save", "task"]
EOS = "<|endoftext|>"
TOGETHER = 1000
"""Number of documents in a batch, for programs that choose it."""


def task() -> Any:
    """Return what this program is given.

    Returns
    -------
    object
        With ``files``, which have a column ``text``, in a ``format``, ``jsonl`` or ``parquet``; ``tokenizer``, a folder as
        ``save_pretrained`` writes it, its ``backend`` and ``eos``; ``dtype``, which holds its ids; ``work``, an empty folder for what is
        written; and ``kept``, a folder for what a user keeps from earlier runs.
    """
    given = contender.given()
    given.files = sorted(given.source.glob(f"*.{given.format}"))
    given.backend = given.tokenizer / "tokenizer.json"
    declared = json.loads(given.backend.read_text(encoding="utf-8"))
    ids = {**declared["model"]["vocab"], **{token["content"]: token["id"] for token in declared["added_tokens"]}}
    given.eos, given.dtype = ids[EOS], np.uint16 if len(ids) <= 0x10000 else np.int32
    return given


def documents(file: Path) -> Iterator[list[str]]:
    """Yield the texts of a file in batches, as a program of a few lines reads them."""
    if file.suffix == ".parquet":
        import pyarrow.parquet as pq

        for batch in pq.ParquetFile(file).iter_batches(TOGETHER, columns=["text"]):
            yield batch.column("text").to_pylist()
    else:
        with file.open(encoding="utf-8") as lines:
            while batch := [json.loads(line)["text"] for _, line in zip(range(TOGETHER), lines, strict=False)]:
                yield batch


def save(given: Any, encoded: Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any]]], *, eos: bool = False) -> dict[str, Any]:
    """Write ids and ends as ``.npy`` files, and return the details to print.

    Parameters
    ----------
    encoded
        The ids of a batch of documents, one after the other, and the end of each document in them.
    eos
        Whether to append an EOS to each document.
    """
    pieces: list[npt.NDArray[Any]] = []
    ends: list[npt.NDArray[Any]] = []
    start = 0
    for ids, its in encoded:
        pieces.append((np.insert(ids, its, given.eos) if eos else ids).astype(given.dtype, copy=False))
        ends.append(start + its + (np.arange(1, len(its) + 1) if eos else 0))
        start += len(pieces[-1])
    np.save(given.work / "train.npy", np.concatenate(pieces))
    np.save(given.work / "ends.npy", np.concatenate(ends))
    return {"tokens": start, "arrays": [given.work / "train.npy"], "ends": [given.work / "ends.npy"]}
