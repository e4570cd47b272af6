"""The cache of blocks: its bound, what it evicts, and processes that share it or die."""

import errno
import io
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.errors import StoreError
from phyagi_assets.reading.block_cache import BlockCache, NotReserved
from phyagi_assets.reading.byte_ranges import Block
from tests.support import NOBODY, as_user

BLOCKS = [Block("a" * 32, 100 * number, 100 * number + 100) for number in range(12)]


def uses(known: dict[Block, int]) -> Callable[[Sequence[Block]], list[int]]:
    return lambda blocks: [known[block] for block in blocks]


def fetch(cache: BlockCache, block: Block, position: int, known: dict[Block, int]) -> bool:
    """Reserve room for a block, and write it as the fetching process does; return whether there was room."""
    draft = cache.reserve([block], position, uses(known))[0]
    if draft is NotReserved.FULL:
        return False
    assert isinstance(draft, Path)
    draft.write_bytes(bytes(block.size))
    draft.replace(cache.path(block))
    return True


def cached(cache: BlockCache) -> set[Block]:
    return {block for block in BLOCKS if cache.has(block)}


def test_block_whose_next_use_is_furthest_away_is_evicted(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", 520, "remedy")
    known = dict(zip(BLOCKS, (9, 3, 50, 7, 40, 5, 6, 1, 1, 1, 1, 1), strict=True))
    assert all(fetch(cache, block, 0, known) for block in BLOCKS[:5])
    assert fetch(cache, BLOCKS[5], 5, known)
    assert cached(cache) == {BLOCKS[number] for number in (0, 1, 3, 4, 5)}
    assert fetch(cache, BLOCKS[6], 6, known)
    assert cached(cache) == {BLOCKS[number] for number in (0, 1, 3, 5, 6)}
    assert not fetch(cache, BLOCKS[7], 10, known)  # every block is used before
    assert cached(cache) == {BLOCKS[number] for number in (0, 1, 3, 5, 6)}
    assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("a*/*")) == 500


def test_forked_process_on_a_full_disk_reads_without_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = BlockCache(tmp_path / "cache", 520, "remedy")
    assert fetch(cache, BLOCKS[0], 0, {})
    before, files = {path.name for path in (tmp_path / "cache" / ".drafts").iterdir()}, len(list(Path("/dev/fd").iterdir()))
    mkdir, parent = Path.mkdir, os.getpid()

    def full(path: Path, *options: Any, **more: Any) -> None:
        if path.parent.name == ".drafts":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), f"{path}")
        mkdir(path, *options, **more)

    monkeypatch.setattr(os, "getpid", lambda: parent + 1)  # as in a fork
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        for _ in range(3):
            assert cache.reserve(BLOCKS[:2], 0, uses({})) == [NotReserved.FULL] * 2
    assert cache.has(BLOCKS[0])
    assert ({path.name for path in (tmp_path / "cache" / ".drafts").iterdir()}, len(list(Path("/dev/fd").iterdir()))) == (before, files)


def reserve_and_die(folder: Path) -> BlockCache:
    """Open a cache, in which another process reserves room for a block and dies."""
    cache = BlockCache(folder, 300, "remedy")
    if not (child := os.fork()):
        other = BlockCache(folder, 300, "remedy")
        fetched = isinstance(other.reserve([BLOCKS[0]], 0, uses({}))[0], Path)
        os._exit(0 if fetched and cache.reserve([BLOCKS[0]], 0, uses({})) == [NotReserved.COMING] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list((folder / ".drafts").glob("*/*"))) == 1
    return cache


def test_block_that_a_dead_process_was_fetching_is_fetched_by_another(tmp_path: Path) -> None:
    cache = reserve_and_die(tmp_path / "cache")
    assert fetch(cache, BLOCKS[0], 0, {})
    assert not list((tmp_path / "cache" / ".drafts").glob("*/*"))
    assert cached(cache) == {BLOCKS[0]}


def test_block_is_fetched_by_one_process_and_files_of_a_dead_one_are_deleted(tmp_path: Path) -> None:
    cache = reserve_and_die(tmp_path / "cache")
    again = BlockCache(tmp_path / "cache", 300, "remedy")
    assert not list((tmp_path / "cache" / ".drafts").glob("*/*"))
    assert all(fetch(again, block, 0, {}) for block in BLOCKS[:3])
    assert cache.reserve([BLOCKS[0]], 0, uses({})) == [NotReserved.COMING]


def test_deleted_cache_is_created_again_and_unwritable_cache_names_the_remedy(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", 300, "set cache_dir")
    assert fetch(cache, BLOCKS[0], 0, {})
    shutil.rmtree(tmp_path / "cache")
    assert cached(cache) == set()
    assert fetch(cache, BLOCKS[0], 0, {})
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file/cache: cannot be written: Not a directory; set cache_dir"):
        BlockCache(tmp_path / "file" / "cache", 300, "set cache_dir")


def test_cache_may_be_deleted_at_any_moment(tmp_path: Path) -> None:
    cache, is_over = BlockCache(tmp_path / "cache", 1000, "remedy"), threading.Event()

    def delete() -> None:
        while not is_over.is_set():
            shutil.rmtree(tmp_path / "cache", ignore_errors=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        for number in range(300):
            block = BLOCKS[number % 3]
            (reserved,) = cache.reserve([block], 0, lambda blocks: [0] * len(blocks))
            assert isinstance(reserved, Path | NotReserved)
            if isinstance(reserved, Path):
                cache.release(block, reserved, FileNotFoundError())
            if number % 30 == 0:
                BlockCache(tmp_path / "cache", None, "remedy")
    finally:
        is_over.set()
        deleting.join()


def test_cache_with_less_room_than_in_an_earlier_run_shrinks_at_once(tmp_path: Path) -> None:
    cache = BlockCache(tmp_path / "cache", 1000, "remedy")
    assert all(fetch(cache, block, 0, {}) for block in BLOCKS[:9])
    again = BlockCache(tmp_path / "cache", 500, "remedy")
    assert len(cached(again)) == 4  # some room is made at once
    assert fetch(again, BLOCKS[10], 0, {})


def test_cache_that_is_no_longer_writable_is_read_with_one_warning() -> None:
    with tempfile.TemporaryDirectory() as folder:  # which another user can enter, unlike pytest's folders
        home = Path(folder)
        home.chmod(0o777)

        def use() -> str:
            said = io.StringIO()
            logging.basicConfig(stream=said, force=True)
            cache = BlockCache(home / "cache", 1000, "set cache_dir")
            drafts = [draft for draft in cache.reserve(BLOCKS[:2], 0, uses({})) if isinstance(draft, Path)]
            drafts[0].write_bytes(bytes(BLOCKS[0].size))
            drafts[0].replace(cache.path(BLOCKS[0]))
            for path in (cache.path(BLOCKS[0]).parent, drafts[1].parent, home / "cache"):
                path.chmod(0o555)
            cache.release(BLOCKS[1], drafts[1], PermissionError(errno.EACCES, "Permission denied"))
            assert cache.reserve([Block("b" * 32, 0, 100)], 0, uses({})) == [NotReserved.FULL]
            assert cache.has(BLOCKS[0])
            (home / "cache").chmod(0)  # it can no longer be read either
            assert cache.reserve([Block("b" * 32, 0, 100)], 0, uses({})) == [NotReserved.FULL]
            return said.getvalue()

        said = as_user(NOBODY, [], use)
    then = "nothing is added to the cache, and data that it lacks is fetched for each sample; set cache_dir"
    assert said == f"WARNING:phyagi_assets.reading.write_failures:{home / 'cache'}: Permission denied; {then}\n"
