"""Fetching remote files: resumed where a transfer broke off, and verified before they are taken for what they should be."""

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.formatting import counted
from phyagi_assets.sources.files import Listing, SourceFile
from phyagi_assets.sources.retries import RetryPolicy, TransientError

OnBytes = Callable[[int], None]
"""Called with the number of bytes that have come since the last call, and with 0 before each try. It stops a transfer by raising."""

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
    encoding: str = ""
    """The ``Content-Encoding`` that it is kept in."""


class Remote(Protocol):
    """A kind of source that lies elsewhere."""

    def files(self, corpus: Corpus, declared: str) -> Listing:
        """List the files that a declaration names."""

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch a file into a folder that is there for it alone, and in which an earlier try may have left a part of it."""


def transfer(remote: Remote, file: SourceFile, folder: Path, retry_policy: RetryPolicy, on_bytes: OnBytes) -> Path:
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
        on_bytes(0)
        fetched = remote.fetch(file, folder, on_bytes)
        problem = _difference(fetched, file)
        if problem:
            fetched.path.unlink()
            raise TransientError(problem)
        _decoded(fetched, file).replace(verified)
        return verified

    return retry_policy.with_retries(file.origin, once)


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
        raise TransientError(f"{counted(arrived, 'byte')} came where there are {size:,}")
    return part.replace(target)


def _difference(fetched: Fetched, file: SourceFile) -> str:
    size = fetched.path.stat().st_size
    if size != file.size:
        return f"{counted(size, 'byte')} came where there are {file.size:,}"
    if fetched.checksum and (found := _digest(fetched.path, fetched.checksum.algorithm)) != fetched.checksum.value:
        return f"what came has the {fetched.checksum.algorithm} checksum {found} where the source says {fetched.checksum.value}"
    return ""


def _decoded(fetched: Fetched, file: SourceFile) -> Path:
    """Decompress what is kept compressed without a word in its name, as HTTP clients do; the content is that of its name."""
    encodings = {encoding.strip().lower() for encoding in fetched.encoding.split(",")}
    is_named = file.name.lower().endswith((".gz", ".gzip", ".tgz"))
    if is_named or not encodings & {"gzip", "x-gzip"}:
        return fetched.path
    with fetched.path.open("rb") as start:
        if start.read(2) != b"\x1f\x8b":  # said of it, and not so
            return fetched.path
    target = fetched.path.with_name(f"{fetched.path.name}.decoded")
    try:
        with gzip.open(fetched.path) as packed, target.open("wb") as content:
            shutil.copyfileobj(packed, content, _CHUNK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise SourceError(f"has Content-Encoding: gzip, and is not valid gzip: {problem}; upload it again") from None
    fetched.path.unlink()
    return target


def _digest(path: Path, algorithm: str) -> str:
    state = hashlib.new("sha1" if algorithm == "git" else algorithm, usedforsecurity=False)
    if algorithm == "git":
        state.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            state.update(chunk)
    return state.hexdigest()
