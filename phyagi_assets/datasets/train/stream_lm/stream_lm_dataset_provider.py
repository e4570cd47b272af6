"""Provider of streams of token windows, the counterpart of `LMDatasetProvider`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from phyagi_assets.datasets.dataset_provider import ConfigFields, DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.datasets.train.lm.lm_dataset_provider import LMDatasetProvider
from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset import StreamLMDataset
from phyagi_assets.formats.cache_folder import array_path
from phyagi_assets.formats.cache_tokenizer import SAVED, carries_tokenizer
from phyagi_assets.formats.token_file import is_split


@dataclass
class StreamLMDatasetProviderConfig(ConfigFields):
    """Location of the token arrays, and options for streaming them.

    Parameters
    ----------
    dataset_path
        A ``.npy`` array of token ids, or a cache folder, whose ``train.npy`` is streamed.
    seq_len, shift_labels, weight, label, seed
        As in `DatasetProviderConfig`.
    shuffle
        Whether to shuffle training windows differently in each epoch; by default they are in the order of the array.
    validation_file, validation_split, tokenizer_file, ignore_token_id, random_mask_prob
        As in `DatasetProviderConfig`.

    Raises
    ------
    FileNotFoundError, ValueError
        The fields are not valid for `DatasetProviderConfig`.

    Examples
    --------
    >>> StreamLMDatasetProviderConfig.from_dict({"dataset_path": ".", "seq_len": 512, "shuffle": True}).shuffle
    True
    """

    dataset_path: str
    seq_len: int = 2048
    shift_labels: bool = False
    weight: float = 1.0
    label: str | None = None
    seed: int = 42
    shuffle: bool = field(default=False, kw_only=True)
    validation_file: Path | None = field(default=None, kw_only=True)
    validation_split: float | int | None = field(default=None, kw_only=True)
    tokenizer_file: str | None = field(default=None, kw_only=True)
    ignore_token_id: int = field(default=-100, kw_only=True)
    random_mask_prob: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        self._check_types(StreamLMDatasetProviderConfig)
        checked = self.of_windows()
        for name in ("seq_len", "weight", "label", "seed", "validation_file", "validation_split", "tokenizer_file", "random_mask_prob"):
            setattr(self, name, getattr(checked, name))
        self.dataset_path = str(Path(self.dataset_path).expanduser().absolute())

    def of_windows(self) -> DatasetProviderConfig:
        """Return the configuration of the stream's windows."""
        names = StreamLMDatasetProviderConfig.__dataclass_fields__.keys() & DatasetProviderConfig.__dataclass_fields__.keys()
        fields = {name: getattr(self, name) for name in names}
        path = Path(self.dataset_path).expanduser().absolute()
        if not path.exists():
            raise FileNotFoundError(f"dataset_path: {path} does not exist; give a .npy file or the folder of a cache")
        fields["train_file"] = array_path(path, "train") if path.is_dir() else path
        if path.is_dir() and self.tokenizer_file is None and carries_tokenizer(path):
            fields["tokenizer_file"] = path / SAVED if (path / SAVED).is_dir() else path  # never a pickle, which would be loaded
        return DatasetProviderConfig(**fields)

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Create a configuration from a mapping, without modifying the mapping.

        A mapping for `DatasetProviderConfig` is also accepted: its ``cache_dir`` or ``train_file`` becomes the `dataset_path`, and the
        ``validation.npy`` of a ``cache_dir`` becomes the `validation_file`.

        Raises
        ------
        ValueError
            A key is not a field.
        """
        given = dict(config_dict)
        cache_dir, train_file = given.pop("cache_dir", None), given.pop("train_file", None)
        if given.get("dataset_path") is None and (cache_dir or train_file) is not None:
            given["dataset_path"] = str(cache_dir or train_file)
            validation = array_path(Path(str(cache_dir)).expanduser().absolute(), "validation")
            if cache_dir is not None and given.get("validation_file") is None and is_split(validation):
                given["validation_file"] = validation
        if given.get("dataset_path") is None and given.keys() <= cls.__dataclass_fields__.keys():
            raise ValueError("dataset_path: is missing; give a .npy file or the folder of a cache")
        return super().from_dict(given)


class StreamLMDatasetProvider(DatasetProvider):
    """A provider of `StreamLMDataset` objects over token arrays.

    Parameters
    ----------
    dataset_path, seq_len, shift_labels, weight, label, seed
        As in `StreamLMDatasetProviderConfig`.
    allow_pickle, random_mask_offset
        As in `LMDatasetProvider`.
    **kwargs
        Other fields of `StreamLMDatasetProviderConfig`. Other arguments are ignored with a warning.

    Raises
    ------
    FileNotFoundError, StoreError, ValueError
        The arguments are not valid for `LMDatasetProvider`.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> provider = StreamLMDatasetProvider("tokens.npy", seq_len=4)
    >>> [window["input_ids"].tolist() for window in provider.get_train_dataset()]
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """

    def __init__(
        self,
        dataset_path: str,
        seq_len: int = 2048,
        shift_labels: bool = False,
        weight: float = 1.0,
        label: str | None = None,
        seed: int = 42,
        *,
        allow_pickle: bool = False,
        random_mask_offset: int | None = None,
        **kwargs: Any,
    ) -> None:
        own = {name: kwargs.pop(name) for name in list(kwargs) if name in StreamLMDatasetProviderConfig.__dataclass_fields__}
        self._config = StreamLMDatasetProviderConfig(dataset_path, seq_len, shift_labels, weight, label, seed, **own)
        fields = self._config.of_windows().to_dict()
        del fields["cache_dir"]
        self._of_windows = LMDatasetProvider(**fields, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset, **kwargs)
        self._set_attributes(weight=self._config.weight, label=label, vocabulary=self._of_windows.vocabulary)

    @classmethod
    def from_config(
        cls,
        config: StreamLMDatasetProviderConfig | DatasetProviderConfig,
        *,
        allow_pickle: bool = False,
        random_mask_offset: int | None = None,
    ) -> Self:
        """Create a provider from a configuration, without modifying the configuration."""
        if not isinstance(config, StreamLMDatasetProviderConfig):
            config = StreamLMDatasetProviderConfig.from_dict(config.to_dict())
        return cls(**config.to_dict(), allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_cache(cls, cache_dir: str | Path, *, allow_pickle: bool = False, random_mask_offset: int | None = None, **kwargs: Any) -> Self:
        """Create a provider from a cache folder; `kwargs` are further fields of the configuration."""
        config = StreamLMDatasetProviderConfig.from_dict({"cache_dir": cache_dir, **kwargs})
        return cls.from_config(config, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    def get_train_dataset(self) -> StreamLMDataset | None:
        """Return the windows of the training array, as a stream."""
        windows = self._of_windows.get_train_dataset()
        return self._stream(windows, shuffle=self._config.shuffle) if windows is not None else None

    def get_val_dataset(self) -> StreamLMDataset | None:
        """Return the windows of the validation array in order, or None if no validation is configured."""
        windows = self._of_windows.get_val_dataset()
        return self._stream(windows, shuffle=False) if windows is not None else None

    def get_tokenizer(self) -> Any:
        """Return the tokenizer of the cache, or None if there is none."""
        return self._of_windows.get_tokenizer()

    def _stream(self, windows: LMDataset, *, shuffle: bool) -> StreamLMDataset:
        return StreamLMDataset(self._config.label or Path(self._config.dataset_path).stem, **vars(windows), shuffle=shuffle)
