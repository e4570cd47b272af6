"""Locks that the kernel holds for a process, and lets go of when it dies, however it dies."""

import fcntl
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, *, waiting: str = "") -> Iterator[None]:
    """Hold a lock file.

    Parameters
    ----------
    path
        The file, made where it is not there.
    waiting
        What to say if another process holds it.
    """
    lock = _open_lock(path)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                logger.info(waiting)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def is_held(path: Path) -> bool:
    """Whether a process holds a lock file."""
    if not path.exists():
        return False
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(lock)


@contextmanager
def own_folder(area: Path) -> Iterator[Path]:
    """A new folder in an area that is the caller's own, gone afterwards; whatever dead owners left there is cleared first."""
    folder = area / uuid.uuid4().hex
    area.mkdir(parents=True, exist_ok=True)
    with locked(area / "entry"):  # between making a lock file and holding it, nobody may take its owner for dead
        _clear_dead(area)
        lock = _open_lock(folder.with_suffix(".lock"))  # first: a folder without one would never be taken for a dead owner's
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".lock").unlink(missing_ok=True)
        os.close(lock)


def _clear_dead(area: Path) -> None:
    for path in area.glob("*.lock"):
        lock = _open_lock(path)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            path.unlink(missing_ok=True)
        finally:
            os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT)
