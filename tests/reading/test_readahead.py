"""Scattered rows are read from the disk together, and no other pages are read."""

import ctypes
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import MixtureLoader, load_mixture
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.runs import Piece, Pieces
from phyagi_assets.reading.array_maps import ArrayMap
from phyagi_assets.reading.readahead import DiskReads, announce
from phyagi_assets.reading.token_shards import TokenArray, TokenShards
from tests.order.plans import partitions, plan_of
from tests.reading.mixtures import write_mixture

SEQ_LEN = 2048
TOKENS = 4_000_000
SCATTERED = np.arange(7, 1900, 60)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A temporary folder on a disk: the folders of the other tests are in memory if possible."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def array(on_disk: Path) -> Path:
    """A token array of 8 MB that is not in the page cache."""
    path = on_disk / "tokens.npy"
    np.save(path, np.random.default_rng(0).integers(0, 50_000, TOKENS, dtype=np.uint16))
    _forget(path)
    if _in_memory(path):
        pytest.skip("files here are always in memory")
    return path


def _forget(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _in_memory(path: Path) -> int:
    """Return the number of pages of a file that are in the page cache."""
    mapped = np.memmap(path, np.uint8, "r")
    pages = (ctypes.c_ubyte * -(-len(mapped) // mmap.PAGESIZE))()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(mapped.ctypes.data), ctypes.c_size_t(len(mapped)), pages) == 0, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in pages)


def _read(array: Path, rows: Ints) -> Ints:
    """Return samples of an array, given their numbers."""
    runs = Pieces([Piece(shard=0, start=0, stop=TOKENS, is_last=True)]).runs(np.zeros_like(rows), rows * SEQ_LEN, SEQ_LEN)
    found: Ints = TokenShards([TokenArray(path=array, tokens=TOKENS)], dtype="uint16").samples(runs, width=SEQ_LEN)
    return found


def test_announcement_reads_only_the_pages_of_the_rows(array: Path) -> None:
    ArrayMap.open(array)
    opening = _in_memory(array)
    samples = _read(array, SCATTERED)
    needed = len(SCATTERED) * 2  # 4 KB each, which begin within a page
    assert _in_memory(array) <= needed + opening
    assert (samples == np.load(array)[SCATTERED[:, None] * SEQ_LEN + np.arange(SEQ_LEN)]).all()


@pytest.mark.parametrize("ahead", [0, 1])
def test_announcement_loads_all_rows_of_any_length(array: Path, ahead: int) -> None:
    for seq_len, rows in ((1, [0, 1, TOKENS - 2]), (SEQ_LEN, SCATTERED), (300_000, [12, 0, 5])):
        _forget(array)
        opened = ArrayMap.open(array)
        opening = _in_memory(array)
        before = DiskReads()
        begin = 2 * seq_len * np.array(rows)
        announce([(opened.mapping, opened.offset)].__getitem__, np.zeros(len(rows), int), begin, np.full(len(rows), 2 * (seq_len + ahead)))
        expected = {
            page
            for row in rows
            for page in range(
                (128 + 2 * row * seq_len) // mmap.PAGESIZE, (128 + 2 * ((row + 1) * seq_len + ahead) - 1) // mmap.PAGESIZE + 1
            )
        }
        deadline = time.monotonic() + 10
        while _in_memory(array) < len(expected) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(expected) <= _in_memory(array) <= len(expected) + opening
        before.observe()
        assert before.expected


def test_disk_reads_are_detected(array: Path) -> None:
    disk = DiskReads()

    def read() -> bool:
        rows = np.arange(TOKENS // SEQ_LEN)
        _read(array, rows)
        disk.observe()
        return disk.expected

    assert read()
    assert not all(read() for _ in range(3))
    _forget(array)
    assert read()


def test_next_samples_are_announced_while_a_batch_is_in_use(on_disk: Path) -> None:
    samples = {"one": {"a": 500}}
    plan = plan_of(partitions(samples, seq_len=SEQ_LEN), seq_len=SEQ_LEN)
    train = load_mixture(write_mixture(on_disk, plan)).train
    array = train.shards.arrays[0].path
    _forget(array)
    if _in_memory(array):
        pytest.skip("files here are always in memory")
    ArrayMap.open(array)
    opening = _in_memory(array)
    batches = iter(MixtureLoader(train, batch_size=1))
    for _ in range(3):  # of blocks of 1, 4 and 16 batches, the third of which was announced when the second was begun
        next(batches)
    begin = 128 + 2 * train.order.locate(np.arange(1 + 4 + 16)).start
    expected = {page for first in begin.tolist() for page in (first // mmap.PAGESIZE, (first + 2 * SEQ_LEN - 1) // mmap.PAGESIZE)}
    deadline = time.monotonic() + 10
    while _in_memory(array) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(expected) <= _in_memory(array) <= len(expected) + opening
