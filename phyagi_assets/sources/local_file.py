"""A local file to read."""

import io
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from phyagi_assets.errors import AccessError, SourceDownError, SourceError
from phyagi_assets.sources.readable import ByteRange, Stamp
from phyagi_assets.sources.signatures import HEAD
from phyagi_assets.store.disk import NOT_PERMITTED, is_unreachable, stamp_of


def error_of_file(problem: OSError, message: str) -> SourceError:
    """Return the error for a local file that cannot be read; its type says whether the problem may pass without a change of the file."""
    if problem.errno in NOT_PERMITTED:
        return AccessError(message)
    return (SourceDownError if is_unreachable(problem) else SourceError)(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class LocalFile:
    """A local file to read: a local source file, or the local copy of a remote one. See `Readable` for its methods."""

    name: str
    """Name of the source file, see `SourceFile.name`."""
    origin: str
    """Absolute path or URI of the source file, which messages show."""
    path: Path
    """Path of the content."""

    def __str__(self) -> str:
        return self.origin

    @property
    def size(self) -> int:
        """Size on disk, in bytes."""
        return self.path.stat().st_size

    def stamp(self) -> Stamp:
        return stamp_of(self.path)

    def head(self) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            return file.read(HEAD)

    def read_range(self, start: int, stop: int) -> bytes:
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(stop - start)

    def open(self) -> io.BufferedReader:
        return self.path.open("rb")

    def open_native(self) -> pa.NativeFile:
        return pa.OSFile(str(self.path))

    def reading(self, ranges: Sequence[ByteRange] | None = None) -> nullcontext["LocalFile"]:
        del ranges
        return nullcontext(self)

    def expect(self, ranges: Sequence[ByteRange]) -> None:
        """Do nothing: the system reads ahead."""
