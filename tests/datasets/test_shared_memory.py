"""Tokenized rows → arrays → a cache folder."""

import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.datasets import LMDatasetProvider, get_dataset, process_dataset_to_memory, save_memory_dataset, save_numpy_dataset
from phyagi_assets.datasets.shared_memory_utils import _SHMArray
from phyagi_assets.errors import SourceError, StoreError
from phyagi_assets.formats.token_file import open_tokens
from tests.datasets.caches import ByCharacter
from tests.datasets.leftovers import contents, in_shared_memory, left_in_shared_memory


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def dataset(*, kind: Any = None, **columns: Sequence[Any]) -> Any:
    """Return a dataset; `kind` is the type of its columns, which is inferred by default."""
    from datasets import Dataset, Features

    return Dataset.from_dict(dict(columns), Features(dict.fromkeys(columns, kind)) if kind else None)


@settings(max_examples=30)
@given(rows=st.lists(st.lists(st.integers(0, 65_535), max_size=9), min_size=1, max_size=150), shared=st.booleans())
def test_rows_are_concatenated_with_and_without_shared_memory(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]], shared: bool
) -> None:
    from datasets import List, Value

    folder = tmp_path_factory.mktemp("cache")
    split = dataset(kind=List(Value("int64")), input_ids=rows)
    array = process_dataset_to_memory(split, folder, np.uint16, ["input_ids"], use_shared_memory=shared)["train"]
    assert array.dtype == np.uint16
    assert isinstance(array, _SHMArray) == (shared and array.size > 0)
    assert array.tolist() == [[token for row in rows for token in row]]
    array += 1  # it is the caller's
    assert not list(folder.iterdir())


@pytest.mark.parametrize("shared", [True, False])
def test_every_split_has_an_array_whose_rows_are_the_columns(shared: bool) -> None:
    from datasets import DatasetDict

    split = dataset(input_ids=[[1, 2], [3]], labels=[[-100, 2], [-100]], other=[[7], [8, 9]])
    columns = ["labels", "input_ids", "other"]
    splits = DatasetDict(test=split, train=split.select([1]))
    arrays = process_dataset_to_memory(splits, "cache", np.int32, columns[:2], use_shared_memory=shared)
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "test": [[-100, 2, -100], [1, 2, 3]],
        "train": [[-100], [3]],
    }
    assert process_dataset_to_memory(split, "cache", np.int32, columns, 1, shared)["train"].shape == (3, 3)
    with pytest.raises(SourceError, match="split 'train': its columns differ in their number of tokens: input_ids 1, other 2"):
        process_dataset_to_memory(splits, "cache", np.int32, columns[1:], use_shared_memory=shared)


def test_rows_of_fixed_length_are_concatenated() -> None:
    from datasets import List, Value

    split = dataset(kind=List(Value("uint16"), length=2), input_ids=[[1, 2], [3, 65_535], [5, 6]])
    assert process_dataset_to_memory(split, "cache", np.int64, ["input_ids"])["train"].tolist() == [[1, 2, 3, 65_535, 5, 6]]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(
    ("rows", "dtype", "refusal"),
    [
        ([[1], [65_536, 2]], np.uint16, "contains numbers from 1 to 65536, which do not fit uint16; use a larger dtype"),
        ([[1], [2, -1]], np.uint16, "contains numbers from -1 to 7, which do not fit uint16"),
        ([[1], [2**31]], np.int32, f"contains numbers from 1 to {2**31}, which do not fit int32"),
        ([[1], [2, None]], np.uint16, "contains nulls, which are not valid ids"),
        ([[1], None], np.uint16, "row 101: is null, not a list of integers"),
        ([[1.5]], np.uint16, r"contains list<.*double.*>, not lists of integers; tokenize the dataset first"),
        ([1, 2], np.uint16, r"contains int\d+, not lists of integers"),
        (["text"], np.uint16, "contains string, not lists of integers"),
    ],
)
def test_numbers_that_do_not_fit_the_dtype_raise_and_leave_no_file(rows: list[Any], dtype: type[Any], refusal: str, shared: bool) -> None:
    before = in_shared_memory()
    split = dataset(input_ids=[[7]] * 100 + rows if isinstance(rows[0], list) and isinstance(rows[0][0], int) else rows)
    with pytest.raises(SourceError, match=f"split 'train', column 'input_ids'(, |: ){refusal}"):
        process_dataset_to_memory(split, "cache", dtype, ["input_ids"], use_shared_memory=shared)
    assert not list(Path("cache").iterdir())
    assert not left_in_shared_memory(before)


def test_missing_column_raises_an_error_that_lists_the_columns() -> None:
    with pytest.raises(SourceError, match="column 'labels': does not exist; the columns are input_ids"):
        process_dataset_to_memory(dataset(input_ids=[[1]]), "cache", np.uint16, ["input_ids", "labels"])


def test_saved_cache_has_the_returned_files_and_opens(small: Any) -> None:
    ids, labels = np.arange(100, dtype=np.int32), -np.arange(100, dtype=np.int32)
    arrays = {"test": ids, "train": np.stack([ids[::-1], labels])}
    told = save_memory_dataset(arrays, small, Path("cache"))
    assert list(told.items()) == [
        ("test_file", Path("cache/test.npy")),
        ("train_file", Path("cache/train.npy")),
        ("tokenizer_file", Path("cache/tokenizer.pkl")),
    ]
    assert all(path.is_file() for path in told.values())
    opened = open_tokens(Path("cache/train.npy"))
    assert opened.labels is not None
    assert (opened.ids.tolist(), opened.labels.tolist()) == (ids[::-1].tolist(), labels.tolist())
    provider = LMDatasetProvider.from_cache("cache", seq_len=4)
    assert provider.get_train_dataset()[0]["labels"].tolist() == [0, -1, -2, -3]
    assert provider.get_tokenizer()("A text.")["input_ids"] == small("A text.")["input_ids"]


def test_arrays_of_a_cache_have_the_dtype_that_fits_all_splits(small: Any) -> None:
    save_numpy_dataset({"train": np.arange(9, dtype=np.uint16), "test": np.arange(5, dtype=np.int32)[None]}, small, "cache")
    assert [open_tokens(Path(f"cache/{split}.npy")).ids.dtype for split in ("train", "test")] == [np.int32, np.int32]


@pytest.mark.parametrize("given", ["gpt2", None])
def test_object_that_is_not_a_tokenizer_is_pickled_with_a_warning(given: Any, caplog: pytest.LogCaptureFixture) -> None:
    written = save_memory_dataset({"train": np.arange(9, dtype=np.uint16)}, given, "cache")
    assert pickle.loads(written["tokenizer_file"].read_bytes()) == given
    assert f"a {type(given).__name__} is not a tokenizer of transformers; it is only pickled" in caplog.text


def test_tokenizer_of_another_class_is_pickled_and_its_cache_can_be_combined_with_any_other(small: Any) -> None:
    arrays = {"train": np.arange(9, dtype=np.uint16)}
    save_memory_dataset(arrays, small, "small")
    written = save_memory_dataset(arrays, ByCharacter(), "cache")
    assert set(contents("cache")) == {"config.json", "manifest.json", "tokenizer.pkl", "train.npy"}
    assert len(get_dataset([{"cache_dir": cache, "seq_len": 4} for cache in ("small", "cache")])[0]) == 4
    provider = LMDatasetProvider(train_file=written["train_file"], tokenizer_file=written["tokenizer_file"], seq_len=4)
    assert isinstance(provider.get_tokenizer(), ByCharacter)
    with pytest.raises(StoreError, match="is a pickle"):
        LMDatasetProvider.from_cache("cache").get_tokenizer()


def test_cache_in_use_is_replaced_without_changing_its_readers(small: Any) -> None:
    for first in (0, 1):
        arrays = process_dataset_to_memory(dataset(input_ids=[list(range(first, first + 50))]), "cache", np.uint16, ["input_ids"])
        save_memory_dataset(arrays, small, "cache")
        if not first:
            reader = LMDatasetProvider.from_cache("cache", seq_len=4).get_train_dataset()
    assert reader[0]["input_ids"].tolist() == [0, 1, 2, 3]
    assert LMDatasetProvider.from_cache("cache", seq_len=4).get_train_dataset()[0]["input_ids"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("arrays", "refusal"),
    [
        ({"train": {"input_ids": np.arange(3)}}, "split 'train' is a dict; give integers"),
        ({"train": np.arange(3.0)}, r"split 'train' is an array of float64 with shape \(3,\)"),
        ({}, "dataset_dict: has no split"),
    ],
)
def test_invalid_arrays_raise_and_keep_the_previous_cache(small: Any, arrays: dict[str, Any], refusal: str) -> None:
    save_memory_dataset({"train": np.arange(3, dtype=np.uint16)}, small, "cache")
    before = contents("cache")
    with pytest.raises(SourceError, match=refusal):
        save_memory_dataset(arrays, small, "cache")
    assert contents("cache") == before


def test_arrays_outlive_the_folder_that_they_were_mapped_in() -> None:
    arrays = process_dataset_to_memory(dataset(input_ids=[[1, 2], [3]]), "cache", np.uint16, ["input_ids"])
    shutil.rmtree("cache")
    assert arrays["train"].sum() == 6
