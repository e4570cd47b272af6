"""Operations on the disk of a local store: flushing, renaming, and errors of the operating system."""

import errno
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import TypeGuard

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.paths import real_path

FileStamp = tuple[str, int, int, int, int]
"""Stamp of a local file: path, size in bytes, times of modification and change in nanoseconds, and inode."""
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Error numbers of a disk that is full or read-only. Such an error need not name a file."""
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EXDEV,
    errno.ENAMETOOLONG,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ESTALE,
}
"""Error numbers that the user can correct, or that come from the disk, if the error names a file in the store."""
NOT_PERMITTED = {errno.EACCES, errno.EPERM}
"""Error numbers of files that this user may not read."""
OUT_OF_REACH = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENXIO, errno.ENODEV}
"""Error numbers of a disk that fails, and of a network file system whose server does not answer."""
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL}
"""Error numbers that say that a file does not exist, or that something else is in its place."""
_PAUSE = 0.02
"""Time between two comparisons of the sizes of the files that are being written, in seconds."""
_GROWN = 8 << 20
"""Number of bytes by which a file that is being written grows before it is flushed again."""


def stamp_of(path: Path | str) -> FileStamp:
    """Return the stamp of a local file."""
    seen = os.stat(path)  # noqa: PTH116 (called for every source file and artifact)
    return (str(path), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


def is_unreachable(problem: Exception) -> TypeGuard[OSError]:
    """Return whether an error about a file says nothing about its content, for example because this user may not read it."""
    return isinstance(problem, OSError) and problem.errno not in {None, *_ABSENT}


@contextmanager
def reading_from(root: Path) -> Iterator[None]:
    """Turn errors of the operating system that say nothing about the content of a store into errors that the user can act on.

    Raises
    ------
    StoreAccessError
        This user may not read a file or folder of the store, or its disk does not answer.
    """
    try:
        yield
    except OSError as problem:
        if not is_unreachable(problem):
            raise
        raise StoreAccessError.of(problem.filename or root, problem) from problem


def changed_recently(stamp: FileStamp, quiet: int) -> bool:
    """Return whether a file changed so recently that another change could leave its stamp the same.

    Times in the future, as after the clock was set back, are not recent: a change would replace them with the current time.

    Parameters
    ----------
    quiet
        Time that must have passed since a change, in nanoseconds.
    """
    _, _, modified, changed, _ = stamp
    now = time.time_ns()
    return any(abs(now - at) <= quiet for at in (modified, changed))


@contextmanager
def writing_to(root: Path, remedy: str = "what was published is kept; correct this, and run it again") -> Iterator[None]:
    """Turn errors of the operating system about writing to a store into errors that the user can act on.

    Raises
    ------
    StoreError
        The disk is full, the user's quota is used up, or the store is not writable.
    """
    try:
        yield
    except OSError as problem:
        named = str(problem.filename2 or problem.filename or "")
        inside = named.startswith((f"{root}", f"{real_path(root)}"))
        above = bool(named) and root.is_relative_to(named)
        is_gone = problem.errno == errno.ENOENT and (above or (inside and not root.exists()))
        is_refused = (problem.errno in _REFUSED and (inside or above)) or is_gone
        if problem.errno not in _FULL and not is_refused and problem.errno != errno.EIO:
            raise
        reason = os.strerror(problem.errno or 0)
        if is_refused:
            reason = f"{reason}: {named}"
        raise StoreError(f"{root}: cannot be written to: {reason}; {remedy}") from problem


def flush(path: Path) -> None:
    """Wait until the content of a file or folder is on the disk. Some network file systems cannot flush folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def mount_of(folder: Path) -> tuple[int, str]:
    """Return the device of a folder and, on Linux, its mount. Files can be renamed between folders in which both are the same.

    A bind mount has the number of its device, but refuses renames to and from the rest of the device.
    """
    descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY))
    try:
        lines: list[str] = []
        with suppress(OSError):
            lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii").splitlines()
        return os.fstat(descriptor).st_dev, next((line for line in lines if line.startswith("mnt_id:")), "")
    finally:
        os.close(descriptor)


@contextmanager
def flushed_meanwhile(files: Callable[[], Iterable[Path]]) -> Iterator[None]:
    """Flush large files while the body of the context writes them, so that little of them is left to flush at its end.

    Parameters
    ----------
    files
        Returns the files that exist; called from another thread.

    Raises
    ------
    OSError
        A file cannot be flushed. The system reports this once: flushing the file again would succeed.
    """
    complete, flushed, problems = threading.Event(), dict[Path, int](), list[OSError]()

    def flush_grown() -> None:
        while not complete.wait(_PAUSE):
            try:
                for path in files():
                    size = path.stat().st_size
                    if size - flushed.get(path, 0) >= _GROWN:
                        flush(path)
                        flushed[path] = size
            except FileNotFoundError:  # a file was renamed
                continue
            except OSError as problem:
                problems.append(problem)
                return

    thread = threading.Thread(target=flush_grown, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        complete.set()
        thread.join()
    if problems:
        raise problems[0]


def free_path(path: Path) -> Path:
    """Return a path at which nothing exists: the given one, or one with a number added to its name."""
    path.parent.mkdir(exist_ok=True)
    others = (path.with_name(f"{path.name}-{number}") for number in count(2))
    return next(free for free in chain([path], others) if not os.path.lexists(free))


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted, without links; nothing if it is a link or does not exist."""
    if folder.is_symlink():
        return []
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Walk a folder as `os.walk` does, but raise the error of a folder that cannot be listed; `os.walk` leaves it out."""

    def refuse(problem: OSError) -> None:
        raise problem

    return os.walk(f"{folder}", onerror=refuse)


def size_of_files(folder: Path) -> int:
    """Return the size of the files in a folder, in bytes."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Create a hard link to a file, or a copy if the file system refuses the link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
