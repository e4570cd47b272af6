"""A cache of blocks of arrays, of bounded size, shared by the processes of a machine.

Space is reserved before a block is fetched, so that blocks and drafts together never exceed the bound. Any process may evict a block; a
reader that misses it fetches it again.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from pathlib import Path

from phyagi_assets.reading.block_folder import BlockFolder
from phyagi_assets.reading.byte_ranges import Block
from phyagi_assets.reading.write_failures import WriteFailures

_SLACK = 32
"""Each eviction lists all blocks, so it frees 1/_SLACK of the bound more than is needed."""
NEVER = 1 << 62
"""Next use of a block of which no further use is known."""

NextUses = Callable[[Sequence[Block]], Sequence[int]]
"""Function that returns the next position at which each block is used."""


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
        Largest size of all blocks together, in bytes; None for half of the space that is free or that the cache already uses.
    remedy
        End of messages about the folder, which says how to name another one.

    Raises
    ------
    StoreError
        The folder cannot be written to.
    """

    def __init__(self, folder: Path, bound: int | None, remedy: str) -> None:
        self._folder, self._failures = BlockFolder(folder), WriteFailures(folder, remedy)
        self.path, self.has = self._folder.block_path, self._folder.has
        self.note_position, self.others = self._folder.note_position, self._folder.others
        self._kept: set[str] = set()
        """Digests of arrays of which this process evicts no block."""
        with self._failures.as_errors(), self._folder.locked():
            self._folder.open_drafts()
            used = self._folder.measured()
            self.bound = (self._folder.free_bytes() + used) // 2 if bound is None else bound
            """Largest size of all blocks together, in bytes."""
            if used > self.bound and bound is not None:  # an earlier run had a larger bound
                used = self._evict(0, -1, lambda blocks: [NEVER] * len(blocks))
            self._folder.note_size(used)

    def __reduce__(self) -> tuple[type["BlockCache"], tuple[Path, int, str], dict[str, set[str]]]:
        return BlockCache, (self._folder.path, self.bound, self._failures.remedy), {"_kept": self._kept}

    def keep(self, arrays: Iterable[str]) -> None:
        """Evict no blocks of arrays from now on, given their digests."""
        self._kept.update(arrays)

    def reserve(self, blocks: Sequence[Block], position: int, next_uses: NextUses) -> list[Path | NotReserved]:
        """Reserve room for blocks that are about to be fetched, and evict the blocks whose next use is furthest away.

        Parameters
        ----------
        position
            Position of their next use; blocks that are used at or before it are not evicted.
        next_uses
            Function that returns the next use of blocks.

        Returns
        -------
        list of Path or NotReserved
            For each block, the path to write it to, or the reason not to fetch it.
        """
        if not blocks:
            return []
        full: list[Path | NotReserved] = [NotReserved.FULL] * len(blocks)
        with self._failures.as_errors():
            try:
                with self._folder.locked():
                    try:
                        return self._reserved(blocks, position, next_uses)
                    except (FileExistsError, FileNotFoundError):  # the cache is being deleted
                        return full
            except OSError as problem:
                if not self._failures.goes_on(problem, self._folder.noted_size):
                    raise
                return full

    def _reserved(self, blocks: Sequence[Block], position: int, next_uses: NextUses) -> list[Path | NotReserved]:
        self._folder.open_drafts()
        missing = self._folder.missing(blocks)
        needed = sum(block.size for block, is_missing in zip(blocks, missing, strict=True) if is_missing)
        used = self._folder.noted_size()
        if used + needed > self._room:
            used = self._evict(needed, position, next_uses)
        found: list[Path | NotReserved] = []
        for block, is_missing in zip(blocks, missing, strict=True):
            draft = self._draft(block, used) if is_missing and used + block.size <= self._room else None
            used += block.size if draft else 0
            found.append(draft or (NotReserved.FULL if is_missing else NotReserved.COMING))
        self._folder.note_size(used)
        return found

    @property
    def _room(self) -> int:
        return self.bound if self._failures.limit is None else min(self.bound, self._failures.limit)

    def _draft(self, block: Block, used: int) -> Path | None:
        """Create the draft of a block, and return its path; None if the disk is full."""
        try:
            return self._folder.draft(block)
        except OSError as problem:
            if not self._failures.goes_on(problem, lambda: used):
                raise
            return None

    def release(self, block: Block, draft: Path, problem: BaseException) -> None:
        """Release the room of a block that could not be fetched, given the path of its draft and the reason.

        If the disk is full or the folder is not writable, blocks that are not cached are fetched without the cache.

        Raises
        ------
        StoreError
            The file could not be written for another reason.
        """
        with self._failures.as_errors():
            try:
                draft.unlink(missing_ok=True)
                with self._folder.locked():
                    used = self._folder.noted_size() - block.size
                    self._folder.note_size(used)
            except OSError as refusal:
                if not self._failures.goes_on(refusal, self._folder.noted_size):
                    raise
                return
            is_disk_error = isinstance(problem, OSError) and not isinstance(problem, FileNotFoundError)  # not if the cache was deleted
            if is_disk_error and not self._failures.goes_on(problem, lambda: used):
                raise problem

    def _evict(self, needed: int, position: int, next_uses: NextUses) -> int:
        """Evict blocks, and return the size of the remaining blocks and drafts."""
        drafts = self._folder.measured_drafts()
        blocks = list(self._folder.blocks())
        used = drafts + sum(block.size for block in blocks)
        wanted = self._room - needed - self._room // _SLACK
        evictable = [block for block in blocks if block.array not in self._kept]
        for use, block in sorted(zip(next_uses(evictable), evictable, strict=True), key=lambda found: -found[0]):
            if used <= wanted or use <= position:
                break
            if self._folder.delete(block):
                used -= block.size
        return used
