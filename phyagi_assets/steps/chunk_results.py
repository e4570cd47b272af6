"""The results of chunks: files that tasks write ahead of the step that needs them, and a record of the files.

A result is a function of the fingerprint of the artifact and the number of the chunk. Both name its files in the store's scratch space, so
that any process can write them, and an interrupted build continues with the missing chunks. If the tasks of a run are spread over machines,
they upload the files to the bucket, and the step that needs the files copies them there.
"""

import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.store.artifact import FinishedFile
from phyagi_assets.store.base import Store
from phyagi_assets.store.disk import flush, flushed_meanwhile
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.manifest import FileRecord
from phyagi_assets.store.state import State

_FOLDER, _FILE = re.compile(r"[0-9a-f]{32}(-\w+)?"), re.compile(r"[0-9]+\.[\w.]+|\.[0-9a-f]{32}\.part")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChunkResult:
    """The result of one chunk."""

    files: Mapping[str, FinishedFile]
    """Its files by name."""
    found: Mapping[str, Any]
    """Findings in the files of the task, such as counts. They can be written as JSON."""


Write = Callable[[Callable[[str], Path]], Mapping[str, Any]]
"""Writes the files of a chunk to the paths that the given function returns for their names, and returns the findings."""


class ChunkFolder:
    """The results of the chunks of one artifact.

    Parameters
    ----------
    partition
        Name of the corpus and key of the partition, as ``corpus/partition``.
    name
        Name of the folder among those of the partition: the fingerprint of the artifact, and what else the results depend on.
    """

    def __init__(self, store: Store, partition: str, name: str) -> None:
        self._store, self._folder = store, chunks_of(store, partition) / name
        self._sent: Mapping[Path, int] | None = None
        """Sizes of the files that other machines sent, once they were listed."""

    def recall(self, number: int, stamps: Sequence[Any]) -> ChunkResult | None:
        """Return the result of a chunk; None if there is none, its files have changed, or its sources had other stamps.

        With several machines, only a result that all of them can fetch counts.
        """
        exchange, path = self._store.exchange, self._record(number).path
        if exchange and self._sent is None:
            self._sent = exchange.sizes(self._folder)
        sent = self._sent or {}
        with suppress(OSError, ValueError, TypeError, KeyError):
            record: Any = State(path).recall() if exchange is None else exchange.record(path) if path in sent else None
            if record["stamps"] == list(stamps) and all(
                _is_as_written(file, file_record, time) if exchange is None else sent.get(file) == file_record.bytes
                for file, file_record, time in (
                    (self._path(number, name), file_record, time) for name, file_record, time in _files_of(record)
                )
            ):
                return self._result(number, record)
        return None

    def _result(self, number: int, record: Mapping[str, Any]) -> ChunkResult:
        files = {name: FinishedFile(path=self._path(number, name), record=file_record) for name, file_record, _ in _files_of(record)}
        return ChunkResult(files=files, found=record["found"])

    def write(self, number: int, stamps: Sequence[Any], write: Write) -> ChunkResult:
        """Write the result of a chunk, given the stamps of its sources before they are read, and upload it if other machines need it."""
        drafts: dict[str, Path] = {}
        writer = uuid.uuid4().hex  # another process may be writing this chunk

        def draft(name: str) -> Path:
            return drafts.setdefault(name, self._folder / f"{number}.{writer}.{name}")

        files = []
        with self._store.writing():
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with flushed_meanwhile(lambda: list(drafts.values())):
                    found = write(draft)
                for name, path in drafts.items():
                    flush(path)
                    final, file_record = self._path(number, name), FileRecord.of(path)
                    path.replace(final)
                    files.append([name, file_record.bytes, file_record.xxh3_128, final.stat().st_mtime_ns])
            finally:
                for path in drafts.values():
                    path.unlink(missing_ok=True)
        record = {"stamps": list(stamps), "files": files, "found": dict(found)}
        self._record(number).remember(record)
        if exchange := self._store.exchange:
            for name, file_record, _ in _files_of(record):
                exchange.send(self._path(number, name), file_record.xxh3_128)
            exchange.send_record(self._record(number).path, record)
        return self._result(number, record)

    def fetch(self, file: FinishedFile) -> Path:
        """Return the path of a file, and fetch the file if it is not on this machine."""
        if not file.path.exists() and (exchange := self._store.exchange):
            with self._store.writing():
                exchange.receive(file.path, file.record.bytes, file.record.xxh3_128)
        return file.path

    def release(self, number: int, result: ChunkResult) -> None:
        """Delete the local files of a result if it was uploaded."""
        if self._store.exchange:
            for file in result.files.values():
                file.path.unlink(missing_ok=True)
            self._record(number).forget()

    def _path(self, number: int, name: str) -> Path:
        return self._folder / f"{number}.{name}"

    def _record(self, number: int) -> State:
        return State(self._path(number, "json"))


def _files_of(record: Mapping[str, Any]) -> list[tuple[str, FileRecord, int]]:
    """Return the files in a record: name, size and checksum, and time of the last change on the machine that wrote them."""
    return [(name, FileRecord(bytes=size, xxh3_128=digest), time) for name, size, digest, time in record["files"]]


def _is_as_written(path: Path, record: FileRecord, time: int) -> bool:
    """Return whether a file has the recorded content. It is read only if its modification time differs from the recorded one."""
    status = path.stat()
    return status.st_size == record.bytes and (status.st_mtime_ns == time or file_digest(path) == record.xxh3_128)


def chunks_of(store: Store, partition: str) -> Path:
    """Return the folder of the chunks of a partition, given as ``corpus/partition``."""
    return store.scratch("chunks", partition)


def forget_chunks(store: Store, partition: str) -> None:
    """Delete the chunks of a partition, given as ``corpus/partition``."""
    folder = chunks_of(store, partition)
    clear_chunks(folder)
    if exchange := store.exchange:
        exchange.forget(folder)


def clear_chunks(folder: Path, keeping: str = "") -> None:
    """Delete the chunks in the folder of a partition, and the folders that are then empty. Other files stay.

    Parameters
    ----------
    keeping
        Fingerprint of the artifact whose chunks are kept; by default, all are deleted.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for chunks in folder.iterdir():
        if (
            _FOLDER.fullmatch(chunks.name)
            and chunks.is_dir()
            and not chunks.is_symlink()
            and not (keeping and chunks.name.startswith(keeping))
        ):
            for path in chunks.iterdir():
                if _FILE.fullmatch(path.name):
                    path.unlink(missing_ok=True)
            with suppress(OSError):
                chunks.rmdir()
    with suppress(OSError):
        folder.rmdir()
