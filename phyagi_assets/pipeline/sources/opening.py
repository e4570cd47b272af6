"""Opening files, plain or compressed, so that a reader need not know which."""

import io
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import BinaryIO

import pyarrow as pa

COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".xz": "xz"}
"""By suffix."""

_BUFFER = 1 << 20


def plain_name(name: str) -> str:
    """A file's name without the suffix of its compression."""
    return next((name[: -len(suffix)] for suffix in COMPRESSIONS if name.lower().endswith(suffix)), name)


def is_compressed(path: PurePath) -> bool:
    """Whether a file is named as a compressed one."""
    return path.suffix.lower() in COMPRESSIONS


class Opened:
    """A file that is open for reading.

    Attributes
    ----------
    content
        What it holds, decompressed.
    """

    def __init__(self, content: BinaryIO, raw: BinaryIO | pa.NativeFile, before: int = 0) -> None:
        self.content = content
        self._raw = raw
        self._before = before

    def consumed(self) -> int:
        """Bytes of the file, as it lies on disk, that were read since the last call."""
        now = self._raw.tell()
        consumed, self._before = now - self._before, now
        return int(consumed)


@contextmanager
def opened(path: Path, start: int = 0) -> Iterator[Opened]:
    """Open a file for reading, decompressed where its suffix says that it is compressed; a plain one may be read from a byte on.

    Raises
    ------
    OSError
        It cannot be read. While it is read: it is damaged, or ends early.
    """
    kind = COMPRESSIONS.get(path.suffix.lower())
    if kind is None:
        with path.open("rb") as file:
            file.seek(start)
            yield Opened(file, file, start)
    elif kind == "xz":
        with path.open("rb") as raw, lzma.open(raw) as content:
            yield Opened(io.BufferedReader(_Lzma(content), _BUFFER), raw)
    else:
        with pa.OSFile(str(path)) as raw, pa.CompressedInputStream(raw, kind) as content:
            yield Opened(io.BufferedReader(content, _BUFFER), raw)


class _Lzma(io.RawIOBase):
    """An xz file whose damage is an error of reading, as that of the others is."""

    def __init__(self, file: lzma.LZMAFile) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            content = self._file.read(len(view))
        except (lzma.LZMAError, EOFError) as problem:
            raise OSError(f"is no xz file, or a damaged one: {problem}") from None
        view[: len(content)] = content
        return len(content)
