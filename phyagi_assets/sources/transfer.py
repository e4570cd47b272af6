"""Fetch remote files: resume transfers that broke off, and verify files before they are used."""

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
from phyagi_assets.objects.retries import RetryPolicy, TransientError
from phyagi_assets.sources.files import Listing, SourceFile

OnBytes = Callable[[int], None]
"""Function that is called with the number of bytes that arrived since its last call, and with 0 before each attempt. An exception that it
raises stops the transfer."""

_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A fetched file that is not yet verified."""

    path: Path
    checksum: str = ""
    """Checksum of the content according to the source, in hexadecimal digits; empty if it states none."""
    algorithm: str = ""
    """Algorithm of the checksum: a name in :mod:`hashlib`, or ``git`` for the SHA-1 of a git blob."""
    encoding: str = ""
    """``Content-Encoding`` of the file at its source."""


class Remote(Protocol):
    """A kind of remote source."""

    def files(self, corpus: Corpus, declared: str) -> Listing:
        """List the files that a declared path names."""

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch a file, or the rest of it if an earlier attempt fetched the beginning.

        Parameters
        ----------
        folder
            Folder for this file alone.

        Raises
        ------
        SourceError
            The file does not exist, cannot be read, or has changed since it was listed.
        TransientError
            The transfer broke off.
        """


def transfer(remote: Remote, file: SourceFile, folder: Path, retry_policy: RetryPolicy, on_bytes: OnBytes) -> Path:
    """Fetch and verify a file.

    Parameters
    ----------
    folder
        Folder for this version of the file alone. The verified content is kept beside it and is not fetched again.

    Raises
    ------
    SourceError
        The file cannot be fetched, or its size or checksum is wrong in every attempt.
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
    """Write the content of a file, starting where an earlier attempt broke off.

    Parameters
    ----------
    target
        Path of the complete file. Until it is complete, the content is in ``<target>.part``.
    size
        Size of the complete file, in bytes.
    chunks
        Function that yields the content from an offset in bytes on.

    Raises
    ------
    TransientError
        The source sent fewer or more bytes than the size.
    """
    part = target.with_name(f"{target.name}.part")
    start = part.stat().st_size if part.exists() else 0
    if start >= size:
        part.unlink(missing_ok=True)
        start = 0
    with part.open("ab") as file:
        for chunk in chunks(start) if size else ():
            file.write(chunk)
            on_bytes(len(chunk))
    arrived = part.stat().st_size
    if arrived > size:
        part.unlink()
    if arrived != size:
        raise TransientError(f"{counted(arrived, 'byte')} arrived instead of {size:,}")
    return part.replace(target)


def _difference(fetched: Fetched, file: SourceFile) -> str:
    size = fetched.path.stat().st_size
    if size != file.size:
        return f"{counted(size, 'byte')} arrived instead of {file.size:,}"
    if fetched.checksum and (found := digest_by(fetched.path, fetched.algorithm)) != fetched.checksum:
        return f"what arrived has the {fetched.algorithm} checksum {found}, and the source states {fetched.checksum}"
    return ""


def _decoded(fetched: Fetched, file: SourceFile) -> Path:
    """Decompress a file with ``Content-Encoding: gzip``, as HTTP clients do, unless its name has a suffix of gzip."""
    encodings = {encoding.strip().lower() for encoding in fetched.encoding.split(",")}
    is_named = file.name.lower().endswith((".gz", ".gzip", ".tgz"))
    if is_named or not encodings & {"gzip", "x-gzip"}:
        return fetched.path
    with fetched.path.open("rb") as start:
        if start.read(2) != b"\x1f\x8b":  # declared as gzip, but not gzip data
            return fetched.path
    target = fetched.path.with_name(f"{fetched.path.name}.decoded")
    try:
        with gzip.open(fetched.path) as packed, target.open("wb") as content:
            shutil.copyfileobj(packed, content, _CHUNK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        raise SourceError(f"has Content-Encoding: gzip, and is not valid gzip: {problem}; upload it again") from None
    fetched.path.unlink()
    return target


def digest_by(path: Path, algorithm: str) -> str:
    """Return the checksum of a file, in hexadecimal digits; see `Fetched.algorithm`."""
    state = hashlib.new("sha1" if algorithm == "git" else algorithm, usedforsecurity=False)
    if algorithm == "git":
        state.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, lambda: state).hexdigest()
