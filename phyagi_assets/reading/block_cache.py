"""A folder with blocks of arrays, of bounded size, shared by the processes of a machine.

::

    <folder>/<digest of the array>/<first byte>-<end>        a block
    <folder>/.drafts/<process>/<array>.<first>-<end>.<size>  a block that a process is fetching
    <folder>/.used                                           size of all of these together
    <folder>/.lock

A block appears by renaming its complete draft. Space is reserved before a block is fetched, so that blocks and drafts together never exceed
the bound. Drafts of a dead process are deleted by the next process that opens the folder or needs one of its blocks. Everything can be
deleted at any time, even while it is read: a reader that misses a block fetches it again.
"""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.formatting import short_size
from phyagi_assets.store.locks import is_held, locked, own_folder_until_exit

_DRAFTS, _USED, _LOCK = ".drafts", ".used", ".lock"
_SLACK = 32
"""When blocks are evicted, room for 1/_SLACK of the bound is made at once, because each time all blocks are listed."""
_DIGITS = 20
"""Width of a number of bytes in the file of the size."""
_FULL = {errno.ENOSPC, errno.EDQUOT}
"""Error numbers of a disk that is full, or of a quota that is used up."""
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}
"""Error numbers of a folder that is no longer writable."""
_ATTEMPTS = 100
"""Number of attempts to open the folder while another program deletes it."""
NEVER = 1 << 62
"""Next use of a block that is never used again, as far as is known."""

logger = logging.getLogger(__name__)

NextUses = Callable[[Sequence["Block"]], Sequence[int]]
"""Function that returns the next position at which each block is used."""


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive bytes of an array."""

    array: str
    """Digest of the array."""
    start: int
    """First byte in the file of the array."""
    stop: int
    """Byte after the last one."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.stop - self.start


class NotReserved(Enum):
    """Reasons why no room is reserved for a block."""

    COMING = "the block is in the cache, or another process is fetching it"
    FULL = "the cache is full"


class BlockCache:
    """A bounded cache of blocks.

    Parameters
    ----------
    folder
        The folder, which is created if it does not exist.
    bound
        Largest size of all blocks together, in bytes; None for half of what the disk has free.
    remedy
        End of messages about the folder: how another one is named.

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path, bound: int | None, remedy: str) -> None:
        self._folder, self._remedy = folder, remedy
        self._owner = 0
        self._drafts = folder
        self._limit: int | None = None
        """Size that the blocks had when the disk was full, in bytes; they do not grow beyond it. None if the disk was never full."""
        self._is_refused = False
        """Whether a write to the folder was refused."""
        with self.errors(), self._locked():
            self._although_deleted(self._open_drafts)
            used = self._measured()
            self.bound = (_free_bytes(folder) + used) // 2 if bound is None else bound
            """Largest size of all blocks together, in bytes."""
            if used > self.bound and bound is not None:  # an earlier run had a larger bound
                used = self._evict(0, -1, lambda blocks: [NEVER] * len(blocks))
            self._write_used(used)

    def __reduce__(self) -> tuple[type["BlockCache"], tuple[Path, int, str]]:
        return BlockCache, (self._folder, self.bound, self._remedy)

    def path(self, block: Block) -> Path:
        """Return the path of a block, whether or not it exists."""
        return self._folder / block.array / f"{block.start}-{block.stop}"

    def has(self, block: Block) -> bool:
        """Return whether a block is in the cache."""
        return os.path.exists(f"{self._folder}/{block.array}/{block.start}-{block.stop}")  # noqa: PTH110 (called for each block of each read)

    def reserve(self, blocks: Sequence[Block], position: int, next_uses: NextUses) -> list[Path | NotReserved]:
        """Reserve room for blocks that are about to be fetched, and evict the blocks whose next use is furthest away.

        Parameters
        ----------
        position
            Position at which they are used next; no block is evicted for them that is used before that.
        next_uses
            Function that returns the next use of blocks.

        Returns
        -------
        list of Path or NotReserved
            For each block, the path to write it to, or the reason why it is not to be fetched.
        """
        if not blocks:
            return []
        full: list[Path | NotReserved] = [NotReserved.FULL] * len(blocks)
        with self.errors():
            try:
                with self._locked():
                    try:
                        return self._reserved(blocks, position, next_uses)
                    except (FileExistsError, FileNotFoundError):  # the cache is being deleted
                        return full
            except OSError as problem:
                if not self._goes_on(problem):
                    raise
                return full

    def _reserved(self, blocks: Sequence[Block], position: int, next_uses: NextUses) -> list[Path | NotReserved]:
        if self._owner != os.getpid() or not self._drafts.exists():
            self._open_drafts()
        coming = self._being_fetched({_draft_name(block) for block in blocks})
        wanted = [_draft_name(block) not in coming and not self.has(block) for block in blocks]  # in this order: a draft becomes a block
        needed = sum(block.size for block, is_wanted in zip(blocks, wanted, strict=True) if is_wanted)
        used = self._read_used()
        if used + needed > self._room:
            used = self._evict(needed, position, next_uses)
        found: list[Path | NotReserved] = []
        for block, is_wanted in zip(blocks, wanted, strict=True):
            draft = self._draft(block, used) if is_wanted and used + block.size <= self._room else None
            used += block.size if draft else 0
            found.append(draft or (NotReserved.FULL if is_wanted else NotReserved.COMING))
        self._write_used(used)
        return found

    @property
    def _room(self) -> int:
        return self.bound if self._limit is None else min(self.bound, self._limit)

    def _draft(self, block: Block, used: int) -> Path | None:
        """Create the draft of a block, and return its path; None if the disk is full."""
        draft = self._drafts / _draft_name(block)
        try:
            self.path(block).parent.mkdir(exist_ok=True)
            draft.touch()
        except OSError as problem:
            if not self._goes_on(problem, used):
                raise
            return None
        return draft

    def _being_fetched(self, drafts: set[str]) -> set[str]:
        """Return the names of those drafts that a live process is writing."""
        found: set[str] = set()
        for owner in _entries(self._folder / _DRAFTS):
            if owner.is_dir() and (there := drafts.intersection(draft.name for draft in _entries(owner.path))):
                found |= there if self._is_alive(Path(owner.path)) else set()
        return found

    def _is_alive(self, drafts: Path) -> bool:
        """Return whether the owner of a folder of drafts is alive; delete the drafts of a dead one."""
        if is_held(drafts.with_suffix(".lock")):
            return True
        shutil.rmtree(drafts, ignore_errors=True)
        return False

    def release(self, block: Block, draft: Path, problem: BaseException) -> None:
        """Return the room of a block that could not be fetched, given the path of its draft and the reason.

        If the disk is full or the folder is not writable, blocks that are not cached are fetched without the cache.

        Raises
        ------
        StoreError
            The file could not be written for another reason.
        """
        with self.errors():
            try:
                draft.unlink(missing_ok=True)
                with self._locked():
                    used = self._read_used() - block.size
                    self._write_used(used)
            except OSError as refusal:
                if not self._goes_on(refusal):
                    raise
                return
            is_of_disk = isinstance(problem, OSError) and not isinstance(problem, FileNotFoundError)  # not: the cache was deleted
            if is_of_disk and not self._goes_on(problem, used):
                raise problem

    def _goes_on(self, problem: BaseException, used: int | None = None) -> bool:
        """Return whether reading continues after a failed write, with uncached data fetched for each sample.

        If the disk is full, the cache keeps its size from then on.
        """
        code = getattr(problem, "errno", None)
        if code in _FULL:
            used = self._read_used() if used is None else used
            if self._limit is None:
                self._warn(code, f"the cache stays at {short_size(used)}, and data that does not fit is fetched for each sample")
            self._limit = min(used, self._room)
        elif code in _REFUSED:
            if not self._is_refused:
                self._warn(code, "nothing is added to the cache, and data that it lacks is fetched for each sample")
            self._is_refused = True
        return code in _REFUSED or code in _FULL

    def _warn(self, code: int, then: str) -> None:
        logger.warning("%s: %s; %s; %s", self._folder, os.strerror(code), then, self._remedy)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as held:
            self._although_deleted(lambda: held.enter_context(locked(self._folder / _LOCK)))
            yield

    def _although_deleted(self, action: Callable[[], None]) -> None:
        """Call a function that needs the folder, again if another program deletes the folder meanwhile."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                action()
                return
            except (FileExistsError, FileNotFoundError):
                if attempt == _ATTEMPTS:
                    raise

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn errors of the disk into a `StoreError` that the user can act on."""
        try:
            yield
        except OSError as problem:
            raise StoreError(f"{problem.filename or self._folder}: cannot be written: {problem.strerror}; {self._remedy}") from None

    def _open_drafts(self) -> None:
        """Create the folder for the drafts of this process. Those of dead processes are deleted."""
        self._drafts, self._owner = own_folder_until_exit(self._folder / _DRAFTS), os.getpid()

    def _evict(self, needed: int, position: int, next_uses: NextUses) -> int:
        """Evict blocks and return the size of what is left."""
        drafts = self._size_of_drafts()
        blocks = list(self._listed())
        used = drafts + sum(block.size for block in blocks)
        uses = list(next_uses(blocks))
        wanted = self._room - needed - self._room // _SLACK
        for number in sorted(range(len(blocks)), key=lambda number: -uses[number]):
            if used <= wanted or uses[number] <= position:
                break
            path = self.path(blocks[number])
            try:
                os.truncate(path, 0)  # its space is free at once; a process that has the file open reads too few bytes, and fetches them
                path.unlink()
            except FileNotFoundError:
                pass
            except PermissionError:  # another user's
                continue
            used -= blocks[number].size
        return used

    def _measured(self) -> int:
        """Return the size of all blocks, and of the drafts of processes that are alive."""
        # The blocks after the drafts: a draft that becomes a block meanwhile counts twice rather than not at all.
        return self._size_of_drafts() + sum(block.size for block in self._listed())

    def _size_of_drafts(self) -> int:
        found = (path for folder in _entries(self._folder / _DRAFTS) if folder.is_dir() for path in _entries(folder.path))
        return sum(int(path.name.rpartition(".")[2]) for path in found)

    def _listed(self) -> Iterator[Block]:
        for entry in _entries(self._folder):
            if not entry.name.startswith(".") and entry.is_dir():
                for path in _entries(entry.path):
                    start, _, stop = path.name.partition("-")
                    if start.isdecimal() and stop.isdecimal():
                        yield Block(entry.name, int(start), int(stop))

    def _read_used(self) -> int:
        try:
            return int((self._folder / _USED).read_text())
        except (FileNotFoundError, ValueError):
            return self._measured()

    def _write_used(self, used: int) -> None:
        # In place: a file system may wait for the disk if a file is truncated and written again.
        try:
            file = os.open(self._folder / _USED, os.O_WRONLY | os.O_CREAT, 0o666)
        except FileNotFoundError:  # the cache is being deleted; what is there then is measured
            return
        try:
            os.pwrite(file, f"{used:<{_DIGITS}}".encode(), 0)
        finally:
            os.close(file)


def _entries(folder: str | Path) -> "Iterator[os.DirEntry[str]]":
    """Yield the entries of a folder; none if it has been deleted."""
    with suppress(FileNotFoundError):
        yield from os.scandir(folder)


def _free_bytes(folder: Path) -> int:
    """Return the free space of the disk of a folder, which may have been deleted."""
    while True:
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            folder = folder.parent


def _draft_name(block: Block) -> str:
    return f"{block.array}.{block.start}-{block.stop}.{block.size}"
