"""The documents that a corpus leaves out: ``<corpus>.removed.jsonl``, beside its declaration.

A line a document: its id, why, and since when; never its text. A line that is taken out again brings the document back.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import lru_cache
from pathlib import Path

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import DeclarationError

_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One document that is left out."""

    id: str
    """Of the document, see `phyagi_assets.document_id`."""
    reason: str = ""
    on: str = ""
    """The day, as YYYY-MM-DD."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise ValueError(f"id: {self.id!r} is no document's id, which is 16 hexadecimal digits")
        if not isinstance(self.reason, str):
            raise ValueError(f"reason: {self.reason!r} is not text")
        if self.on:
            date.fromisoformat(self.on)


def removals_file(corpus: Corpus) -> Path:
    """Where a corpus's removals are kept."""
    return corpus.path.with_name(f"{corpus.config.name}.removed.jsonl")


def read_removals(corpus: Corpus) -> Mapping[str, Removal]:
    """The documents that a corpus leaves out, by id.

    Raises
    ------
    DeclarationError
        A line is not a removal.
    """
    path = removals_file(corpus)
    try:
        stat = path.stat()
    except FileNotFoundError:
        return {}
    return _parsed(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def add_removals(corpus: Corpus, removals: Iterable[Removal]) -> list[Removal]:
    """Record documents that are to be left out; those of them that were not recorded before."""
    known = read_removals(corpus)
    new = list({removal.id: removal for removal in removals if removal.id not in known}.values())
    if new:
        path = removals_file(corpus)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = [json.dumps({name: value for name, value in asdict(removal).items() if value}, ensure_ascii=False) for removal in new]
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text("\n".join([*before.splitlines(), *lines]) + "\n", encoding="utf-8")
        draft.replace(path)
    return new


@lru_cache(maxsize=256)  # asked for once a partition; another file is another key
def _parsed(path: Path, _modified: int, _size: int, _inode: int) -> Mapping[str, Removal]:
    removals: dict[str, Removal] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                removal = _removal(json.loads(line))
            except ValueError as problem:
                raise DeclarationError(path, str(problem), line=number) from None
            removals.setdefault(removal.id, removal)
    return removals


def _removal(entry: object) -> Removal:
    keys = [field.name for field in fields(Removal)]
    if not isinstance(entry, dict) or "id" not in entry or entry.keys() - set(keys):
        raise ValueError(f"{entry!r} is no removal, which is an object with {', '.join(keys)}, of which id is required")
    return Removal(**entry)
