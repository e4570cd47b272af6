"""The transfers of a partition's remote files into the store.

What was fetched lies in ``.transfers`` until the artifact is written, so that a run that was broken off is gone on with, file by file and
inside a file. What the published snapshot has already is taken from there.
"""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock

from phyagi_assets.pipeline.digests import DigestCache
from phyagi_assets.pipeline.fingerprint import canonical_json, file_digest, text_digest
from phyagi_assets.pipeline.sources.files import Partition, SourceFile
from phyagi_assets.pipeline.sources.transfer import transfer
from phyagi_assets.pipeline.step import OnProgress, Workspace
from phyagi_assets.pipeline.store import Artifact

FILES = "files"
"""Folder of a raw artifact in which its snapshot lies."""

TRANSFERS = ".transfers"
_TRANSFER = re.compile(r"[0-9a-f]{32}(\.verified)?")
"""Name of what a transfer keeps: the digest of the file's name and stamp."""

_AT_ONCE = 8
"""Files that are fetched side by side: a transfer waits for the network most of its time."""


class Transfers:
    """What is on its way into the snapshot of one partition.

    Parameters
    ----------
    workspace, corpus, partition
        Whose, and of what.
    """

    def __init__(self, workspace: Workspace, corpus: str, partition: Partition) -> None:
        self._workspace, self._partition = workspace, partition
        self._folder = workspace.store.root / TRANSFERS / corpus / partition.key

    def fetch(self, published: Artifact | None, digests: DigestCache, on_progress: OnProgress | None) -> dict[str, Path]:
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
        lock = Lock()

        def tell(count: int) -> None:
            if on_progress:
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
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(zip([file.name for file in remote], pool.map(one, remote), strict=True))

    def _transferred(self, file: SourceFile, tell: OnProgress) -> Path:
        remote = self._workspace.sources.remote(file.origin)
        assert remote is not None, "a file without a path has a URI"
        folder = self._folder / text_digest(canonical_json([file.name, file.stamp]))
        return transfer(remote, file, folder, self._workspace.sources.patience, tell)

    def clear(self) -> None:
        """Remove what the artifact holds now."""
        clear_transfers(self._folder)


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
