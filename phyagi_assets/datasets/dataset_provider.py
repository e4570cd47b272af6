"""Configuration of datasets, and the base class of providers."""

import inspect
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_args

import torch
from torch.utils.data import Dataset

from phyagi_assets.formats.cache_folder import array_path
from phyagi_assets.formats.token_file import is_split
from phyagi_assets.formats.vocabulary import Vocabulary
from phyagi_assets.reading.numbers import plain_number

logger = logging.getLogger(__name__)

Sample = dict[str, torch.Tensor]

WEIGHTS = "a weight is above 0; to skip a dataset, leave it out"
"""Values of a weight, for error messages."""


class ConfigFields:
    """Base class of configurations: dataclasses that are created from mappings and converted to mappings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Create a configuration from a mapping, without modifying the mapping.

        Raises
        ------
        ValueError
            A key is not a field.
        """
        for name in config_dict:
            if name not in cls.__dataclass_fields__:
                raise ValueError(f"{name!r} is not a field of {cls.__name__}; the fields are: {', '.join(cls.__dataclass_fields__)}")
        return cls(**config_dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a mapping for `from_dict`, with paths as strings, so that YAML and JSON can store it."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def _check_types(self, declared: type[Any]) -> None:
        """Check the types of the fields that a class declares; its subclasses may have fields of any type."""
        for field in fields(declared):
            kinds = get_args(field.type) or (field.type,)
            value = plain_number(getattr(self, field.name))  # JSON and YAML cannot store scalars of NumPy and torch
            if isinstance(value, Path) and Path not in kinds and str in kinds:
                value = str(value)
            setattr(self, field.name, value)
            valid = getattr(field.type, "__name__", None) or str(field.type)
            self._require(field.name, Any in kinds or any(_has_type(value, kind) for kind in kinds), f"the valid type is: {valid}")

    def _require(self, name: str, holds: bool, otherwise: str) -> None:
        if not holds:
            raise ValueError(f"{name}: is {getattr(self, name)!r}, but {otherwise}")


@dataclass
class DatasetProviderConfig(ConfigFields):
    """Configuration of the token arrays of a dataset.

    Parameters
    ----------
    cache_dir
        A cache folder, instead of the ``train.npy`` and ``validation.npy`` in it; or a ``.npy`` file of training tokens. In all paths,
        ``~`` is expanded to the home folder.
    train_file, validation_file
        ``.npy`` arrays of token ids.
    validation_split
        Number of tokens at the start of the training array to use for validation, or their share if below 1; None or 0 for none. It takes
        precedence over a validation file, with a warning.
    tokenizer_file
        Folder of a tokenizer, or a ``tokenizer.pkl``; stored as text. If it does not exist, a warning is logged.
    seq_len
        Length of a sample, in tokens.
    shift_labels
        Whether labels are the next token.
    weight
        Factor on the number of samples if several datasets are concatenated; above 0.
    label
        Name of the evaluation dataset; None is saved as an empty string.
    ignore_token_id
        Label of positions that are excluded from the loss.
    seed
        Seed of all random choices.
    random_mask_prob
        Share of the samples whose marked tokens are excluded from the loss (see `LMDataset`); None if tokens carry no marks.

    Raises
    ------
    FileNotFoundError
        `cache_dir` does not exist.
    ValueError
        A value has the wrong type or is out of range, or another array is given in addition to `cache_dir`; the message names the field.

    Examples
    --------
    >>> DatasetProviderConfig(seq_len=512, weight=1.5).weight
    1.5
    """

    cache_dir: Path | None = None
    train_file: Path | None = None
    validation_file: Path | None = None
    validation_split: float | int | None = None
    tokenizer_file: str | None = None
    seq_len: int = 2048
    shift_labels: bool = False
    weight: float = 1.0
    label: str | None = None
    ignore_token_id: int = -100
    seed: int = 42
    random_mask_prob: float | None = None

    def __post_init__(self) -> None:
        self._check_types(DatasetProviderConfig)
        if self.cache_dir is not None:
            self._derive_files(Path(self.cache_dir).expanduser().absolute())
        for name in ("train_file", "validation_file"):
            setattr(self, name, existing_or_none(name, getattr(self, name)))
        existing_or_none("tokenizer_file", self.tokenizer_file)
        self.label = self.label or ""
        self.validation_split = self.validation_split or None
        self._require("seq_len", self.seq_len >= 1, "a sample has at least one token")
        self._require("weight", 0 < self.weight < math.inf, WEIGHTS)
        self._require("seed", self.seed >= 0, "a seed is 0 or more")
        if self.random_mask_prob is not None:
            self._require("random_mask_prob", 0 <= self.random_mask_prob <= 1, "use a share from 0 to 1")
        if (part := self.validation_split) is not None:
            whole = part >= 1 and float(part).is_integer()
            self._require("validation_split", 0 < part < 1 or whole, "it is a fraction below 1, or a whole number of tokens")

    def _derive_files(self, cache: Path) -> None:
        if cache.suffix == ".npy" and not cache.is_dir():
            derived = {"train_file": cache}
        else:
            derived = {f"{split}_file": array_path(cache, split) for split in ("train", "validation")}
        for name, path in derived.items():
            given = getattr(self, name)
            if given is not None and Path(given).expanduser().absolute() != path:
                raise ValueError(f"cache_dir, {name}: cache_dir implies {path}, but {name} is {given}; give only one of them")
        if not cache.exists():
            raise FileNotFoundError(f"cache_dir: {cache} does not exist; give the folder of a cache, or a .npy file")
        if not cache.is_dir() and cache.suffix != ".npy":
            raise ValueError(f"cache_dir: {cache} is neither a folder nor a .npy file")
        self.cache_dir = cache
        for name, path in derived.items():
            is_expected = name == "train_file" or getattr(self, name) is not None
            setattr(self, name, path if is_expected or is_split(path) else None)


class DatasetProvider:
    """Base class of providers of the datasets of one source; a subclass implements the three methods.

    A subclass may also set the attributes, which `get_dataset` reads.

    Attributes
    ----------
    weight : float
        Factor on the number of samples if several datasets are concatenated; by default 1.
    label : str or None
        Name of the evaluation dataset; by default None.
    vocabulary : Vocabulary or None
        Vocabulary of the ids; None, the default, if it is unknown.

    Examples
    --------
    >>> from phyagi_assets.datasets import LMDatasetProvider
    >>> issubclass(LMDatasetProvider, DatasetProvider)
    True
    """

    weight: float = 1.0
    label: str | None = None
    vocabulary: Vocabulary | None = None

    def _set_attributes(self, **values: object) -> None:
        """Set attributes of a provider, except those that a subclass defines as properties that cannot be set."""
        for name, value in values.items():
            defined = getattr(type(self), name, None)
            if not (isinstance(defined, property) and defined.fset is None):
                setattr(self, name, value)

    @classmethod
    def from_config(cls, config: DatasetProviderConfig) -> Self:
        """Create a provider from those fields of a configuration that its ``__init__`` accepts."""
        parameters = inspect.signature(cls).parameters.values()
        takes_all = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
        names = {parameter.name for parameter in parameters}
        return cls(**{name: value for name, value in config.to_dict().items() if takes_all or name in names})

    def get_train_dataset(self) -> Dataset[Sample] | None:
        """Return the training dataset, or None if there is none."""
        raise NotImplementedError(f"{type(self).__name__}: does not implement get_train_dataset")

    def get_val_dataset(self) -> Dataset[Sample] | None:
        """Return the validation dataset, or None if there is none."""
        raise NotImplementedError(f"{type(self).__name__}: does not implement get_val_dataset")

    def get_tokenizer(self) -> Any:
        """Return the tokenizer of the ids, or None if it is unknown."""
        raise NotImplementedError(f"{type(self).__name__}: does not implement get_tokenizer")


def _has_type(value: object, kind: Any) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, {float: (float, int), Path: (str, Path)}.get(kind, kind))


def existing_or_none(name: str, value: str | Path | None) -> Path | None:
    if value is None:
        return None
    path = Path(value).expanduser()
    if not is_split(path):
        logger.warning("%s: %s does not exist; continuing without it", name, path)
        return None
    return path
