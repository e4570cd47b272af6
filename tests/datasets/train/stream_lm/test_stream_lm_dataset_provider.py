"""Streams over caches and arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phyagi_assets.datasets import (
    DatasetProviderConfig,
    LMDatasetProvider,
    StreamLMDatasetProvider,
    StreamLMDatasetProviderConfig,
)
from phyagi_assets.errors import StoreError
from tests.datasets.caches import library_cache, reference_cache, word_tokenizer

IDS = np.arange(100, dtype=np.uint16) % 40


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return library_cache(tmp_path / "cache", word_tokenizer(40), train=IDS, validation=IDS[50:])


def _rows(dataset: Any) -> list[str]:
    return [str(sample) for sample in dataset]


@pytest.mark.parametrize("keys", [{}, {"seq_len": 8, "shift_labels": True}, {"seq_len": 3, "random_mask_prob": 0.5, "seed": 3}])
def test_stream_provider_streams_the_windows_of_the_window_provider(cache: Path, keys: dict[str, Any]) -> None:
    windows = LMDatasetProvider.from_cache(cache, **keys)
    plain = DatasetProviderConfig(cache_dir=cache, **keys)
    for provider in (StreamLMDatasetProvider.from_cache(str(cache), **keys), StreamLMDatasetProvider.from_config(plain)):
        assert _rows(provider.get_train_dataset()) == _rows(windows.get_train_dataset())
        assert _rows(provider.get_val_dataset()) == _rows(windows.get_val_dataset())
        assert provider.get_tokenizer().convert_ids_to_tokens(39) == "w39"
        assert provider.vocabulary is not None
        assert (provider.vocabulary.size, provider.vocabulary.eos_token_id) == (41, 40)


def test_only_training_windows_are_shuffled(cache: Path) -> None:
    provider = StreamLMDatasetProvider.from_config(
        StreamLMDatasetProviderConfig(str(cache / "train.npy"), 4, validation_file=cache / "validation.npy", shuffle=True)
    )
    windows = LMDatasetProvider.from_cache(cache, seq_len=4)
    train = _rows(provider.get_train_dataset())
    assert sorted(train) == sorted(_rows(windows.get_train_dataset()))
    assert train != _rows(windows.get_train_dataset())
    assert _rows(provider.get_val_dataset()) == _rows(windows.get_val_dataset())


def test_configuration_of_a_stream_has_additional_fields() -> None:
    config = StreamLMDatasetProviderConfig.from_dict({"dataset_path": ".", "seq_len": 4, "shuffle": True})
    assert (config.dataset_path, config.shuffle, config.seed) == (str(Path.cwd()), True, 42)
    assert StreamLMDatasetProviderConfig.from_dict(config.to_dict()) == config
    assert not StreamLMDatasetProviderConfig(".").shuffle
    with pytest.raises(ValueError, match="shuffle: is 1"):
        StreamLMDatasetProviderConfig.from_dict({"dataset_path": ".", "shuffle": 1})


def test_cache_without_validation_has_none_and_its_pickled_tokenizer_needs_permission(tmp_path: Path) -> None:
    folder = reference_cache(tmp_path / "cache", word_tokenizer(40), train=IDS)
    assert StreamLMDatasetProvider.from_cache(folder).get_val_dataset() is None
    with pytest.raises(StoreError, match="pass allow_pickle=True"):
        StreamLMDatasetProvider.from_cache(folder).get_tokenizer()
    assert StreamLMDatasetProvider.from_cache(folder, allow_pickle=True).get_tokenizer().convert_ids_to_tokens(39) == "w39"
