"""Transfers of the remote files of a partition into the store.

Fetched files are kept in the store until the artifact is written, so that an interrupted run can be resumed, even in the middle of a
file. Files that the published snapshot already has are taken from it.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock
from typing import Any, TypeVar

from phyagi_assets.objects.daemon_threads import LOOK, DaemonThreads
from phyagi_assets.sources.digests import DigestCache
from phyagi_assets.sources.files import SourceFile
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.transfer import transfer
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.fingerprint import canonical_json, file_digest, text_digest

FILES = "files"
"""Folder of the snapshot in a raw artifact."""

_TRANSFER = re.compile(r"[0-9a-f]{32}(\.verified)?")
"""Name of the folder of an unfinished transfer, or of a verified file: the digest of the file's name and stamp."""

_AT_ONCE = 32
"""Largest number of files that are fetched in parallel: a transfer waits for the network most of the time."""
_TO_STOP = 2.0
"""Time that interrupted transfers have to stop, in seconds."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(BaseException):
    """Exception that ends a transfer when the run is interrupted."""


def fetch_files(
    files: Sequence[SourceFile],
    folder: Path,
    sources: Sources,
    published: Artifact | None,
    digests: DigestCache,
    on_progress: Callable[[int], None] | None,
) -> dict[str, Path]:
    """Fetch the remote files of a partition, and return the path of the content of each, by name of the file.

    Parameters
    ----------
    folder
        Folder of the transfers of the partition; see `clear_transfers`.
    published
        Published snapshot. Files that it has are not fetched.
    digests
        Cache of the digests of the files. The digests of fetched files are added.
    on_progress
        Called with the bytes that are done since the last call; never from two threads at once.

    Raises
    ------
    SourceError
        A file cannot be fetched. The files that were fetched are kept for the next run.
    """
    lock, stop = Lock(), Event()

    def report(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        if on_progress and count:
            with lock:
                on_progress(count)

    def fetch_one(file: SourceFile) -> Path:
        copy = _published_copy(published, file, digests.recall(file))
        if copy:
            report(file.size)
            return copy
        remote = sources.remote(file.origin)
        assert remote is not None, "a file without a path has a URI"
        path = transfer(remote, file, folder / text_digest(canonical_json([file.name, file.stamp])), sources.retry_policy, report)
        digest = file_digest(path)
        with lock:
            digests.add(file, digest)
        return path

    return dict(zip([file.name for file in files], _in_parallel(fetch_one, files, stop), strict=True))


def _in_parallel(action: Callable[[Item], Result], items: Sequence[Item], stop: Event) -> list[Result]:
    """Apply a function to items in several threads, and return the results in the order of the items.

    After a failure, no further items are started. After an interrupt, `stop` is set and the threads get `_TO_STOP` seconds to end. They
    are daemon threads, because the threads of an executor would keep the process alive while they are stuck in a connection.
    """
    threads = DaemonThreads(_AT_ONCE)
    futures = [threads.submit(action, item) for item in items]
    try:
        left = set(futures)
        while left:
            done, left = wait(left, LOOK, FIRST_EXCEPTION)
            if any(not future.cancelled() and future.exception() for future in done):
                _cancel(left)
    except BaseException:
        stop.set()
        _cancel(futures)
        wait(futures, _TO_STOP)
        raise
    return [future.result() for future in futures]


def _cancel(futures: Iterable["Future[Any]"]) -> None:
    for future in futures:
        future.cancel()


def clear_transfers(folder: Path) -> None:
    """Delete the transfers of one partition, and their folder if it is then empty."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in folder.iterdir():
        if _TRANSFER.fullmatch(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _published_copy(published: Artifact | None, file: SourceFile, digest: str | None) -> Path | None:
    """Return the path of a file in the published snapshot if it has the given digest there, else None."""
    if published is None or digest is None or published.manifest.inputs["files"].get(file.name) != digest:
        return None
    name = f"{FILES}/{file.name}"
    if name not in published.manifest.files:
        return None
    path = published.folder(name) / name
    return path if path.exists() else None
