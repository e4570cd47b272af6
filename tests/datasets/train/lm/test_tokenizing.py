"""Ids of caches, from the pipeline and from mapping functions of the user."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.datasets import LMDatasetProvider, process_dataset_to_memory, save_memory_dataset
from phyagi_assets.datasets.train.lm.lm_dataset_provider import _tokenize_concatenated
from phyagi_assets.errors import SourceError
from tests.datasets.leftovers import contents
from tests.datasets.train.lm.folders import AWKWARD, DOCUMENTS, PLAIN, expected, fingerprints, ids, made, saved, shouted, words
from tests.support import SMALL_EOS

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


# What the ids are


@pytest.mark.parametrize("end", [(SMALL_EOS,), ()])
def test_ids_equal_those_of_transformers_with_an_eos_after_every_non_empty_text(small: Any, end: tuple[int, ...]) -> None:
    saved(train=PLAIN + AWKWARD, test=AWKWARD)
    made(small, use_eos_token=bool(end))
    assert ids() == expected(small, PLAIN + AWKWARD, end)
    assert ids("test") == expected(small, AWKWARD, end)


def test_texts_of_a_row_are_documents_in_the_order_of_the_columns(small: Any) -> None:
    saved(train={"question": ["What?", None, "Who?", ""], "id": [1, 2, 3, 4], "answer": ["That.", "Nothing.", "", None]})
    made(small, mapping_column_name=["answer", "question"])
    assert ids() == expected(small, ["That.", "What?", "Nothing.", "Who?"])
    lengths = [len(expected(small, [text])) for text in ("That.", "What?", "Nothing.", "Who?")]
    assert np.load("cache/train.documents.npy").tolist() == np.cumsum(lengths).tolist()


def test_selected_rows_keep_the_order_of_the_dataset(small: Any) -> None:
    from datasets import Dataset

    Dataset.from_dict({"text": DOCUMENTS}).select([5, 3, 3, 40]).save_to_disk("dataset")
    made(small)
    assert ids() == expected(small, [DOCUMENTS[i] for i in (5, 3, 3, 40)])


def test_class_style_and_functional_style_write_the_same_arrays(small: Any) -> None:
    from datasets import load_from_disk

    splits = {"train": AWKWARD * 3, "validation": PLAIN, "test": DOCUMENTS * 20 + PLAIN}
    saved(**splits)
    made(small)
    arguments = {"tokenizer": small, "mapping_column_name": ["text"], "use_eos_token": True, "dtype": np.uint16}
    rows = load_from_disk("dataset").map(_tokenize_concatenated, fn_kwargs=arguments, batched=True, remove_columns=["text"])
    assert rows.num_rows == {"train": 1, "validation": 1, "test": 2}
    save_memory_dataset(process_dataset_to_memory(rows, "functional", np.uint16, ["input_ids"]), small, "functional")
    made(small, cache_dir="mapped", mapping_fn=_tokenize_concatenated)
    for split in splits:
        written = Path(f"cache/{split}.npy").read_bytes()
        assert written == Path(f"functional/{split}.npy").read_bytes() == Path(f"mapped/{split}.npy").read_bytes()


@pytest.mark.parametrize(("size", "dtype"), [(65_526, "uint16"), (65_527, "int32"), (65_530, "int32")])
def test_dtype_fits_the_largest_id_including_added_tokens(size: int, dtype: str) -> None:
    tokenizer = words(size, eos_token="<eos>")
    added = [f"<{i}>" for i in range(9)]
    tokenizer.add_tokens(added)
    assert tokenizer.vocab_size == size < 65_536
    saved(train=["w1 <8>", "<0> w3"])
    for arguments in ({}, {"mapping_fn": _tokenize_concatenated}):
        made(tokenizer, **arguments)
        assert np.load("cache/train.npy").dtype == dtype
        assert ids() == [1, size + 9, size, size + 1, 3, size]


@pytest.mark.parametrize("arguments", [{}, {"mapping_fn": _tokenize_concatenated}])
def test_tokenizer_of_the_caller_is_not_modified_and_its_padding_is_ignored(small_folder: Path, arguments: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_folder, pad_token="<|endoftext|>")
    tokenizer(DOCUMENTS[:2], truncation=True, max_length=4, padding=True)
    saved(train=DOCUMENTS)
    before = (repr(tokenizer), dict(tokenizer.init_kwargs), tokenizer.name_or_path)
    truncation = tokenizer.backend_tokenizer.truncation
    made(tokenizer, **arguments)
    assert (repr(tokenizer), dict(tokenizer.init_kwargs), tokenizer.name_or_path) == before
    assert arguments or tokenizer.backend_tokenizer.truncation == truncation  # a call without it takes it off, as ever
    assert ids() == expected(tokenizer, DOCUMENTS)
    made_of = fingerprints()
    made(AutoTokenizer.from_pretrained(small_folder, pad_token="<|endoftext|>"), **arguments)
    assert fingerprints() == made_of


# The validation split


@pytest.mark.parametrize("part", [0.25, 100])
def test_validation_split_is_the_last_whole_documents(small: Any, part: float) -> None:
    saved(train=DOCUMENTS)
    made(small, validation_split=part, shuffle=False)
    whole = expected(small, DOCUMENTS)
    assert ids() + ids("validation") == whole
    assert ids()[-1] == ids("validation")[-1] == SMALL_EOS
    longest = max(len(expected(small, [text])) for text in DOCUMENTS)
    assert abs(len(ids("validation")) - (part * len(whole) if part < 1 else part)) <= longest
    for split in ("train", "validation"):
        assert np.load(f"cache/{split}.documents.npy").tolist() == [i + 1 for i, token in enumerate(ids(split)) if token == SMALL_EOS]


@pytest.mark.parametrize("arguments", [{}, {"mapping_fn": _tokenize_concatenated}])
def test_document_shuffle_depends_only_on_the_seed(small: Any, arguments: dict[str, Any]) -> None:
    saved(train=DOCUMENTS * (30 if arguments else 1))
    written = []
    for seed in (1, 1, 2):
        made(small, validation_split=0.2, seed=seed, **arguments)
        written.append((ids(), ids("validation")))
        assert sorted(ids() + ids("validation")) == sorted(expected(small, DOCUMENTS) * (30 if arguments else 1))
    assert written[0] == written[1] != written[2]


def test_dataset_keeps_its_own_validation_split(small: Any) -> None:
    saved(train=DOCUMENTS, validation=PLAIN)
    made(small, validation_split=0.5)
    assert (ids(), ids("validation")) == (expected(small, DOCUMENTS), expected(small, PLAIN))


# A function of the user's own


@pytest.mark.parametrize("num_workers", [1, 2])
def test_mapping_function_can_return_labels(small: Any, num_workers: int) -> None:
    saved(train=DOCUMENTS, test=DOCUMENTS[:3])
    made(small, mapping_fn=shouted, mapping_fn_kwargs={"mark": "!"}, validation_split=0.3, shuffle=False, num_workers=num_workers)
    texts = [f"{text.upper()}!" for text in DOCUMENTS]
    assert ids() + ids("validation") == expected(small, texts, end=())
    assert (ids("test"), ids("test_labels")[:3]) == (expected(small, texts[:3], end=()), [-100, *ids("test")[1:3]])
    assert (ids("validation")[0], ids("validation_labels")[0]) == (small("DOC")["input_ids"][0], -100)
    first = LMDatasetProvider.from_cache("cache", seq_len=4).get_train_dataset()[0]
    assert (first["input_ids"].tolist(), first["labels"].tolist()) == (ids()[:4], [-100, *ids()[1:4]])


def too_large(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    return {"input_ids": [[65_536] for _ in examples["text"]]}


def no_ids(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    return {"ids": [[1] for _ in examples["text"]]}


def short_labels(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    return {"input_ids": [[1, 2] for _ in examples["text"]], "labels": [[1] for _ in examples["text"]]}


def labels_of_other_rows(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    count = len(examples["text"])
    return {"input_ids": [[1, 2]] * count, "labels": [[1], [1, 2, 3], *[[1, 2]] * (count - 2)]}


def a_row_without_ids(examples: dict[str, list[str]]) -> dict[str, list[list[int] | None]]:
    return {"input_ids": [[1], None, *([1] for _ in examples["text"][2:])]}


def single_ids(examples: dict[str, list[str]]) -> dict[str, list[int]]:
    return {"input_ids": [1 for _ in examples["text"]]}


def empty_first(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    return {"input_ids": [[] for _ in examples["text"][:-1]] + [[1, 2]]}


@pytest.mark.parametrize(
    ("mapping_fn", "arguments", "refusal"),
    [
        (
            too_large,
            {},
            "split 'train', column 'input_ids': contains numbers from 65536 to 65536, which do not fit uint16; use a larger dtype",
        ),
        (no_ids, {}, "mapping_fn: returns ids, but not 'input_ids'"),
        (short_labels, {}, "split 'train': its columns differ in their number of tokens: input_ids 120, labels 60"),
        (labels_of_other_rows, {}, "split 'train', row 0: its columns differ in their number of tokens: input_ids 2, labels 1"),
        (a_row_without_ids, {"validation_split": 0.5}, "column 'input_ids', row [0-9]+: is null, not a list of integers"),
        (single_ids, {"validation_split": 0.5}, "column 'input_ids': contains int"),
        (empty_first, {"validation_split": 0.5}, "validation_split: 0.5 of 2 tokens in 60 documents leave nothing to train on"),
    ],
)
def test_invalid_result_of_a_mapping_function_raises(
    small: Any, mapping_fn: Callable[..., Any], arguments: dict[str, Any], refusal: str
) -> None:
    saved(train=DOCUMENTS)
    with pytest.raises(SourceError, match=refusal):
        made(small, mapping_fn=mapping_fn, **arguments)
    assert not contents("cache")
