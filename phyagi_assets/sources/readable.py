"""The interface of source files that can be read: a local file, or an object that is read in its bucket."""

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import pyarrow as pa

Stamp = tuple[str | int, ...]
"""Facts about a file that are known without reading it: size and times, an ETag, or the Hub's object id. If they differ, the content may
have changed."""

ByteRange = tuple[int, int]
"""First byte, and the byte after the last one."""


class Readable(Protocol):
    """A source file, local or remote, whose content can be read. Its text form is its origin, for messages."""

    @property
    def name(self) -> str:
        """Name of the source file, see `SourceFile.name`."""

    @property
    def origin(self) -> str:
        """Absolute path or URI of the source file."""

    @property
    def path(self) -> Path | None:
        """Path of the content on this machine; None for a remote file that is read in its bucket."""

    @property
    def size(self) -> int:
        """Size of the content, in bytes."""

    def stamp(self) -> Stamp:
        """Return the stamp of the file; if it differs from an earlier one, the content may have changed.

        Raises
        ------
        OSError
            The file does not exist or cannot be accessed.
        """

    def head(self) -> bytes:
        """Return the first bytes of the file, at most `HEAD`, without decompressing them."""

    def read_range(self, start: int, stop: int) -> bytes:
        """Return a part of the content, which is shorter where the content ends before `stop`."""

    def open(self) -> io.BufferedReader:
        """Open the content as a buffered file with `peek` and `seek`.

        Opening and reading raise an `OSError` if the file cannot be read, or a `SourceError` if a remote file has changed.
        """

    def open_native(self) -> pa.NativeFile:
        """Open the content as a pyarrow file."""

    def reading(self, ranges: Sequence[ByteRange] | None = None) -> "AbstractContextManager[Readable]":
        """Return a context manager for reading the file once.

        A remote file is fetched ahead until the context ends.

        Parameters
        ----------
        ranges
            The bytes that will be read, in order; by default, all.
        """

    def expect(self, ranges: Sequence[ByteRange]) -> None:
        """Announce the bytes that will be read, in order, in place of those announced before."""
