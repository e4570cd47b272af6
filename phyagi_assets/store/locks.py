"""Locks that the kernel holds for a process and releases when the process dies, however it dies.

The package filelock is no substitute: its shared locks are SQLite databases, and its locks end when a process executes another program.
"""

import fcntl
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from phyagi_assets.errors import StoreError

logger = logging.getLogger(__name__)

LOCKS = ".locks"
"""Folder of the lock files of a store."""
_OWN_LOCK = re.compile(r"[0-9a-f]{32}\.lock")


@contextmanager
def locked(path: Path, *, waiting: str = "", shared: bool = False) -> Iterator[None]:
    """Hold a lock file, waiting while another process holds it.

    Parameters
    ----------
    waiting
        Message to log if another process holds the lock; none if empty.
    shared
        Whether other processes that also share the lock may hold it at the same time.

    Raises
    ------
    StoreError
        The file system does not support locks.
    """
    lock, kind = _open_lock(path), fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        if not _lock(lock, kind | fcntl.LOCK_NB, path):
            if waiting:
                logger.info(waiting)
            _lock(lock, kind, path)
        yield
    finally:
        _release(lock)


@contextmanager
def locked_if_free(path: Path) -> Iterator[bool]:
    """Hold a lock file unless another process holds it. Yields whether the lock is held."""
    lock = _open_lock(path)
    try:
        yield _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
    finally:
        _release(lock)


def hold_until_exit(path: Path) -> int | None:
    """Hold a lock file until this process ends, even if it executes another program.

    Returns
    -------
    int or None
        Descriptor that holds the lock, or None if another process holds it.
    """
    lock = _open_lock(path)
    if not _lock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, path):
        os.close(lock)
        return None
    os.set_inheritable(lock, True)
    return lock


def create_lock(path: Path) -> None:
    """Create a lock file and its folder, unless they exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(_open_lock(path))


def is_held(path: Path) -> bool:
    """Return whether any process holds a lock file."""
    if not path.exists():
        return False
    with locked_if_free(path) as free:
        return not free


@contextmanager
def own_folder(area: Path) -> Iterator[Path]:
    """Create a folder for the caller alone, and delete it afterwards. Folders of dead owners are deleted first."""
    folder, lock = _locked_name(area)
    try:
        folder.mkdir()
        yield folder
    finally:
        _delete(folder)
        os.close(lock)


def own_folder_until_exit(area: Path) -> Path:
    """Create a folder for the calling process alone, which the next caller deletes after the process has ended.

    The folder also lives as long as processes that were forked from the caller. See `own_folder`.
    """
    folder, lock = _locked_name(area)
    try:
        folder.mkdir()
    except OSError:  # the disk is full, and the caller may try again often
        _delete(folder)
        os.close(lock)
        raise
    return folder


def _locked_name(area: Path) -> tuple[Path, int]:
    """Return the path of a new folder and the descriptor of its lock. Folders of dead owners are deleted."""
    folder = area / uuid.uuid4().hex
    area.mkdir(parents=True, exist_ok=True)
    with locked(area / "entry"):  # a lock file that is created but not yet held would look like that of a dead owner
        _clear_dead(area)
        lock_file = folder.with_suffix(".lock")
        lock = _open_lock(lock_file)  # before the folder: a folder without a lock file would never be deleted
        _lock(lock, fcntl.LOCK_EX, lock_file)
    return folder, lock


def _clear_dead(area: Path) -> None:
    for path in area.glob("*.lock"):
        if _OWN_LOCK.fullmatch(path.name):  # other files are not from this package
            with suppress(PermissionError), locked_if_free(path) as free:
                if free:
                    _delete(path.with_suffix(""))


def _delete(folder: Path) -> None:
    """Delete a folder, then its lock file. If the folder cannot be deleted, as that of another user, the lock file stays for a retry."""
    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder):
        folder.with_suffix(".lock").unlink(missing_ok=True)


def _lock(descriptor: int, operation: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as problem:
        raise StoreError(
            f"{path}: cannot be locked: {problem.strerror}; the store needs a file system with working flock: a local disk, or a network "
            "file system that is mounted with locks"
        ) from problem
    return True


def _release(lock: int) -> None:
    """Release a lock and close its descriptor. Closing alone would not release it if a process was forked meanwhile, which has a copy."""
    with suppress(OSError):  # the file system does not support locks
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except PermissionError as problem:  # a lock file of another user can be locked if it can be read
        try:
            return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:  # the file did not exist and could not be created
            raise problem from None
