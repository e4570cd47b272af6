"""The files of a cache of blocks, which the processes of a machine share.

::

    <folder>/<digest of the array>/<first byte>-<end>        a block
    <folder>/.drafts/<process>/<array>.<first>-<end>.<size>  a block that a process is fetching
    <folder>/.drafts/<process>/<order>.0                     position of a process in an order of training, and its arrays
    <folder>/.used                                           size of all of these together
    <folder>/.lock

A block appears by renaming its complete draft. Drafts of a dead process are deleted by the next process that opens the folder or needs one
of these blocks. Everything can be deleted at any time, even while it is read.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from phyagi_assets.reading.byte_ranges import Block
from phyagi_assets.store.locks import is_held, locked, own_folder_until_exit

_DRAFTS, _USED, _LOCK = ".drafts", ".used", ".lock"
_DIGITS = 20
"""Width of a number in a file."""
_ACTIVE = 60.0
"""Time after its last read for which the position of a process counts, in seconds."""
_ATTEMPTS = 100
"""Number of attempts to open the folder while another program deletes it."""


class BlockFolder:
    """A folder with blocks, and with the drafts of blocks that are being fetched."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._drafts, self._owner = path, 0
        """Folder of the drafts of a process, and the id of that process."""

    def block_path(self, block: Block) -> Path:
        """Return the path of a block, whether or not it exists."""
        return self.path / block.array / f"{block.start}-{block.stop}"

    def has(self, block: Block) -> bool:
        """Return whether a block exists."""
        return os.path.exists(f"{self.path}/{block.array}/{block.start}-{block.stop}")  # noqa: PTH110 (called for each block of each read)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, which is created if it does not exist."""
        with ExitStack() as held:
            self._although_deleted(lambda: held.enter_context(locked(self.path / _LOCK)))
            yield

    def _although_deleted(self, action: Callable[[], None]) -> None:
        """Call a function that needs the folder; repeat the call if another program deletes the folder meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                action()
                return
            except (FileExistsError, FileNotFoundError):
                if attempt == _ATTEMPTS:
                    raise

    def open_drafts(self) -> None:
        """Create the folder for the drafts of this process, unless it exists, and delete those of dead processes."""
        if self._owner != os.getpid() or not self._drafts.exists():
            self._although_deleted(self._create_drafts)

    def _create_drafts(self) -> None:
        self._drafts, self._owner = own_folder_until_exit(self.path / _DRAFTS), os.getpid()

    def draft(self, block: Block) -> Path:
        """Create the draft of a block, and return its path."""
        draft = self._drafts / _draft_name(block)
        self.block_path(block).parent.mkdir(exist_ok=True)
        draft.touch()
        return draft

    def missing(self, blocks: Sequence[Block]) -> list[bool]:
        """Return for each block whether it neither exists nor is being fetched by a live process."""
        drafts, coming = {_draft_name(block) for block in blocks}, set()
        for owner in _entries(self.path / _DRAFTS):
            if owner.is_dir() and (there := drafts.intersection(draft.name for draft in _entries(owner.path))):
                coming |= there if self._is_alive(Path(owner.path)) else set()
        return [_draft_name(block) not in coming and not self.has(block) for block in blocks]  # drafts first: a draft becomes a block

    def _is_alive(self, drafts: Path) -> bool:
        """Return whether the owner of a folder of drafts is alive; delete the drafts of a dead one."""
        if is_held(drafts.with_suffix(".lock")):
            return True
        shutil.rmtree(drafts, ignore_errors=True)
        return False

    def delete(self, block: Block) -> bool:
        """Delete a block, and return whether its space is free; it is not if the file belongs to another user."""
        path = self.block_path(block)
        try:
            os.truncate(path, 0)  # its space is free at once; a process that has the file open reads too few bytes, and fetches them
            path.unlink()
        except FileNotFoundError:
            pass
        except PermissionError:
            return False
        return True

    def note_position(self, order: str, position: int, arrays: Iterable[str]) -> None:
        """Note the position of this process in an order of training, given a short name of the order and the digests of its arrays."""
        path = self._drafts / f"{order}.0"
        if self._owner == os.getpid():
            with suppress(OSError):  # the folder is not writable; without positions, more is fetched again
                if not path.exists():
                    path.write_text("\n".join([" " * _DIGITS, *arrays]))
                _write_number(path, position)

    def others(self, order: str) -> tuple[list[int], set[str]]:
        """Return the positions of other processes in an order of training, and the digests of the arrays that are read in other orders."""
        positions, arrays = [], set[str]()
        for owner in _entries(self.path / _DRAFTS):
            for entry in _entries(owner.path) if owner.is_dir() else ():
                with suppress(OSError, ValueError):  # ValueError: it is being written
                    if entry.name.endswith(".0") and time.time() - entry.stat().st_mtime < _ACTIVE:
                        position, *digests = Path(entry.path).read_text().split()
                        if entry.name != f"{order}.0":
                            arrays.update(digests)
                        elif owner.path != f"{self._drafts}":
                            positions.append(int(position))
        return positions, arrays

    def blocks(self) -> Iterator[Block]:
        """Yield all blocks."""
        for entry in _entries(self.path):
            if not entry.name.startswith(".") and entry.is_dir():
                for path in _entries(entry.path):
                    start, _, stop = path.name.partition("-")
                    if start.isdecimal() and stop.isdecimal():
                        yield Block(entry.name, int(start), int(stop))

    def measured_drafts(self) -> int:
        """Return the size of all drafts once they are complete, in bytes."""
        found = (path for folder in _entries(self.path / _DRAFTS) if folder.is_dir() for path in _entries(folder.path))
        return sum(int(path.name.rpartition(".")[2]) for path in found)

    def measured(self) -> int:
        """Return the size of all blocks and drafts, in bytes."""
        # The blocks after the drafts: a draft that becomes a block meanwhile counts twice rather than not at all.
        return self.measured_drafts() + sum(block.size for block in self.blocks())

    def noted_size(self) -> int:
        """Return the size of all blocks and drafts that was noted last, in bytes; if there is none, it is measured."""
        try:
            return int((self.path / _USED).read_text())
        except (FileNotFoundError, ValueError):
            return self.measured()

    def note_size(self, used: int) -> None:
        """Note the size of all blocks and drafts, in bytes."""
        with suppress(FileNotFoundError):  # the folder is being deleted; the size is measured later
            _write_number(self.path / _USED, used)

    def free_bytes(self) -> int:
        """Return the free space of the disk of the folder, which may have been deleted."""
        folder = self.path
        while True:
            try:
                return shutil.disk_usage(folder).free
            except FileNotFoundError:
                folder = folder.parent


def _entries(folder: str | Path) -> "Iterator[os.DirEntry[str]]":
    """Yield the entries of a folder; none if it has been deleted."""
    with suppress(FileNotFoundError):
        yield from os.scandir(folder)


def _write_number(path: Path, number: int) -> None:
    """Write a number to a file in place: a file system may wait for the disk if a file is truncated and written again."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.pwrite(file, f"{number:<{_DIGITS}}".encode(), 0)
    finally:
        os.close(file)


def _draft_name(block: Block) -> str:
    return f"{block.array}.{block.start}-{block.stop}.{block.size}"
