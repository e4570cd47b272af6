"""The number of mapped arrays is bounded, and unreadable arrays raise errors that name the file."""

import multiprocessing
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import MixtureLoader, load_mixture
from phyagi_assets.errors import StoreError
from phyagi_assets.reading.array_maps import ArrayMap, ArrayMaps, maps_allowed
from tests.datasets.mixtures import mixture_of
from tests.datasets.packed_mixtures import write_packed
from tests.forks import in_fork
from tests.order.plans import plan_of, sized
from tests.reading.mixtures import write_mixture

FORK = multiprocessing.get_context("fork")


def _epochs(folder: Path) -> tuple[list[int], int, int]:
    """Read an epoch in two ways with 256 descriptors beside the inherited ones.

    Returns
    -------
    tuple of list of int, int and int
        The sums of the tokens, the largest number of maps, and the number of descriptors in the end.
    """
    inherited, sums, most = _descriptors(), [], 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (inherited + 256, inherited + 256))
    for options, workers in (({}, 0), ({"boundaries": True}, 2)):
        train = load_mixture(folder, **options).train
        loader = MixtureLoader(train, batch_size=173, num_workers=workers)
        sums.append(sum(int(batch["input_ids"].sum()) for batch in loader))
        most = train.shards._maps.most
    return sums, most, _descriptors() - inherited


def test_hundreds_of_partitions_are_read_with_256_descriptors(tmp_path: Path) -> None:
    tokens = 9
    plan = plan_of({"one": [sized(f"one-{number:04}", train=tokens) for number in range(616)]}, dtype="int32", seq_len=8)
    sums, most, descriptors = in_fork(_epochs, write_mixture(tmp_path, plan), context=FORK)
    samples = (616 * tokens - 1) // 8
    assert samples % 173 == 0  # so that the batches are those of one epoch
    assert sums == [sum(range(samples * 8))] * 2
    assert most <= 64
    assert descriptors < 256


def test_limit_on_open_files_is_raised_if_allowed() -> None:
    code = (
        "import resource; from phyagi_assets.reading.array_maps import maps_allowed\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 2000))\n"
        "print(maps_allowed(600), resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 800, maps_allowed(9_999) < 600)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["600", "True", "True"], done.stderr


def _error_with_two_descriptors(folder: Path) -> str:
    used = _descriptors()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 2, used + 2))
    with pytest.raises(StoreError) as found:
        len(load_mixture(folder).train)
    return str(found.value)


def test_opening_a_mixture_under_a_too_low_limit_raises(tmp_path: Path) -> None:
    mixture_of(tmp_path)
    said = in_fork(_error_with_two_descriptors, tmp_path, context=FORK)
    assert re.search(r"open files: this process has \d+ open files and a limit of \d+, .* ulimit -n", said)


def test_most_recently_used_maps_are_kept(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.npy" for number in range(9)]
    for number, path in enumerate(paths):
        np.save(path, np.arange(number, number + 3))
    maps = ArrayMaps(most=4)
    before = _descriptors()
    for number in [*range(9), 3, 8, 0, 8]:
        assert maps.opened(number, paths[number]).array.tolist() == [number, number + 1, number + 2]
        assert len(maps) <= 4
        assert _descriptors() <= before + 4
    assert maps_allowed(10) == 10


class _LookedUp:
    """A key that counts its look-ups and runs a function before the fourth, as another thread could."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do, self.times = do, 0

    def __hash__(self) -> int:
        self.times += 1
        if self.times == 4:
            self.do()
        return 1


def test_map_closed_by_another_thread_during_lookup_is_returned(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.npy" for number in range(4)]
    for number, path in enumerate(paths):
        np.save(path, np.arange(number, number + 3))
    maps = ArrayMaps(most=2)
    key = _LookedUp(lambda: [maps.opened(number, paths[number]) for number in (2, 3)])
    maps.opened(key, paths[0])
    maps.opened(1, paths[1])
    assert maps.opened(key, paths[0]).array.tolist() == [0, 1, 2]
    assert key.times == 4
    assert len(maps) == 2


def test_tokens_ends_and_masks_of_all_arrays_stay_mapped(tmp_path: Path) -> None:
    home = write_packed(tmp_path, {"a": [3, 9, 5], "b": [7, 8]}, seq_len=8, masked=["a", "b"])
    train = load_mixture(home, boundaries=True).train
    train.batch(np.arange(len(train)))
    opened = [array.path.with_suffix(suffix) for array in train.shards.arrays for suffix in (".npy", ".documents.npy", ".trained.npy")]
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    assert [path for path in opened if str(path) not in mapped] == []


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _other(path: Path) -> None:
    path.write_bytes(b"not an array at all")


def _short(path: Path) -> None:
    np.save(path, np.load(path)[:-1])


def _negative(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(", b"(-", 1))


@pytest.mark.parametrize("damage", [_cut, _empty, _other, _short, _negative, Path.unlink])
@pytest.mark.parametrize("suffix", [".npy", ".documents.npy"])
def test_damaged_array_raises_an_error_with_its_path(tmp_path: Path, suffix: str, damage: Callable[[Path], None]) -> None:
    train = load_mixture(mixture_of(tmp_path).home, boundaries=True).train
    path = train.shards.arrays[0].path.with_suffix(suffix)
    damage(path)
    with pytest.raises(StoreError, match=re.escape(str(path))):
        train.batch(np.arange(len(train)))


@pytest.mark.parametrize("suffix", [".npy", ".documents.npy"])
def test_file_truncated_while_in_use_raises_an_error_instead_of_a_signal(tmp_path: Path, suffix: str) -> None:
    train = load_mixture(mixture_of(tmp_path).home, boundaries=True).train
    train.batch(np.arange(len(train)))
    path = train.shards.arrays[0].path.with_suffix(suffix)
    os.truncate(path, 100)
    with pytest.raises(StoreError, match=rf"{re.escape(str(path))}: was truncated from [\d,]+ to 100 bytes while in use"):
        train.batch(np.arange(len(train)))


def test_mapped_array_equals_the_array_that_numpy_loads(tmp_path: Path) -> None:
    for array in (np.arange(6, dtype=np.uint16), np.arange(12).reshape(6, 2), np.zeros(0, np.int64), np.arange(3, dtype=np.uint64)):
        np.save(tmp_path / "array.npy", array)
        opened = ArrayMap.open(tmp_path / "array.npy")
        assert opened.array.dtype == array.dtype
        assert opened.array.tolist() == array.tolist()
