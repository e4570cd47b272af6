"""Mapped arrays are pickled for other processes as their locations."""

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from phyagi_assets.datasets import LMDataset, WeightedConcatDataset
from phyagi_assets.datasets.mapped import MappedPart, packed, unpacked
from phyagi_assets.errors import StoreError
from tests.forks import FORKS

TOKENS = 100_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mapped") / "train.npy"
    np.save(path, np.arange(TOKENS, dtype=np.int32))
    return path


def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


@given(bounds=st.lists(st.integers(-TOKENS, 2 * TOKENS), min_size=2, max_size=6))
def test_part_of_a_mapped_array_is_pickled_as_its_location(file: Path, bounds: list[int]) -> None:
    part = _mapped(file)
    for start, end in zip(bounds[::2], bounds[1::2], strict=False):
        part = part[start:end]
    pickled = pickle.dumps(packed(part))
    assert len(pickled) < 700
    assert np.array_equal(unpacked(pickle.loads(pickled)), part)


@pytest.mark.parametrize("part", [slice(None), slice(777, 50_000), slice(5, 6)])
def test_dataset_over_a_mapped_array_is_pickled_without_tokens(file: Path, part: slice) -> None:
    labels = _mapped(file).reshape(-1)
    dataset = LMDataset(_mapped(file)[part], labels[part], seq_len=8)
    pickled = pickle.dumps(dataset)
    assert len(pickled) < 1_500
    again = pickle.loads(pickled)
    assert len(again) == len(dataset)
    for index in range(min(len(dataset), 3)):
        assert all(torch.equal(again[-1 - index][name], dataset[-1 - index][name]) for name in ("input_ids", "labels"))


def test_loader_worker_that_is_not_forked_from_this_process_returns_the_same_samples_in_every_epoch(file: Path) -> None:
    windows = LMDataset(_mapped(file)[100:3_000], seq_len=64)
    dataset = WeightedConcatDataset([windows, windows], [0.5, 1])
    loader = DataLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context=FORKS, persistent_workers=True)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        for loaded, sample in zip(loader, dataset, strict=True):
            assert {name: torch.as_tensor(value).tolist() for name, value in loaded.items()} == {
                name: torch.as_tensor(value).tolist() for name, value in sample.items()
            }


def _unnamed() -> Any:
    with tempfile.TemporaryFile() as unnamed:
        unnamed.write(bytes(16))
        unnamed.flush()
        return np.memmap(unnamed, np.uint16, "r+")


def test_array_without_a_file_is_pickled_with_its_content(file: Path) -> None:
    written_to = np.load(file, mmap_mode="c")
    written_to[3] = 7
    for array in (np.arange(5), _mapped(file)[::2], _mapped(file)[:0], written_to, _unnamed(), pickle.loads(pickle.dumps(_mapped(file)))):
        assert not isinstance(packed(array), MappedPart)
        assert np.array_equal(pickle.loads(pickle.dumps(packed(array))), array)
    assert packed(None) is unpacked(None) is None


@pytest.mark.parametrize("offset", [0, 2, 4_096, 5_000])
def test_map_with_an_offset_is_mapped_again(tmp_path: Path, offset: int) -> None:
    (tmp_path / "raw").write_bytes(bytes(range(256)) * 100)
    array = np.memmap(tmp_path / "raw", np.uint16, "r", offset=offset)
    assert np.array_equal(unpacked(pickle.loads(pickle.dumps(packed(array[7:90])))), array[7:90])


def test_file_behind_a_link_is_the_one_that_was_opened(tmp_path: Path) -> None:
    for version in ("old", "new"):
        (tmp_path / version).mkdir()
        np.save(tmp_path / version / "train.npy", np.full(50, len(version) + (version == "new")))
    (tmp_path / "now").symlink_to("old")
    opened = np.load(tmp_path / "now" / "train.npy", mmap_mode="r")
    (tmp_path / "then").symlink_to("new")
    (tmp_path / "then").replace(tmp_path / "now")
    assert np.array_equal(unpacked(pickle.loads(pickle.dumps(packed(opened)))), opened)


@pytest.mark.parametrize("change", ["other tokens", "fewer tokens", "gone"])
def test_changed_file_raises_when_mapped_again(tmp_path: Path, change: str) -> None:
    path = tmp_path / "train.npy"
    np.save(path, np.arange(50))
    pickled = pickle.dumps(LMDataset(_mapped(path), seq_len=8))
    path.unlink()
    if change != "gone":
        np.save(path, np.arange(50)[::-1] if change == "other tokens" else np.arange(20))
    with pytest.raises(StoreError, match=f"^{path}: (has changed since it was mapped|cannot be mapped again)"):
        pickle.loads(pickled)
