"""Configurations of datasets."""

import dataclasses
import json
import logging
from fractions import Fraction
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import (
    ChatDatasetProvider,
    ChatDatasetProviderConfig,
    DatasetProvider,
    DatasetProviderConfig,
    LMDatasetProvider,
    LMProviderConfig,
    StreamLMDatasetProvider,
    StreamLMDatasetProviderConfig,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cache").mkdir()
    for split in ("train", "validation"):
        np.save(tmp_path / "cache" / f"{split}.npy", np.arange(50, dtype=np.uint16))
    return tmp_path / "cache"


def test_configuration_prints_as_in_the_tutorial(cache: Path) -> None:
    config = DatasetProviderConfig.from_dict({"cache_dir": "cache", "seq_len": 512, "weight": 1.5})
    assert repr(config) == (
        f"DatasetProviderConfig(cache_dir=PosixPath('{cache}'), train_file=PosixPath('{cache}/train.npy'), "
        f"validation_file=PosixPath('{cache}/validation.npy'), validation_split=None, tokenizer_file=None, seq_len=512, "
        "shift_labels=False, weight=1.5, label='', ignore_token_id=-100, seed=42, random_mask_prob=None)"
    )
    assert LMProviderConfig is DatasetProviderConfig


def test_configuration_has_a_default_for_every_field() -> None:
    assert DatasetProviderConfig().to_dict() == {
        "cache_dir": None,
        "train_file": None,
        "validation_file": None,
        "validation_split": None,
        "tokenizer_file": None,
        "seq_len": 2048,
        "shift_labels": False,
        "weight": 1.0,
        "label": "",
        "ignore_token_id": -100,
        "seed": 42,
        "random_mask_prob": None,
    }


def test_missing_file_is_skipped_with_a_warning(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    (cache / "validation.npy").unlink()
    with caplog.at_level(logging.WARNING):
        LMDatasetProvider.from_cache(cache, seq_len=4)
        assert not caplog.text  # a cache need not have a validation split
        config = DatasetProviderConfig(cache_dir=cache, validation_file=cache / "validation.npy")
        other = DatasetProviderConfig(train_file=cache / "train.npy", tokenizer_file="none.pkl")
    assert (config.train_file, config.validation_file, other.tokenizer_file) == (cache / "train.npy", None, "none.pkl")
    assert f"validation_file: {cache}/validation.npy does not exist" in caplog.text
    assert "tokenizer_file: none.pkl does not exist" in caplog.text


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["train_file", "validation_file"])
def test_cache_dir_with_a_file_of_another_folder_raises(name: str) -> None:
    with pytest.raises(ValueError, match=f"cache_dir, {name}: cache_dir implies"):
        DatasetProviderConfig.from_dict({"cache_dir": "cache", name: "elsewhere.npy"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seq_len", 0),
        ("seq_len", "512"),
        ("seq_len", 512.0),
        ("seq_len", True),
        ("weight", 0),
        ("weight", -0.1),
        ("weight", float("nan")),
        ("weight", float("inf")),
        ("weight", "1e-1"),
        ("weight", None),
        ("seed", -1),
        ("random_mask_prob", 1.1),
        ("random_mask_prob", "half"),
        ("validation_split", 1.5),
        ("validation_split", -1),
        ("validation_split", float("nan")),
        ("validation_split", float("inf")),
        ("validation_split", True),
        ("shift_labels", "no"),
        ("ignore_token_id", None),
        ("label", 3),
        ("train_file", ["train.npy"]),
        ("cache_dir", 5),
    ],
)
def test_invalid_value_raises_an_error_that_names_the_field(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: is "):
        DatasetProviderConfig.from_dict({name: value})


@pytest.mark.parametrize("scalar", [np.float32, torch.tensor])
def test_scalars_are_accepted_as_the_numbers_that_they_print(scalar: Any) -> None:
    config = DatasetProviderConfig(seq_len=np.int64(5), shift_labels=np.True_, weight=scalar(0.1), validation_split=scalar(0.7))  # type: ignore[arg-type]
    assert config == DatasetProviderConfig(seq_len=5, shift_labels=True, weight=0.1, validation_split=0.7)
    assert ChatDatasetProviderConfig(weight=scalar(0.1)).weight == 0.1
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


@pytest.mark.parametrize("kind", [DatasetProviderConfig, StreamLMDatasetProviderConfig])
def test_unknown_key_raises_an_error_that_lists_the_fields(kind: Any) -> None:
    with pytest.raises(ValueError, match=rf"'seqlen' is not a field of {kind.__name__}; the fields are: .*seq_len, .*mask_prob"):
        kind.from_dict({"seqlen": 3})


configs = st.fixed_dictionaries(
    {},
    optional={
        "seq_len": st.integers(1, 99),
        "weight": st.floats(0.01, 9) | st.integers(1, 9),
        "label": st.text(),
        "seed": st.integers(0, 2**40),
        "random_mask_prob": st.none() | st.floats(0, 1),
        "validation_split": st.none() | st.floats(0.01, 0.99) | st.integers(1, 10**9),
        "shift_labels": st.booleans(),
    },
)


@given(fields=configs)
def test_configuration_round_trips_through_json_and_yaml(fields: dict[str, Any]) -> None:
    config = DatasetProviderConfig.from_dict(fields)
    assert DatasetProviderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert DatasetProviderConfig.from_dict(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


@pytest.mark.usefixtures("cache")
def test_configuration_of_a_cache_round_trips_without_modifying_the_mapping() -> None:
    mapping = {"cache_dir": "cache", "weight": 2}
    config = DatasetProviderConfig.from_dict(mapping)
    assert mapping == {"cache_dir": "cache", "weight": 2}
    assert DatasetProviderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert DatasetProviderConfig.from_dict(config.to_dict()) == config


def test_configuration_can_be_changed_or_copied_and_is_checked_when_it_is_used(cache: Path) -> None:
    config = DatasetProviderConfig(cache_dir=cache, label="news")
    copied = dataclasses.replace(config, seq_len=7)
    config.seq_len = 7
    assert config == copied == DatasetProviderConfig(cache_dir=cache, seq_len=7, label="news")
    assert LMDatasetProvider.from_config(config).get_train_dataset().seq_len == 7  # type: ignore[union-attr]
    config.seq_len = 0
    with pytest.raises(ValueError, match="seq_len: is 0"):
        LMDatasetProvider.from_config(config)
    config.train_file = cache / "validation.npy"
    with pytest.raises(ValueError, match="cache_dir, train_file: cache_dir implies"):
        LMDatasetProvider.from_config(config)


@pytest.mark.parametrize("kind", [DatasetProviderConfig, StreamLMDatasetProviderConfig, ChatDatasetProviderConfig])
def test_subclass_of_a_configuration_may_have_fields_of_any_type(kind: Any, cache: Path) -> None:
    @dataclasses.dataclass
    class Own(kind):  # type: ignore[misc]
        notes: list[str] = dataclasses.field(default_factory=list, kw_only=True)

    given = {"dataset_path": str(cache)} if kind is StreamLMDatasetProviderConfig else {}
    assert (Own(**given).notes, Own.from_dict({**given, "notes": ["a"]}).to_dict()["notes"]) == ([], ["a"])


@pytest.mark.parametrize("provider", [LMDatasetProvider, StreamLMDatasetProvider])
def test_every_provider_has_a_weight_and_a_label(provider: Any, cache: Path) -> None:
    made = provider.from_config(DatasetProviderConfig(cache_dir=cache, weight=0.5, label="news"))
    assert isinstance(made, DatasetProvider)
    assert (made.weight, made.label, made.vocabulary) == (0.5, "news", None)
    assert Fraction(str(made.weight)) == Fraction(1, 2)


class _Properties:
    weight = property(lambda _: 3.0)
    label = property(lambda of: of.given, lambda of, value: setattr(of, "given", f"own {value}"))
    vocabulary = property(lambda _: None)


@pytest.mark.parametrize("provider", [LMDatasetProvider, StreamLMDatasetProvider, ChatDatasetProvider])
def test_subclass_may_define_the_attributes_as_properties_or_set_them(provider: Any, cache: Path) -> None:
    arguments = {} if provider is ChatDatasetProvider else {next(iter(signature(provider).parameters)): cache / "train.npy", "weight": 0.5}
    arguments["label"] = "one"
    own, plain = type("Own", (_Properties, provider), {})(**arguments), provider(**arguments)
    plain.weight, plain.label = 3.0, "own one"
    assert (own.weight, own.label, own.vocabulary) == (plain.weight, plain.label, plain.vocabulary) == (3.0, "own one", None)


def test_cache_can_be_one_file_or_in_the_home_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = DatasetProviderConfig(cache / "train.npy")
    assert (one.cache_dir, one.train_file, one.validation_file) == (cache / "train.npy", cache / "train.npy", None)
    assert DatasetProviderConfig.from_dict(one.to_dict()) == one
    monkeypatch.setenv("HOME", str(cache.parent))
    assert DatasetProviderConfig("~/cache").train_file == cache / "train.npy"  # type: ignore[arg-type]
    assert DatasetProviderConfig(train_file="~/cache/train.npy").train_file == cache / "train.npy"  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"cache_dir: .*nowhere does not exist"):
        DatasetProviderConfig.from_dict({"cache_dir": "nowhere"})


class _Own(DatasetProvider):
    def __init__(self, seq_len: int = 1) -> None:
        super().__init__()
        self.length = seq_len
        self.weight = 2.0

    def get_train_dataset(self) -> None:
        return None

    def get_val_dataset(self) -> None:
        return None

    def get_tokenizer(self) -> None:
        return None


@pytest.mark.parametrize("name", ["get_train_dataset", "get_val_dataset", "get_tokenizer"])
def test_method_that_a_provider_does_not_implement_raises(name: str) -> None:
    partial = type("Partial", (DatasetProvider,), {})()
    with pytest.raises(NotImplementedError, match=f"Partial: does not implement {name}"):
        getattr(partial, name)()


def test_label_of_a_provider_is_none_unless_it_is_given(cache: Path) -> None:
    made = (LMDatasetProvider(cache_dir=cache), StreamLMDatasetProvider(str(cache)), ChatDatasetProvider())
    assert [provider.label for provider in made] == [None, None, None]


def test_custom_provider_needs_three_methods_and_receives_the_fields_it_accepts() -> None:
    assert (_Own().length, _Own.from_config(DatasetProviderConfig(seq_len=7)).length) == (1, 7)
