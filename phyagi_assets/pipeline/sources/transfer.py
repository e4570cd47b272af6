"""Fetching remote files: resumed where a transfer broke off, and verified before they are taken for what they should be."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phyagi_assets.declarations import Corpus
from phyagi_assets.pipeline.sources.files import SourceFile
from phyagi_assets.pipeline.sources.patience import Patience, TransientError

OnBytes = Callable[[int], None]
"""Told how many bytes have come since it was last told."""

_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Checksum:
    """What a source says that a file's content has."""

    algorithm: str
    """A name that :mod:`hashlib` knows, or ``git``: SHA-1 of a git blob."""
    value: str
    """Hexadecimal digits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A file that has arrived, and the checksum that its source knows of it, if any."""

    path: Path
    checksum: Checksum | None


class Remote(Protocol):
    """A kind of source that lies elsewhere."""

    def files(self, corpus: Corpus, declared: str) -> list[SourceFile]:
        """The files that a declaration names."""

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch a file into a folder that is there for it alone, and in which an earlier try may have left a part of it."""


def transfer(remote: Remote, file: SourceFile, folder: Path, patience: Patience, on_bytes: OnBytes) -> Path:
    """Fetch and verify a file.

    Parameters
    ----------
    folder
        For this file in this version alone; what is verified in it needs no second transfer.

    Returns
    -------
    Path
        Of the content.

    Raises
    ------
    SourceError
        It cannot be had, or does not arrive as its source says that it is.
    """
    verified = folder.with_name(f"{folder.name}.verified")
    if verified.exists():
        return verified
    folder.mkdir(parents=True, exist_ok=True)

    def once() -> Path:
        fetched = remote.fetch(file, folder, on_bytes)
        problem = _difference(fetched, file)
        if problem:
            fetched.path.unlink()
            raise TransientError(problem)
        fetched.path.replace(verified)
        return verified

    return patience.with_retries(file.origin, once)


def append_chunks(target: Path, size: int, chunks: Callable[[int], Iterator[bytes]], on_bytes: OnBytes) -> Path:
    """Write what comes, from where an earlier try broke off.

    Parameters
    ----------
    size
        Bytes of the whole.
    chunks
        Gives the bytes from an offset on.

    Raises
    ------
    TransientError
        The source ended early, or gave more than there is.
    """
    part = target.with_name(f"{target.name}.part")
    there = part.stat().st_size if part.exists() else 0
    if there >= size:
        part.unlink(missing_ok=True)
        there = 0
    with part.open("ab") as file:
        for chunk in chunks(there) if size else ():
            file.write(chunk)
            on_bytes(len(chunk))
    arrived = part.stat().st_size
    if arrived > size:
        part.unlink()
    if arrived != size:
        raise TransientError(f"{arrived:,} bytes came where there are {size:,}")
    return part.replace(target)


def _difference(fetched: Fetched, file: SourceFile) -> str:
    size = fetched.path.stat().st_size
    if size != file.size:
        return f"{size:,} bytes came where there are {file.size:,}"
    if fetched.checksum and (found := _digest(fetched.path, fetched.checksum.algorithm)) != fetched.checksum.value:
        return f"what came has the {fetched.checksum.algorithm} checksum {found} where the source says {fetched.checksum.value}"
    return ""


def _digest(path: Path, algorithm: str) -> str:
    state = hashlib.new("sha1" if algorithm == "git" else algorithm, usedforsecurity=False)
    if algorithm == "git":
        state.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
