"""Windows over one array."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import LMDataset


@given(tokens=st.integers(0, 60), seq_len=st.integers(1, 9), shift=st.booleans())
def test_windows_tile_the_array_and_labels_stand_under_their_inputs_or_one_ahead(tokens: int, seq_len: int, shift: bool) -> None:
    ids = np.arange(tokens, dtype=np.uint16) * 7
    dataset = LMDataset(ids, seq_len=seq_len, shift_labels=shift)
    windows = [dataset[i] for i in range(len(dataset))]
    read = [i for window in windows for i in window["input_ids"].tolist()]
    labels = [i for window in windows for i in window["labels"].tolist()]
    assert read == ids[: len(read)].tolist()
    assert labels == ids[shift : len(read) + shift].tolist()
    assert max(tokens - 1, 0) - seq_len < len(read) <= max(tokens - 1, 0)
    for window in windows:
        assert {name: (of.dtype, of.shape) for name, of in window.items()} == dict.fromkeys(window, (torch.int64, (seq_len,)))


def test_iterating_ends_with_the_last_window() -> None:
    assert [window["input_ids"].tolist() for window in LMDataset(np.arange(7), seq_len=3)] == [[0, 1, 2], [3, 4, 5]]


@given(index=st.integers(-4, 3))
def test_negative_indices_count_from_the_end(index: int) -> None:
    dataset = LMDataset(np.arange(13), seq_len=3)
    assert torch.equal(dataset[index]["input_ids"], dataset[index % 4]["input_ids"])


@pytest.mark.parametrize(("tokens", "index"), [(13, 4), (13, -5), (3, 0), (0, 0), (0, -1)])
def test_an_index_outside_is_refused_with_the_number_of_windows(tokens: int, index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside a dataset of {max(tokens - 1, 0) // 3} windows"):
        LMDataset(np.arange(tokens), seq_len=3)[index]


@pytest.mark.parametrize("shift", [False, True])
def test_labels_of_their_own_are_cut_as_the_inputs_are(shift: bool) -> None:
    labels = np.array([-100, -100, 2, 3, 4, -100, 6])
    window = LMDataset(np.arange(7), labels, seq_len=3, shift_labels=shift)[1]
    assert window["input_ids"].tolist() == [3, 4, 5]
    assert window["labels"].tolist() == labels[3 + shift : 6 + shift].tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.float64])
def test_mapped_arrays_of_any_dtype_are_read_and_never_written(tmp_path: Path, dtype: type[Any]) -> None:
    ids = np.array([0, 65_535, 3, 50_256, 5], dtype=dtype)
    np.save(tmp_path / "train.npy", ids)
    dataset = LMDataset(np.load(tmp_path / "train.npy", mmap_mode="r"), seq_len=2)
    for _ in range(2):
        window = dataset[0]
        assert window["input_ids"].tolist() == window["labels"].tolist() == [0, 65_535]
        window["input_ids"] += 1
        window["labels"] -= 1


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"input_ids": np.zeros((2, 3))}, "input_ids has 2 dimensions"),
        ({"input_ids": np.zeros(3), "labels": np.zeros(4)}, r"labels has shape \(4,\) where input_ids has \(3,\)"),
        ({"input_ids": np.zeros(3), "seq_len": 0}, "seq_len is 0; a window has at least one token"),
    ],
)
def test_arrays_that_cannot_be_cut_are_refused(arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        LMDataset(**arguments)
