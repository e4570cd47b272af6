"""The transfers of a partition's remote files into the store.

What was fetched lies in ``.transfers`` until the artifact is written, so that a run that was broken off is gone on with, file by file and
inside a file. What the published snapshot has already is taken from there.
"""

import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TypeVar

from phyagi_assets.sources.digests import DigestCache
from phyagi_assets.sources.files import Partition, SourceFile
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.transfer import transfer
from phyagi_assets.store.fingerprint import canonical_json, file_digest, text_digest
from phyagi_assets.store.local import Artifact

FILES = "files"
"""Folder of a raw artifact in which its snapshot lies."""

TRANSFERS = ".transfers"
_TRANSFER = re.compile(r"[0-9a-f]{32}(\.verified)?")
"""Name of what a transfer keeps: the digest of the file's name and stamp."""

_AT_ONCE = 32
"""Files that are fetched side by side: a transfer waits for the network most of its time."""
_TO_STOP = 2.0
"""Seconds that transfers have to stop in when they are interrupted."""

_LOOK = 0.5
"""Seconds between looks for a signal: one that comes just before a wait without end would not interrupt it."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Stopped(BaseException):
    """Raised in a transfer when the ones beside it are interrupted."""


class Transfers:
    """What is on its way into the snapshot of one partition.

    Parameters
    ----------
    folder
        Where what was fetched is kept.
    sources
        Where the files come from.
    partition
        The partition whose files are fetched.
    """

    def __init__(self, folder: Path, sources: Sources, partition: Partition) -> None:
        self._folder, self._sources, self._partition = folder, sources, partition

    def fetch(self, published: Artifact | None, digests: DigestCache, on_progress: Callable[[int], None] | None) -> dict[str, Path]:
        """Have every remote file of the partition here.

        Parameters
        ----------
        published
            The snapshot that there is.
        digests
            What is known of the files; learns what was fetched.

        Returns
        -------
        dict of str to Path
            Where the content of each file lies, by name.

        Raises
        ------
        SourceError
            One cannot be fetched. What was fetched is kept for the next try.
        """
        lock, stop = Lock(), Event()

        def tell(count: int) -> None:
            if stop.is_set():
                raise _Stopped
            if on_progress and count:
                with lock:
                    on_progress(count)

        def one(file: SourceFile) -> Path:
            there = _held(published, file, digests.recall(file))
            if there:
                tell(file.size)
                return there
            path = self._transferred(file, tell)
            digest = file_digest(path)
            with lock:
                digests.learn(file, digest)
            return path

        remote = [file for file in self._partition.files if file.path is None]
        return dict(zip([file.name for file in remote], _side_by_side(one, remote, stop), strict=True))

    def _transferred(self, file: SourceFile, tell: Callable[[int], None]) -> Path:
        remote = self._sources.remote(file.origin)
        assert remote is not None, "a file without a path has a URI"
        folder = self._folder / text_digest(canonical_json([file.name, file.stamp]))
        return transfer(remote, file, folder, self._sources.retry_policy, tell)

    def clear(self) -> None:
        """Remove what the artifact holds now."""
        clear_transfers(self._folder)


def _side_by_side(action: Callable[[Item], Result], items: Sequence[Item], stop: Event) -> list[Result]:
    """Apply a function to items in several threads, and return the results in the order of the items.

    Once it fails for an item, no further ones are begun. An interrupt sets `stop` and waits no longer than a moment: the threads are
    daemons, so that those which are stuck in a connection do not keep the process alive, as those of an executor would.
    """
    lock, pending = Lock(), iter(enumerate(items))
    results: dict[int, Result] = {}
    problems: list[BaseException] = []

    def work() -> None:
        while not problems and not stop.is_set():
            with lock:
                index, item = next(pending, (-1, None))
            if item is None:
                return
            try:
                results[index] = action(item)
            except BaseException as problem:
                problems.append(problem)

    threads = [Thread(target=work, name="fetch", daemon=True) for _ in range(min(_AT_ONCE, len(items)))]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK)
    except BaseException:
        stop.set()
        until = time.monotonic() + _TO_STOP
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        raise
    if problems:
        raise problems[0]
    return [results[index] for index in range(len(items))]


def clear_transfers(folder: Path) -> None:
    """Remove the transfers of one partition, and their folder if nothing else is in it."""
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


def _held(published: Artifact | None, file: SourceFile, digest: str | None) -> Path | None:
    """The file in the snapshot that there is, if it is the same."""
    if published is None or digest is None or published.manifest.inputs["files"].get(file.name) != digest:
        return None
    path = published.path / FILES / file.name
    return path if f"{FILES}/{file.name}" in published.manifest.files and path.exists() else None
