"""Scratch space of a store in a bucket: a local store of bounded size with the versions that this machine built or fetched.

The folder has the layout of a local store, so that the relative paths in a plan lead to the same arrays. It also holds the locks, the
records and the unfinished work of this machine. All of it can be lost.

A process holds the versions that it uses: a held version is never evicted. The record of what a process holds is a folder that is locked
as long as the process lives. When the space is used up, the versions that were used least recently are evicted.
"""

import os
import shutil
import stat
import tempfile
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.formatting import parsed_size
from phyagi_assets.settings import BucketAddress, local_folder
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import FinishedFile
from phyagi_assets.store.disk import replace_file, writing_to
from phyagi_assets.store.fingerprint import text_digest
from phyagi_assets.store.local import STAGING, LocalStore
from phyagi_assets.store.locks import LOCKS, create_lock, is_held, locked, own_folder, own_folder_until_exit
from phyagi_assets.store.ownership import is_readable

SCRATCH_VARIABLE = "PHYAGI_ASSETS_SCRATCH"
BYTES_VARIABLE = "PHYAGI_ASSETS_SCRATCH_BYTES"
_HELD = ".held"
_REMEDY = f"it is scratch space: free some of it, or name a folder on another disk with ${SCRATCH_VARIABLE}"
_SCANS = 16
"""Number of scans of the folder while it fills up once."""


def scratch_folder(address: str) -> Path:
    """Return the scratch folder of the store at an address: one in ``$PHYAGI_ASSETS_SCRATCH``, else in the system's temporary folder.

    Raises
    ------
    StoreError
        The folder cannot be created, or belongs to another user.
    PhyagiAssetsError
        The variable does not name a folder.
    """
    named = os.environ.get(SCRATCH_VARIABLE)
    default = Path(tempfile.gettempdir()) / f"phyagi-assets-{os.getuid()}"
    base = local_folder(named, f"scratch folder (${SCRATCH_VARIABLE})") if named else default
    try:
        base.mkdir(mode=0o777 if named else 0o700, parents=True, exist_ok=True)
        status = base.lstat()
    except OSError as problem:
        raise StoreError(f"{base}: cannot be created: {problem.strerror}; name another scratch folder with ${SCRATCH_VARIABLE}") from None
    if not named and (status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode)):
        raise StoreError(f"{base}: belongs to another user; name a scratch folder with ${SCRATCH_VARIABLE}")
    return base / BucketAddress(address).digest


class Scratch(LocalStore):
    """The scratch space of a store in a bucket.

    Parameters
    ----------
    bound
        Largest size of the versions in it, in bytes, except for those that processes hold; None for ``$PHYAGI_ASSETS_SCRATCH_BYTES``, else
        half of the free disk space.
    """

    def __init__(self, root: Path, bound: int | None = None) -> None:
        super().__init__(root)
        self._bound = bound
        self._allowance = 0
        """Number of bytes that may be added before the folder is scanned again."""
        self._held: Counter[str] = Counter()
        self._session: tuple[int, Path] | None = None
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type["Scratch"], tuple[Path, int | None]]:
        return Scratch, (self.root, self._bound)

    def writing(self) -> AbstractContextManager[None]:
        return writing_to(self.root, _REMEDY)

    def identity(self) -> str:
        """Return a unique identifier of the scratch folder; machines of the same name may have folders with the same path."""
        path, lock = (self.root / LOCKS / name for name in (".identity", ".identity.lock"))  # no corpus has such a name
        with self.writing():
            create_lock(lock)
            with locked(lock):
                if not path.exists():
                    replace_file(path, uuid.uuid4().hex.encode())
                return path.read_text()

    def inner(self, name: str) -> "Scratch":
        return Scratch(self.root / f".{name}", self._bound)

    def _add_finished(self, finished: FinishedFile, path: Path) -> None:
        if finished.path.exists():  # otherwise, another machine sent it to the bucket
            super()._add_finished(finished, path)

    def hold(self, version: Version, owner: object) -> None:
        """Keep a version from being evicted until its owner is deleted or the process ends."""
        name = text_digest(version.path)
        with self._lock, self.writing():
            folder = self._own_session()
            with locked(self._entry(), shared=True):
                (folder / name).touch()
                with suppress(OSError):
                    os.utime(self.root / version.path)
            self._held[name] += 1
        weakref.finalize(owner, self._release, name, os.getpid())

    def _release(self, name: str, process: int) -> None:
        if process != os.getpid():
            return
        with self._lock:
            self._held[name] -= 1
            if not self._held[name] and self._session:
                del self._held[name]
                with suppress(OSError):
                    (self._session[1] / name).unlink()

    def _own_session(self) -> Path:
        """Return the folder that lists the versions that this process holds."""
        if self._session is None or self._session[0] != os.getpid():
            self._session = os.getpid(), own_folder_until_exit(self.root / _HELD)
            self._held = Counter()
        return self._session[1]

    def _entry(self) -> Path:
        path = self.root / _HELD / "eviction"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def make_room(self, needed: int) -> None:
        """Evict versions that no process holds until a number of bytes can be added within the bound."""
        with self._lock, self.writing():
            self._allowance -= needed
            if self._allowance >= 0:
                return
            with locked(self._entry()), own_folder(self.root / STAGING) as aside:
                found = sorted(self._versions())
                used = sum(size for _, size, _ in found)
                bound = self._limit(used)
                held = self._held_anywhere()
                for number, (_, size, folder) in enumerate(found):
                    if used + needed <= bound:
                        break
                    if text_digest(folder.relative_to(self.root).as_posix()) not in held:
                        folder.rename(aside / str(number))
                        used -= size
                self._allowance = max(0, min(bound - used - needed, bound // _SCANS))

    def _limit(self, used: int) -> int:
        if self._bound is not None:
            return self._bound
        if given := os.environ.get(BYTES_VARIABLE):
            try:
                return parsed_size(given)
            except ValueError as problem:
                raise StoreError(f"${BYTES_VARIABLE}: {problem}") from None
        return (shutil.disk_usage(self.root).free + used) // 2

    def _versions(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time of the last use, the size in bytes, and the folder of each version."""
        for folder in self._version_folders():
            with suppress(OSError):
                yield folder.stat().st_mtime, sum(path.lstat().st_size for path in folder.rglob("*")), folder

    def _held_anywhere(self) -> set[str]:
        """Return the names of the versions that processes hold."""
        area = self.root / _HELD
        alive = [folder for folder in area.iterdir() if folder.is_dir() and is_held(folder.with_suffix(".lock"))]
        own = [self._session[1]] if self._session else []
        return {path.name for folder in (*alive, *own) for path in folder.iterdir()}

    def forget(self, version: Version) -> None:
        """Delete the files of a version."""
        folder = self.root / version.path
        if not folder.exists():
            return
        with self.writing(), own_folder(self.root / STAGING) as aside, suppress(FileNotFoundError):
            folder.rename(aside / "version")

    def forget_unfinished(self, version: Version) -> None:
        """Delete the files of a version that was only partly fetched."""
        if not is_readable(self.root / version.path):
            self.forget(version)
