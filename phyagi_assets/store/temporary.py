"""Folders in the system's temporary folder. Later processes delete the folders of killed ones."""

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "phyagi-assets_"
_NAME = re.compile(rf"{_PREFIX}[a-z0-9_]{{8}}")


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create an empty folder after deleting those of dead processes, and delete it afterwards."""
    _delete_abandoned(Path(tempfile.gettempdir()))
    folder, lock = _create()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _create() -> tuple[Path, int]:
    """Create a folder; the descriptor shows, as long as it is open, that the owner lives."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError):  # another process took it for abandoned
            lock = os.open(folder, os.O_RDONLY)
            with suppress(OSError):  # without locks, no process deletes folders of others
                fcntl.flock(lock, fcntl.LOCK_SH)
            if folder.exists():
                return folder, lock
            os.close(lock)


def _delete_abandoned(area: Path) -> None:
    for folder in area.glob(f"{_PREFIX}*"):
        if _NAME.fullmatch(folder.name):
            with suppress(OSError):  # the owner lives, or is another user
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)
