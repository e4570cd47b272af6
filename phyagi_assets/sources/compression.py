"""Open files, whether plain or compressed, so that readers need not distinguish them.

The content of a file determines how it is decompressed; its name determines only whether it may be plain. Gzip data in a file without the
suffix ``.gz`` is read as gzip data, and a file with the suffix ``.gz`` that is not compressed is refused.
"""

import bz2
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO

import pyarrow as pa

from phyagi_assets.sources.globs import Glob
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.signatures import BOM, HEAD, compression_of, described, why_not_fetched, why_not_text

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz", ".bz2": "bz2", ".zip": "zip"}
"""Compression by suffix."""

_BUFFER = 1 << 20


class UnreadableContentError(Exception):
    """The content of a file is not what it should be. The message says what it is and what would be right, without naming the file."""


def refuse(why: str | None) -> None:
    """Raise an `UnreadableContentError` if there is a reason for it."""
    if why:
        raise UnreadableContentError(why)


def plain_name(name: str) -> str:
    """Return the name of a file without the suffix of its compression."""
    return next((name[: -len(suffix)] for suffix in COMPRESSIONS if name.lower().endswith(suffix)), name)


def plain_suffix(name: str) -> str:
    """Return the suffix of a file, in lower case, before that of its compression."""
    return _suffix(plain_name(name))


def is_compressed(name: str) -> bool:
    """Return whether the name of a file has the suffix of a compression."""
    return _suffix(name) in COMPRESSIONS


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


class Opened:
    """A file that is open for reading.

    Attributes
    ----------
    content
        Stream of the decompressed content, without a byte order mark.
    head
        First bytes of the decompressed content, with the byte order mark; empty if the file was not opened at its beginning.
    member
        Name of the content in its zip archive; empty if the file is not an archive.
    """

    def __init__(self, content: io.BufferedReader, raw: BinaryIO | pa.NativeFile, before: int = 0, member: str = "") -> None:
        self.content = content
        self.member = member
        self.head = b""
        self._raw = raw
        self._before = before

    def consumed(self) -> int:
        """Return the number of bytes of the file on disk (before decompression) that were read since the last call."""
        now = self._raw.tell()
        consumed, self._before = now - self._before, now
        return int(consumed)


def contents(file: Readable, start: int = 0) -> Generator[Opened]:
    """Open the decompressed content of a file, or of each member of a zip archive.

    Parameters
    ----------
    start
        Offset in bytes from which a plain file is read.

    Yields
    ------
    Opened
        The content, open until the next one is asked for.

    Raises
    ------
    OSError
        The file cannot be read. The same error is raised while the content is read if it is damaged or ends early.
    UnreadableContentError
        The content is not text, or does not fit the name of the file.
    """
    if start:  # only plain files are cut
        with file.open() as raw:
            raw.seek(start)
            yield Opened(raw, raw, start)
        return
    head = file.head()
    refuse(why_not_fetched(head))
    found, named = compression_of(head), COMPRESSIONS.get(_suffix(file.name))
    if named and not found and head:
        raise UnreadableContentError(f"is named as {named} and is not: it {described(head)}; compress it again, or rename it")
    if found == "zip" and named != "zip":
        raise UnreadableContentError("is a zip archive and not named as one; add .zip to its name if it holds data files, or unpack it")
    with file.open() as raw:
        if found is None:
            yield _checked(Opened(raw, raw))
        elif found == "zip":
            yield from _members(raw)
        elif found == "zstd":
            with file.open_native() as packed, pa.CompressedInputStream(packed, found) as content:
                yield _checked(Opened(io.BufferedReader(_Unpacked(content, found), _BUFFER), packed))
        else:
            yield _checked(Opened(io.BufferedReader(_Unpacked(_Streams(raw, _DECOMPRESSORS[found]), found), _BUFFER), raw))


def _checked(opened: Opened) -> Opened:
    """Refuse content that cannot be text, and skip a byte order mark."""
    opened.head = opened.content.peek(HEAD)[:HEAD]
    refuse(why_not_text(opened.head))
    if opened.head.startswith(BOM):
        opened.content.read(len(BOM))
    return opened


def _members(raw: BinaryIO) -> Iterator[Opened]:
    """Open the files of a zip archive in its order, without hidden files and those that tools leave behind."""
    try:
        archive = zipfile.ZipFile(raw)
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as problem:
        raise OSError(f"is not a whole zip archive: {problem}") from None
    with archive:
        if archive.infolist() and all(member.header_offset for member in archive.infolist()):  # the last of joined archives begins later
            raise OSError("is not a whole zip archive: its list of members leaves out the first one; keep joined archives apart")
        for member in archive.infolist():
            path = "/".join(part for part in member.filename.split("/") if part.strip("."))  # without the dots of ./a and ../a
            if member.is_dir() or not _EVERYTHING.matches(path):
                continue
            if archive.getinfo(member.filename) is not member:
                raise UnreadableContentError(
                    f"has several members {member.filename!r}, of which the last replaces the others; zip it again"
                )
            try:
                unpacked = archive.open(member)
            except (zipfile.BadZipFile, RuntimeError, ValueError, NotImplementedError) as problem:  # RuntimeError: encrypted
                raise OSError(f"its member {member.filename!r} cannot be read: {problem}") from None
            with unpacked:
                opened = Opened(io.BufferedReader(_Unpacked(unpacked, "zip"), _BUFFER), raw, raw.tell(), member.filename)
                try:
                    yield _checked(opened)
                except UnreadableContentError as problem:
                    raise UnreadableContentError(f"its member {member.filename!r} {problem}") from None


_EVERYTHING = Glob("**")


class _Streams(io.RawIOBase):
    """Content of a file of one or more compressed streams, with or without padding of NUL bytes after each.

    The modules `bz2` and `lzma` ignore all that follows a stream unless it begins another one, so that a damaged or padded stream would
    silently end the file. pyarrow refuses padding after gzip data, which ``gzip -d`` ignores.
    """

    def __init__(self, raw: BinaryIO, new: "Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor | _GzipDecompressor]") -> None:
        self._raw, self._new = raw, new
        self._stream = new()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        content = b""
        while not content:
            if self._stream.eof:
                block = self._next_stream()
                if not block:
                    break
                self._stream = self._new()
            else:
                block = self._raw.read(_BUFFER) if self._stream.needs_input else b""
                if self._stream.needs_input and not block:
                    raise EOFError("it ends early")
            content = self._stream.decompress(block, len(view))
        view[: len(content)] = content
        return len(content)

    def _next_stream(self) -> bytes:
        """Return the beginning of the next stream, without the padding before it; nothing at the end of the file."""
        block = self._stream.unused_data or self._raw.read(_BUFFER)
        while block and not (begun := block.lstrip(b"\0")):
            block = self._raw.read(_BUFFER)
        return begun if block else b""


class _GzipDecompressor:
    """Decompressor of one gzip stream, with the interface of those of `bz2` and `lzma`."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)  # 16: with the header and the trailer of gzip

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, block: bytes, max_length: int) -> bytes:
        return self._stream.decompress(self._stream.unconsumed_tail or block, max_length)


_DECOMPRESSORS = {"gzip": _GzipDecompressor, "xz": lzma.LZMADecompressor, "bz2": bz2.BZ2Decompressor}


class _Unpacked(io.RawIOBase):
    """Stream of decompressed content that raises an `OSError` for damage, in place of the errors of the decompressing modules."""

    def __init__(self, file: IO[bytes] | io.RawIOBase | pa.NativeFile, kind: str) -> None:
        self._file, self._kind = file, kind

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return int(self._file.readinto(buffer))  # type: ignore[union-attr]
        except (lzma.LZMAError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, OSError) as problem:
            if "too much memory" in str(problem):  # zstd's limit on the window of a frame
                raise OSError("its window has more than 128 MB; compress it again without zstd's --long, or with --long=27") from None
            raise OSError(f"is not whole {self._kind} data: {problem}; fetch it again, or compress it again") from None
