"""Providers over caches and arrays."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phyagi_assets.datasets import DatasetProviderConfig, LMDataset, LMDatasetProvider
from phyagi_assets.errors import StoreError
from phyagi_assets.steps.step import Workspace
from tests.datasets.caches import library_cache, pipeline_cache, reference_cache, word_tokenizer

IDS = np.arange(100, dtype=np.uint16) % 40


def _same(one: LMDataset | None, other: LMDataset) -> bool:
    assert one is not None
    return str(list(one)) == str(list(other))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return library_cache(tmp_path / "cache", word_tokenizer(40), train=IDS, validation=IDS[50:])


@pytest.mark.parametrize("as_text", [False, True])
def test_cache_provides_its_windows_and_its_tokenizer(cache: Path, as_text: bool) -> None:
    folder = str(cache) if as_text else cache
    config = DatasetProviderConfig(cache_dir=cache, seq_len=8, shift_labels=True)
    for provider in (LMDatasetProvider.from_config(config), LMDatasetProvider.from_cache(folder, seq_len=8, shift_labels=True)):
        assert _same(provider.get_train_dataset(), LMDataset(IDS, seq_len=8, shift_labels=True))
        assert _same(provider.get_val_dataset(), LMDataset(IDS[50:], seq_len=8, shift_labels=True))
        assert provider.get_tokenizer().convert_ids_to_tokens(39) == "w39"
        assert provider.vocabulary is not None
        assert (provider.vocabulary.size, provider.vocabulary.eos_token_id) == (41, 40)


def test_arrays_without_a_cache_are_read_and_have_no_tokenizer(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IDS)
    provider = LMDatasetProvider.from_config(DatasetProviderConfig(train_file=tmp_path / "a.npy", seq_len=8))
    assert _same(provider.get_train_dataset(), LMDataset(IDS, seq_len=8))
    assert provider.get_val_dataset() is None
    assert provider.vocabulary is None
    assert provider.get_tokenizer() is None
    evaluating = LMDatasetProvider.from_config(DatasetProviderConfig(validation_file=tmp_path / "a.npy", seq_len=8))
    assert evaluating.get_train_dataset() is None
    assert _same(evaluating.get_val_dataset(), LMDataset(IDS, seq_len=8))


def test_labels_file_of_an_array_is_read_and_split_with_it(cache: Path) -> None:
    labels = np.where(IDS < 9, -100, IDS.astype(np.int64))
    np.save(cache / "train_labels.npy", labels)
    (cache / "validation.npy").unlink()
    provider = LMDatasetProvider.from_cache(cache, seq_len=8, validation_split=20)
    assert _same(provider.get_train_dataset(), LMDataset(IDS[20:], labels[20:], seq_len=8))
    assert _same(provider.get_val_dataset(), LMDataset(IDS[:20], labels[:20], seq_len=8))
    np.save(cache / "train_labels.npy", labels[1:])
    with pytest.raises(StoreError, match=r"train\.npy: has 100 tokens, but train_labels\.npy beside it has 99"):
        LMDatasetProvider.from_cache(cache)


@pytest.mark.parametrize(("part", "taken"), [(0.25, 25), (30, 30), (30.0, 30), (0.5, 50)])
def test_part_of_the_training_array_is_the_validation_dataset_without_a_file(tmp_path: Path, part: float, taken: int) -> None:
    np.save(tmp_path / "train.npy", IDS)
    provider = LMDatasetProvider.from_config(DatasetProviderConfig(train_file=tmp_path / "train.npy", seq_len=4, validation_split=part))
    assert _same(provider.get_train_dataset(), LMDataset(IDS[taken:], seq_len=4))
    assert _same(provider.get_val_dataset(), LMDataset(IDS[:taken], seq_len=4))


def test_validation_split_takes_precedence_over_a_file_with_a_warning(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(cache / "train_labels.npy", IDS)
    provider = LMDatasetProvider.from_cache(cache, seq_len=8, validation_split=0.5)
    assert _same(provider.get_train_dataset(), LMDataset(IDS[50:], seq_len=8))
    assert _same(provider.get_val_dataset(), LMDataset(IDS[:50], seq_len=8))
    assert f"validation_split: 0.5 of the training tokens are used for validation, and {cache}/validation.npy is ignored" in caplog.text


@pytest.mark.parametrize("part", [100, 101])
def test_validation_split_of_the_whole_training_array_raises(tmp_path: Path, part: int) -> None:
    np.save(tmp_path / "train.npy", IDS)
    with pytest.raises(ValueError, match=f"validation_split: {part} of 100 tokens leave nothing to train on"):
        LMDatasetProvider.from_config(DatasetProviderConfig(train_file=tmp_path / "train.npy", validation_split=part))


def test_known_documents_are_not_cut_for_validation(workspace: Workspace) -> None:
    texts = [f"Document {i} {'has many words ' * i}" for i in range(20)]
    provider = LMDatasetProvider.from_cache(pipeline_cache(workspace, "news", texts), seq_len=1, validation_split=0.3)
    validation = provider.get_val_dataset()
    assert validation is not None
    tokenizer = provider.get_tokenizer()
    documents = [tokenizer.decode(np.asarray(of.input_ids)).split("<|endoftext|>") for of in (provider.get_train_dataset(), validation)]
    assert [*documents[1][:-1], *documents[0][:-1]] == texts
    assert documents[0][-1] == documents[1][-1] == ""
    assert 0.2 < len(validation) / (len(validation) + len(provider.get_train_dataset())) < 0.4


def test_pickled_tokenizer_of_a_cache_needs_permission_unless_it_is_named(tmp_path: Path) -> None:
    folder = reference_cache(tmp_path / "cache", word_tokenizer(40), train=IDS)
    with pytest.raises(StoreError, match=r"tokenizer\.pkl: is a pickle.* pass allow_pickle=True"):
        LMDatasetProvider.from_cache(folder).get_tokenizer()
    by_folder = LMDatasetProvider.from_cache(folder, allow_pickle=True)
    by_file = DatasetProviderConfig(train_file=folder / "train.npy", tokenizer_file=folder / "tokenizer.pkl")
    for provider in (by_folder, LMDatasetProvider.from_config(by_file)):
        assert provider.get_tokenizer().convert_ids_to_tokens(39) == "w39"


def test_array_that_does_not_match_its_cache_raises(cache: Path) -> None:
    np.save(cache / "train.npy", IDS[:50])
    with pytest.raises(StoreError, match=r"train\.npy: has .* bytes where .* were written"):
        LMDatasetProvider.from_cache(cache)


def test_mark_within_the_ids_of_the_tokenizer_raises(cache: Path) -> None:
    for offset in (1, 40):
        with pytest.raises(ValueError, match=f"random_mask_offset: is {offset}, but the tokenizer has ids up to 40"):
            LMDatasetProvider.from_cache(cache, random_mask_prob=0.5, random_mask_offset=offset)
    dataset = LMDatasetProvider.from_cache(cache, random_mask_prob=0.5, random_mask_offset=41, seq_len=8).get_train_dataset()
    assert (dataset.random_mask_prob, dataset.random_mask_offset, dataset.seed) == (0.5, 41, 42)


def test_unknown_arguments_are_ignored_with_a_warning(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    fields: dict[str, Any] = {"seqlen": 3, "packing": True}
    assert LMDatasetProvider.from_cache(cache, **fields).get_train_dataset() is not None
    assert "seqlen, packing: ignored, because LMDatasetProvider does not accept them" in caplog.text


def test_datasets_of_a_provider_are_pickled_without_tokens(cache: Path) -> None:
    dataset = LMDatasetProvider.from_cache(cache, seq_len=8).get_train_dataset()
    assert isinstance(dataset.input_ids, np.memmap)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[3]["input_ids"], dataset[3]["input_ids"])
