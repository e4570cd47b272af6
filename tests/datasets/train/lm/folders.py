"""Folders of ``save_to_disk``, the caches created from them, and the expected content of the caches."""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.datasets import LMDatasetProvider

PLAIN = ["One document.", "", "Another one, of two sentences. Here is the second.", None, "A third.\n", "", "And the last."]
AWKWARD = [
    "said <|endoftext|>twice<|endoftext|>",
    " ",
    "\n",
    "naïve\u0301 ſ's ’ſ",
    "日本語\u3000テキスト",
    "🤷🏽‍♀️\x00\ufffd",
    "x" * 3000,
    "a\r\nb\t\t c",
]
DOCUMENTS = [f"Document {i} has {'many ' * (i * i % 23)}words." for i in range(60)]


def saved(**splits: Mapping[str, Sequence[Any]] | Sequence[Any]) -> Path:
    """The folder ``dataset``, as ``save_to_disk`` writes it; a split is its columns, or its text."""
    from datasets import Dataset, DatasetDict

    columns = {name: split if isinstance(split, Mapping) else {"text": split} for name, split in splits.items()}
    DatasetDict({name: Dataset.from_dict(dict(of)) for name, of in columns.items()}).save_to_disk("dataset")
    return Path("dataset")


def made(tokenizer: Any, **arguments: Any) -> LMDatasetProvider:
    """The provider of a cache of the folder ``dataset``."""
    return LMDatasetProvider.from_hub(disk_file_path="dataset", tokenizer=tokenizer, seq_len=8, **arguments)


def expected(tokenizer: Any, texts: Sequence[str | None], end: Sequence[int] | None = None) -> list[int]:
    end = [tokenizer.eos_token_id] if end is None else end
    return list(chain.from_iterable([*tokenizer(text)["input_ids"], *end] for text in texts if text))


def ids(split: str = "train", folder: str = "cache") -> list[int]:
    return list(np.load(Path(folder) / f"{split}.npy").tolist())


def fingerprints() -> Any:
    """Return the inputs of the cache that its manifest records."""
    return json.loads(Path("cache/manifest.json").read_text(encoding="utf-8"))["inputs"]


def words(size: int, **special: str) -> Any:
    """Return a fast tokenizer of the words ``w0``, ``w1`` and so on, followed by the special tokens."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({f"w{i}": i for i in range(size)}, unk_token="w0"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def shouted(examples: dict[str, list[str]], tokenizer: Any, mark: str) -> dict[str, list[list[int]]]:
    """A function for ``dataset.map``; its labels leave out the first token of each document."""
    encoded = tokenizer([text.upper() + mark for text in examples["text"]])["input_ids"]
    return {"input_ids": encoded, "labels": [[-100, *document[1:]] for document in encoded]}
