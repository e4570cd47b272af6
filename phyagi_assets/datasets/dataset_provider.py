"""What a dataset is made from, and the interface of whatever makes it."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from phyagi_assets.datasets.vocabulary import Vocabulary

logger = logging.getLogger(__name__)

Sample = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class DatasetProviderConfig:
    """Where the token arrays are and how to read them.

    Parameters
    ----------
    cache_dir
        A cache folder; it stands for the files in it, so it is given without them.
    train_file, validation_file
        1-D ``.npy`` arrays of token ids.
    validation_split
        A part of the training array to validate on where there is no validation file: a fraction below 1, or a number of tokens.
    tokenizer_file
        A tokenizer's folder, or a ``tokenizer.pkl``.
    seq_len
        Tokens in a sample.
    shift_labels
        Whether labels are the next token.
    weight
        Factor on the number of samples where several datasets are put together.
    label
        Name of the evaluation dataset.
    ignore_token_id
        What labels hold where nothing is to be learnt.
    seed
        Of whatever is random.
    random_mask_prob
        Share of the samples whose marked tokens are not to be learnt (see `LMDataset`); None where tokens carry no marks.

    Raises
    ------
    ValueError
        A value is of another type or out of its range, or `cache_dir` is given together with a file; the message names the field.

    Examples
    --------
    >>> DatasetProviderConfig(seq_len=512, weight=1.5).weight
    1.5
    """

    cache_dir: Path | None = None
    train_file: Path | None = None
    validation_file: Path | None = None
    validation_split: float | int | None = None
    tokenizer_file: Path | None = None
    seq_len: int = 2048
    shift_labels: bool = False
    weight: float = 1.0
    label: str = ""
    ignore_token_id: int = -100
    seed: int = 42
    random_mask_prob: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            self._check_kind(field.name, field.type)
        if self.cache_dir is not None:
            self._derive_files(Path(self.cache_dir).absolute())
        for name in ("train_file", "validation_file", "tokenizer_file"):
            self._set(name, _existing(name, getattr(self, name)))
        self._require("seq_len", self.seq_len >= 1, "a sample has at least one token")
        self._require("weight", 0 <= self.weight < math.inf, "a weight is 0 or more")
        self._require("seed", self.seed >= 0, "a seed is 0 or more")
        if self.random_mask_prob is not None:
            self._require("random_mask_prob", 0 <= self.random_mask_prob <= 1, "a share lies between 0 and 1")
        if (part := self.validation_split) is not None:
            whole = part >= 1 and float(part).is_integer()
            self._require("validation_split", 0 < part < 1 or whole, "it is a fraction below 1, or a whole number of tokens")

    def _derive_files(self, folder: Path) -> None:
        derived = {"train_file": folder / "train.npy", "validation_file": folder / "validation.npy"}
        for name in (*derived, "tokenizer_file"):
            given = getattr(self, name)
            if given is not None and Path(given).absolute() != derived.get(name):
                raise ValueError(f"{name}: is given together with cache_dir, which stands for the files in it; give one or the other")
        self._set("cache_dir", folder)
        for name, path in derived.items():
            self._set(name, path)

    def _check_kind(self, name: str, kind: Any) -> None:
        value = getattr(self, name)
        if isinstance(value, np.generic):  # such as JSON and YAML do not hold
            value = value.item()
            self._set(name, value)
        wanted = getattr(kind, "__name__", None) or str(kind)
        self._require(name, any(_is_a(value, one) for one in get_args(kind) or (kind,)), f"what it takes is: {wanted}")

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _require(self, name: str, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ValueError(f"{name}: is {getattr(self, name)!r}, but {otherwise}")

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> Self:
        """Make one of a mapping, which is left as it is.

        Raises
        ------
        ValueError
            A key is none of the fields.
        """
        known = [field.name for field in fields(cls)]
        for name in config:
            if name not in known:
                raise ValueError(f"{name!r} is no field of {cls.__name__}; the fields are: {', '.join(known)}")
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """The fields, with paths as strings: what `from_dict` takes and YAML and JSON can hold."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


class DatasetProvider(ABC):
    """Gives the datasets of one source: what a provider of one's own has to have.

    Examples
    --------
    >>> from phyagi_assets.datasets import LMDatasetProvider
    >>> issubclass(LMDatasetProvider, DatasetProvider), sorted(DatasetProvider.__abstractmethods__)
    (True, ['from_config', 'get_tokenizer', 'get_train_dataset', 'get_val_dataset', 'label', 'weight'])
    """

    @classmethod
    @abstractmethod
    def from_config(cls, config: DatasetProviderConfig) -> Self:
        """Make a provider of a configuration."""

    @abstractmethod
    def get_train_dataset(self) -> Dataset[Sample]:
        """The dataset to train on."""

    @abstractmethod
    def get_val_dataset(self) -> Dataset[Sample] | None:
        """The dataset to validate on; None where there is none."""

    @abstractmethod
    def get_tokenizer(self) -> Any:
        """The tokenizer that the tokens are of."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What the ids stand for; None where that is not known."""
        return None

    @property
    @abstractmethod
    def weight(self) -> float:
        """Factor on the number of samples where several datasets are put together."""

    @property
    @abstractmethod
    def label(self) -> str:
        """Name of the evaluation dataset."""


def _is_a(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, {float: (float, int), Path: (str, Path)}.get(kind, kind))


def _existing(name: str, value: str | Path | None) -> Path | None:
    if value is None:
        return None
    path = Path(value)
    if not path.exists():
        logger.warning("%s: %s is not there; going on without it", name, path)
        return None
    return path
