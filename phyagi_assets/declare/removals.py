"""Documents that are removed from a corpus on request, recorded in ``<corpus>.removed.jsonl`` beside its declaration.

The record has one line per document, with its id, the reason and the day, but never its text. Deleting the line brings the document
back.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import date
from functools import lru_cache
from pathlib import Path

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError
from phyagi_assets.paths import real_path

_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Removal:
    """One removed document."""

    id: str
    """Id of the document, see `phyagi_assets.declare.document_id`."""
    reason: str = ""
    on: str = ""
    """Day of the removal, as YYYY-MM-DD; empty if unknown."""

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            raise ValueError(f"id: {self.id!r} is not a document id; use 16 hexadecimal digits in lower case")
        if not isinstance(self.reason, str):
            raise ValueError(f"reason: {self.reason!r} is not text; quote it, or leave it out")
        try:
            if self.on:
                date.fromisoformat(self.on)
        except (ValueError, TypeError):
            raise ValueError(f"on: {self.on!r} is not a day; write it as YYYY-MM-DD, or leave it out") from None


def removals_file(corpus: Corpus) -> Path:
    """Return the path of the record of a corpus's removed documents."""
    return corpus.path.with_name(f"{corpus.config.name}.removed.jsonl")


def read_removals(corpus: Corpus) -> Mapping[str, Removal]:
    """Return the removed documents of a corpus, by id.

    Raises
    ------
    DeclarationError
        The record cannot be read, or a line is not a removal.
    """
    path = removals_file(corpus)
    try:
        stat = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise DeclarationError(path, f"is a link to {path.readlink()}, which does not exist; correct the link, or remove it") from None
        return {}
    except OSError as problem:  # a link in a loop, or a folder that may not be entered
        raise DeclarationError(path, f"cannot be read: {problem.strerror}") from None
    return _parsed(path, stat.st_mtime_ns, stat.st_size, stat.st_ino)


def add_removals(corpus: Corpus, removals: Iterable[Removal]) -> list[Removal]:
    """Record documents as removed.

    The record is locked from reading to writing, so that two concurrent commands do not lose each other's additions. It is flushed to disk
    before this function returns.

    Returns
    -------
    list of Removal
        The removals that were not recorded before.

    Raises
    ------
    DeclarationError
        The record cannot be read or written.
    """
    path = real_path(removals_file(corpus))  # if it is a link, write to its target
    try:
        with _locked(path.parent):
            known = read_removals(corpus)
            new = list({removal.id: removal for removal in removals if removal.id not in known}.values())
            if new:
                before = path.read_text(encoding="utf-8") if path.exists() else ""
                end = "" if not before or before.endswith("\n") else "\n"
                lines = [json.dumps({name: value for name, value in asdict(removal).items() if value}) for removal in new]
                _replace(path, before + end + "\n".join(lines) + "\n")
    except OSError as problem:
        raise DeclarationError(path, f"cannot be written: {problem.strerror}; nothing is recorded") from None
    return new


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Replace a file atomically and flush it, keeping its permissions. The draft of a killed command is overwritten."""
    draft = path.with_name(f".{path.name}.draft")
    draft.unlink(missing_ok=True)
    with draft.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, draft)
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=256)  # called once per partition; a changed file has another key
def _parsed(path: Path, _modified: int, _size: int, _inode: int) -> Mapping[str, Removal]:
    removals: dict[str, Removal] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # an editor may have added a byte order mark
    except OSError as problem:
        raise DeclarationError(path, f"cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise DeclarationError(path, f"is not UTF-8 at byte {problem.start}; save it as UTF-8") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                removal = _removal(json.loads(line, object_pairs_hook=_entry))
            except (json.JSONDecodeError, RecursionError) as problem:
                raise DeclarationError(path, f"is not JSON: {problem}; correct the line", line=number) from None
            except (ValueError, TypeError) as problem:
                raise DeclarationError(path, str(problem), line=number) from None
            removals.setdefault(removal.id, removal)
    return removals


def _entry(pairs: list[tuple[str, object]]) -> dict[str, object]:
    entry = dict(pairs)
    if len(entry) < len(pairs):
        raise ValueError("has a key twice; write each document on a line of its own")
    return entry


def _removal(entry: object) -> Removal:
    keys = [field.name for field in fields(Removal)]
    if not isinstance(entry, dict) or "id" not in entry or entry.keys() - set(keys):
        raise ValueError(f"{entry!r} is not a valid removal; use an object with {', '.join(keys)}, of which id is required")
    return Removal(**entry)
