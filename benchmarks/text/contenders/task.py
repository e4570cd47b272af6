"""What every contender is told, and what it tells when it is done.

The task is always: the documents of these files → their ids, an EOS behind each document, and where each document ends.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One run's work."""

    source: Path
    """Folder of the files to read, which have a column ``text``."""
    format: str
    """``jsonl`` or ``parquet``, their suffix."""
    tokenizer: Path
    """Folder of the tokenizer, as ``save_pretrained`` writes it."""
    work: Path
    """Folder for what is written, empty."""
    kept: Path
    """Folder for what outlives a run: what a user would have from earlier ones."""

    @property
    def files(self) -> list[Path]:
        return sorted(self.source.glob(f"*.{self.format}"))

    @property
    def dtype(self) -> npt.DTypeLike:
        """Of the token array: what the tokenizer's ids fit in."""
        return np.uint16 if self.tokens <= 0x10000 else np.int32

    @property
    def tokens(self) -> int:
        """How many tokens the tokenizer has."""
        declared = json.loads((self.tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
        return len(declared["model"]["vocab"].keys() | {token["content"] for token in declared["added_tokens"]})


EOS = "<|endoftext|>"


def task() -> Task:
    """The task that the arguments name; its folder is emptied."""
    source, format_, tokenizer, work, kept = sys.argv[1:]
    shutil.rmtree(work, ignore_errors=True)
    Path(work).mkdir(parents=True)
    folders = {"source": source, "tokenizer": tokenizer, "work": work, "kept": kept}
    return Task(format=format_, **{name: Path(path).absolute() for name, path in folders.items()})


def done(seconds: float, *, tokens: int = 0, **details: Any) -> None:
    """Say how long it took.

    Parameters
    ----------
    tokens
        How many ids came out.
    details
        ``arrays``: the files of ids, in the order of the documents, to be compared with what the others wrote; ``ends``: beside them,
        the files of where documents end; ``dtype``: of arrays that are no ``.npy``.
    """
    print(json.dumps({"seconds": seconds, "tokens": tokens, **details}, default=str))
