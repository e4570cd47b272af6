"""Provider of prompts from files of conversations."""

import logging
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.datasets.dataset_provider import WEIGHTS, ConfigFields, DatasetProvider, existing_or_none
from phyagi_assets.datasets.late_names import late_names
from phyagi_assets.datasets.rl.chat.chat_dataset import ChatDataset, only_split
from phyagi_assets.datasets.train.lm.loading import named_tokenizer
from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.formatting import counted

logger = logging.getLogger(__name__)
__getattr__ = late_names(load_dataset="datasets", load_from_disk="datasets", AutoTokenizer="transformers")

_READERS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
_SUBSAMPLE_SEED = 1


@dataclass
class ChatDatasetProviderConfig(ConfigFields):
    """Location of the conversations, and options for reading them.

    Parameters
    ----------
    train_file, validation_file
        Files of conversations, Parquet or JSON Lines, or folders written by ``save_to_disk``. A missing one is left out with a warning.
    tokenizer
        A tokenizer, its name or folder, or the arguments of ``AutoTokenizer.from_pretrained``.
    messages_column_name, ground_truth_column_name, max_length, filter_max_length, tokenize
        As in `ChatDataset`.
    weight
        Factor on the number of samples if several datasets are concatenated; above 0.
    label
        Name of the dataset.
    subsample
        Share of the conversations to read, drawn at random once; None for all.

    Raises
    ------
    ValueError
        A value has the wrong type or is out of range; the message names the field.

    Examples
    --------
    >>> ChatDatasetProviderConfig(max_length=512).messages_column_name
    'question'
    """

    train_file: Path | None = None
    validation_file: Path | None = None
    tokenizer: Any = None
    messages_column_name: str = "question"
    ground_truth_column_name: str | None = "answer"
    max_length: int | None = 1024
    filter_max_length: bool = False
    tokenize: bool = True
    weight: float = 1.0
    label: str | None = None
    subsample: float | None = None

    def __post_init__(self) -> None:
        self._check_types(ChatDatasetProviderConfig)
        for name in ("train_file", "validation_file"):
            setattr(self, name, existing_or_none(name, getattr(self, name)))
        self._require("weight", 0 < self.weight < math.inf, WEIGHTS)
        self._require("max_length", self.max_length is None or self.max_length >= 1, "a prompt has at least one token")
        _require_share(self.subsample)


class ChatDatasetProvider(DatasetProvider):
    """A provider of `ChatDataset` objects over files of conversations.

    Parameters
    ----------
    train_file, validation_file, tokenizer
        As in `ChatDatasetProviderConfig`.
    messages_column_name, ground_truth_column_name, max_length, filter_max_length, tokenize
        As in `ChatDataset`.
    weight, label, subsample
        As in `ChatDatasetProviderConfig`.
    **kwargs
        Ignored with a warning.

    Raises
    ------
    ValueError
        The share is out of range.
    TokenizerError
        The tokenizer cannot be loaded.

    Examples
    --------
    >>> ChatDatasetProvider(weight=2.0, label="math").label
    'math'
    """

    def __init__(
        self,
        train_file: str | Path | None = None,
        validation_file: str | Path | None = None,
        tokenizer: Any = None,
        messages_column_name: str = "messages",
        ground_truth_column_name: str = "ground_truth",
        max_length: int | None = None,
        filter_max_length: bool = False,
        tokenize: bool = True,
        weight: float = 1.0,
        label: str | None = None,
        subsample: float | None = None,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            logger.warning("ChatDatasetProvider: ignoring the arguments %s", ", ".join(kwargs))
        _require_share(subsample)
        self._files = {"train_file": train_file, "validation_file": validation_file}
        self._tokenizer = _loaded(tokenizer)
        self._arguments: dict[str, Any] = {
            "messages_column_name": messages_column_name,
            "ground_truth_column_name": ground_truth_column_name,
            "max_length": max_length,
            "filter_max_length": filter_max_length,
            "tokenize": tokenize,
        }
        self._subsample = subsample
        self._set_attributes(weight=weight, label=label)

    def get_train_dataset(self) -> ChatDataset | None:
        """Return the training prompts, or None without a training file.

        Raises
        ------
        FileNotFoundError
            The file does not exist, or the folder was not written by ``save_to_disk``.
        ValueError
            The file has an unknown format, or `ChatDataset` refuses it.
        """
        return self._dataset("train_file")

    def get_val_dataset(self) -> ChatDataset | None:
        """Return the validation prompts, or None without a validation file; raises the errors of `get_train_dataset`."""
        return self._dataset("validation_file")

    def get_tokenizer(self) -> Any:
        """Return the tokenizer, or None if there is none."""
        return self._tokenizer

    def _dataset(self, name: str) -> ChatDataset | None:
        given = self._files[name]
        if given is None:
            return None
        path = Path(given).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"{name}: {path} does not exist; give a file of conversations")
        dataset = ChatDataset(self._read(name, path), self._tokenizer, **self._arguments)
        if self._arguments["tokenize"]:
            dataset.assert_within_max_length()
        if dataset.removed_rows:
            logger.warning("%s: left out %s with more than %s tokens", path, counted(dataset.removed_rows, "prompt"), dataset.max_length)
        return dataset

    def _read(self, name: str, path: Path) -> Any:
        this = sys.modules[__name__]
        with translate_missing_packages():
            if path.is_dir():
                rows = only_split(this.load_from_disk(str(path)))
            elif path.suffix in _READERS:
                rows = this.load_dataset(_READERS[path.suffix], data_files=str(path), split="train")
            else:
                raise ValueError(f"{name}: {path} has the suffix {path.suffix!r}; the formats are: {', '.join(_READERS)}")
        if self._subsample in (None, 1):
            return rows
        return rows.shuffle(seed=_SUBSAMPLE_SEED).select(range(int(len(rows) * self._subsample)))


def _loaded(tokenizer: Any) -> Any:
    this = sys.modules[__name__]
    with translate_missing_packages():
        return this.AutoTokenizer.from_pretrained(**tokenizer) if isinstance(tokenizer, Mapping) else named_tokenizer(this, tokenizer)


def _require_share(subsample: float | None) -> None:
    if subsample is not None and not 0 < subsample <= 1:
        raise ValueError(f"subsample: is {subsample!r}; use a share above 0 and up to 1, or None for all conversations")
