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
def test_windows_tile_the_array_with_labels_aligned_or_shifted_by_one(tokens: int, seq_len: int, shift: bool) -> None:
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


@pytest.mark.parametrize(("tokens", "index"), [(13, 4), (13, -5), (3, 1), (0, 1), (0, -1)])
def test_index_out_of_range_raises_an_error_with_the_number_of_windows(tokens: int, index: int) -> None:
    with pytest.raises(IndexError, match=f"index {index} is outside a dataset of {max(tokens - 1, 0) // 3} window"):
        LMDataset(np.arange(tokens), seq_len=3)[index]


@pytest.mark.parametrize("tokens", [0, 3])
def test_first_index_of_a_dataset_without_a_window_gives_an_empty_sample_and_a_warning(
    tokens: int, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = LMDataset(np.arange(tokens), seq_len=3)
    assert {name: (of.dtype, of.shape) for name, of in dataset[0].items()} == dict.fromkeys(("input_ids", "labels"), (torch.int64, (0,)))
    assert caplog.messages == [f"input_ids: has {tokens} tokens, too few for a window of 3; sample 0 is empty"]
    assert list(dataset) == []


@pytest.mark.parametrize("shift", [False, True])
def test_separate_labels_are_cut_like_the_inputs(shift: bool) -> None:
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
        ({"input_ids": np.zeros(3), "labels": np.zeros(4)}, r"labels has shape \(4,\) and input_ids has \(3,\)"),
        ({"input_ids": np.zeros(3), "seq_len": 0}, "seq_len: is 0; use 1 or more"),
        ({"input_ids": np.zeros(3), "seq_len": 1.5}, "seq_len: is 1.5; use an integer"),
        ({"input_ids": [1, 2, 3]}, "input_ids is a list; give a NumPy array"),
        ({"input_ids": np.zeros(3), "labels": torch.zeros(3)}, "labels is a Tensor; give a NumPy array"),
        ({"input_ids": np.array(["a"])}, "input_ids contains <U1; token ids are integers"),
        ({"input_ids": np.array([None])}, "input_ids contains object"),
        ({"input_ids": np.zeros(3), "labels": np.zeros(3, bool)}, "labels contains bool"),
        ({"input_ids": np.zeros(3), "random_mask_prob": 1.1}, r"random_mask_prob is 1\.1; use a share from 0 to 1"),
        ({"input_ids": np.zeros(3), "random_mask_offset": 0}, "random_mask_offset is 0; the mark is positive"),
    ],
)
def test_invalid_arrays_raise(arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises((TypeError, ValueError), match=refusal):
        LMDataset(**arguments)


@pytest.mark.parametrize("tokens", [[0.5, 1.0], [float("nan"), 1.0], [float("inf"), 1.0]])
def test_fractions_raise_when_read(tokens: list[float]) -> None:
    dataset = LMDataset(np.array([1.0, 2.0, *tokens, 3.0]), seq_len=2)
    assert dataset[0]["input_ids"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="the array contains float64 with fractions; token ids are integers"):
        dataset[1]


def test_indices_of_numpy_are_indices() -> None:
    dataset = LMDataset(np.arange(9), seq_len=2)
    assert [dataset[index]["input_ids"].tolist() for index in np.array([0, -1])] == [[0, 1], [6, 7]]
    with pytest.raises(TypeError):
        dataset[0.0]  # type: ignore[index]


MARK = 100


@given(
    ids=st.lists(st.integers(0, MARK - 1), min_size=3, max_size=40),
    marked=st.lists(st.booleans(), min_size=40, max_size=40),
    share=st.floats(0, 1),
    shift=st.booleans(),
    seed=st.integers(0, 9),
)
def test_marks_are_removed_and_marked_labels_of_a_share_of_windows_are_ignored(
    ids: list[int], marked: list[bool], share: float, shift: bool, seed: int
) -> None:
    keys: dict[str, Any] = {"seq_len": 2, "shift_labels": shift}
    array, is_marked = np.array(ids), np.array(marked[: len(ids)])
    dataset = LMDataset((array + MARK * is_marked).astype(np.uint16), random_mask_prob=share, random_mask_offset=MARK, seed=seed, **keys)
    plain, hidden = LMDataset(array, **keys), LMDataset(array, np.where(is_marked, -100, array), **keys)
    possible = {0.0: [plain], 1.0: [hidden]}.get(share, [plain, hidden])
    for index, window in enumerate(dataset):
        assert window["input_ids"].tolist() == plain[index]["input_ids"].tolist()
        assert window["labels"].tolist() in [of[index]["labels"].tolist() for of in possible]


def test_choice_of_masked_windows_is_a_function_of_seed_and_index() -> None:
    def hidden(seed: int, share: float = 0.25) -> list[int]:
        dataset = LMDataset(np.full(8_001, MARK), seq_len=2, random_mask_prob=share, random_mask_offset=MARK, seed=seed, ignore_token_id=-7)
        order = np.random.default_rng(0).permutation(len(dataset)).tolist()
        return sorted(index for index in order if dataset[index]["labels"].tolist() == [-7, -7])

    one, other = hidden(1), hidden(2)
    assert one == hidden(1) != other
    assert abs(len(one) / 4_000 - 0.25) < 0.03
    assert set(one) <= set(hidden(1, 0.5))
    assert abs(len(set(one) & set(other)) / 4_000 - 0.25**2) < 0.02


def test_ids_that_collide_with_the_mark_raise_when_read() -> None:
    dataset = LMDataset(np.array([0, 199, 200, 3, 0]), seq_len=2, random_mask_prob=0.0, random_mask_offset=MARK)
    assert dataset[0]["input_ids"].tolist() == [0, 99]
    with pytest.raises(
        ValueError, match="random_mask_offset is 100, but token 200 is above twice that value: ids and marks cannot be distinguished"
    ):
        dataset[1]
