"""The streaming form of `LMDatasetProvider`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from phyagi_assets.datasets.dataset_provider import DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.datasets.train.lm.lm_dataset_provider import LMDatasetProvider
from phyagi_assets.datasets.train.stream_lm.stream_lm_dataset import StreamLMDataset
from phyagi_assets.datasets.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class StreamLMDatasetProviderConfig(DatasetProviderConfig):
    """A `DatasetProviderConfig`, and how it is streamed.

    Parameters
    ----------
    shuffle
        Whether training windows come in another order each epoch, or as they stand in the array.

    Examples
    --------
    >>> StreamLMDatasetProviderConfig(seq_len=512, shuffle=True).shuffle
    True
    """

    shuffle: bool = False


class StreamLMDatasetProvider(DatasetProvider):
    """Gives `StreamLMDataset`\\ s over the token arrays that a configuration names.

    Parameters
    ----------
    config
        Where the arrays are, and how to read them.
    allow_pickle, random_mask_offset
        As `LMDatasetProvider` takes them.

    Raises
    ------
    StoreError, ValueError
        As `LMDatasetProvider` does.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> provider = StreamLMDatasetProvider(StreamLMDatasetProviderConfig(train_file="tokens.npy", seq_len=4))
    >>> [window["input_ids"].tolist() for window in provider.get_train_dataset()]
    [[0, 1, 2, 3], [4, 5, 6, 7]]
    """

    def __init__(self, config: StreamLMDatasetProviderConfig, *, allow_pickle: bool = False, random_mask_offset: int = 32768) -> None:
        self._config = config
        self._of_windows = LMDatasetProvider(config, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_config(cls, config: DatasetProviderConfig, *, allow_pickle: bool = False, random_mask_offset: int = 32768) -> Self:
        """Make a provider of a configuration, which is left as it is."""
        if not isinstance(config, StreamLMDatasetProviderConfig):
            config = StreamLMDatasetProviderConfig.from_dict(config.to_dict())
        return cls(config, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_cache(cls, cache_dir: str | Path, *, allow_pickle: bool = False, random_mask_offset: int = 32768, **config: Any) -> Self:
        """Make a provider of a cache folder; `config` are the other fields of the configuration."""
        fields = StreamLMDatasetProviderConfig.from_dict({"cache_dir": Path(cache_dir), **config})
        return cls(fields, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    def get_train_dataset(self) -> StreamLMDataset:
        """The windows of the training array, as a stream.

        Raises
        ------
        ValueError
            The configuration names none that is there.
        """
        return _stream(self._of_windows.get_train_dataset(), shuffle=self._config.shuffle)

    def get_val_dataset(self) -> StreamLMDataset | None:
        """The windows of the validation array, as they stand in it; None where there is none."""
        windows = self._of_windows.get_val_dataset()
        return _stream(windows, shuffle=False) if windows is not None else None

    def get_tokenizer(self) -> Any:
        """The tokenizer that the cache carries; errors are those of `LMDatasetProvider.get_tokenizer`."""
        return self._of_windows.get_tokenizer()

    @property
    def vocabulary(self) -> Vocabulary | None:
        """As `LMDatasetProvider.vocabulary`."""
        return self._of_windows.vocabulary

    @property
    def weight(self) -> float:
        """Factor on the number of samples where several datasets are put together."""
        return self._config.weight

    @property
    def label(self) -> str:
        """Name of the evaluation dataset."""
        return self._config.label


def _stream(windows: LMDataset, *, shuffle: bool) -> StreamLMDataset:
    return StreamLMDataset(
        windows.input_ids,
        labels=windows.labels,
        seq_len=windows.seq_len,
        shift_labels=windows.shift_labels,
        ignore_token_id=windows.ignore_token_id,
        random_mask_prob=windows.random_mask_prob,
        random_mask_offset=windows.random_mask_offset,
        seed=windows.seed,
        shuffle=shuffle,
    )
