"""Prompts from files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from datasets import Dataset, DatasetDict

from phyagi_assets.datasets import ChatDatasetProvider, ChatDatasetProviderConfig, WeightedConcatChatDataset, get_dataset
from phyagi_assets.errors import TokenizerError

pytestmark = pytest.mark.torch


@pytest.fixture
def files(tmp_path: Path, conversations: dict[str, list[Any]]) -> dict[str, Path]:
    rows = Dataset.from_dict(conversations)
    rows.to_parquet(tmp_path / "train.parquet")
    rows.select([0]).to_json(tmp_path / "validation.jsonl")
    return {"train_file": tmp_path / "train.parquet", "validation_file": tmp_path / "validation.jsonl"}


COLUMNS = {"messages_column_name": "talk", "ground_truth_column_name": "truth"}


def test_provider_reads_both_files(files: dict[str, Path], tokenizer_folder: Path) -> None:
    provider = ChatDatasetProvider(**files, tokenizer=str(tokenizer_folder), **COLUMNS)
    train, validation = provider.get_train_dataset(), provider.get_val_dataset()
    assert train is not None
    assert validation is not None
    assert (len(train), len(validation), train[1]["ground_truth"]) == (3, 1, "b")
    assert train[0]["prompt_input_ids"] == provider.get_tokenizer()(train[0]["raw_prompt"], add_special_tokens=False).input_ids
    by_arguments = ChatDatasetProvider(tokenizer={"pretrained_model_name_or_path": str(tokenizer_folder)})
    assert by_arguments.get_tokenizer().get_vocab() == provider.get_tokenizer().get_vocab()
    assert by_arguments.get_train_dataset() is None
    assert by_arguments.get_val_dataset() is None


def test_configuration_has_the_defaults_of_question_files_and_drops_missing_files(caplog: pytest.LogCaptureFixture) -> None:
    config = ChatDatasetProviderConfig(train_file="none.parquet", weight=2.0)
    assert "train_file: none.parquet does not exist" in caplog.text
    assert (config.train_file, config.messages_column_name, config.ground_truth_column_name) == (None, "question", "answer")
    assert ChatDatasetProviderConfig.from_dict(config.to_dict()) == config
    provider = ChatDatasetProvider.from_config(config)
    assert (provider.weight, provider.label, provider.get_tokenizer(), provider.get_train_dataset()) == (2.0, None, None, None)


def test_share_of_the_conversations_is_drawn_once(files: dict[str, Path], tokenizer: Any) -> None:
    drawn = [ChatDatasetProvider(**files, tokenizer=tokenizer, **COLUMNS, subsample=0.7).get_train_dataset() for _ in range(2)]
    assert [len(dataset) for dataset in drawn if dataset] == [2, 2]
    assert [sample["raw_prompt"] for sample in (drawn[0][0], drawn[0][1])] == [
        sample["raw_prompt"] for sample in (drawn[1][0], drawn[1][1])
    ]


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: DatasetDict(train=rows)])
def test_saved_datasets_are_read(tmp_path: Path, conversations: dict[str, list[Any]], tokenizer: Any, wrap: Callable[[Any], Any]) -> None:
    wrap(Dataset.from_dict(conversations)).save_to_disk(tmp_path / "saved")
    config = ChatDatasetProviderConfig(train_file=tmp_path / "saved", tokenizer=tokenizer, **COLUMNS, subsample=0.7)
    train = ChatDatasetProvider.from_config(config).get_train_dataset()
    assert train is not None
    assert len(train) == 2


def test_prompts_that_are_left_out_are_counted(files: dict[str, Path], tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    limits = {"max_length": 60, "filter_max_length": True}
    with caplog.at_level(logging.WARNING):
        train = ChatDatasetProvider(**files, tokenizer=tokenizer, **COLUMNS, **limits).get_train_dataset()
    assert train is not None
    assert len(train) == 2
    assert "left out 1 prompt with more than 60 tokens" in caplog.text
    with pytest.raises(ValueError, match="the longest prompt has"):
        ChatDatasetProvider(**files, tokenizer=tokenizer, **COLUMNS, max_length=60).get_train_dataset()


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"weight": 0.0}, "weight: is 0.0"),
        ({"max_length": 0}, "max_length: is 0"),
        ({"max_length": "512"}, "max_length: is '512', but the valid type is: int"),
        ({"tokenize": "False"}, "tokenize: is 'False', but the valid type is: bool"),
        ({"subsample": 1.5}, "subsample: is 1.5; use a share above 0"),
        ({"rows": 3}, "'rows' is not a field of ChatDatasetProviderConfig"),
    ],
)
def test_invalid_configuration_raises(fields: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        ChatDatasetProviderConfig.from_dict(fields)


def test_file_that_cannot_be_read_raises(tmp_path: Path, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileNotFoundError, match="neither a `Dataset` directory nor a `DatasetDict` directory"):
        ChatDatasetProvider(train_file=tmp_path, tokenizer=tokenizer).get_train_dataset()
    with pytest.raises(FileNotFoundError, match=r"train_file: none\.parquet does not exist"):
        ChatDatasetProvider("none.parquet", tokenizer=tokenizer).get_train_dataset()
    (tmp_path / "talk.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"has the suffix '\.csv'; the formats are: \.parquet, \.json, \.jsonl"):
        ChatDatasetProvider(tmp_path / "talk.csv", tokenizer=tokenizer).get_train_dataset()
    with pytest.raises(TokenizerError, match="cannot be loaded"):
        ChatDatasetProvider(tokenizer=str(tmp_path / "none"))
    ChatDatasetProvider(rows=3)
    assert "ignoring the arguments rows" in caplog.text


def test_datasets_of_several_configurations_are_concatenated_with_their_labels(files: dict[str, Path], tokenizer: Any) -> None:
    config = {**files, "tokenizer": tokenizer, **COLUMNS}
    both = [{**config, "label": "math", "weight": 2.0}, config]
    train, evaluation = get_dataset(both, dataset_concat="random_chat", dataset_provider="chat")
    assert isinstance(train, WeightedConcatChatDataset)
    assert [sample["dataset_name"] for sample in train] == ["math"] * 6 + ["1"] * 3
    assert evaluation is not None
    assert {label: len(dataset) for label, dataset in evaluation.items()} == {"math": 1, "1": 1}


def test_functions_of_other_packages_can_be_replaced_in_the_module(files: dict[str, Path], tokenizer: Any) -> None:
    module = ChatDatasetProvider.__module__
    with mock.patch(f"{module}.AutoTokenizer.from_pretrained", return_value=tokenizer) as load:
        for name in ("named", {"pretrained_model_name_or_path": "named"}):
            assert ChatDatasetProvider(tokenizer=name).get_tokenizer() is tokenizer
    assert (load.call_args_list[0].args, load.call_args_list[1].kwargs) == (("named",), {"pretrained_model_name_or_path": "named"})
    rows = Dataset.from_dict({"talk": ["Hi"], "truth": ["a"]})
    with mock.patch(f"{module}.load_dataset", return_value=rows) as load:
        train = ChatDatasetProvider(**files, tokenizer=tokenizer, **COLUMNS).get_train_dataset()
    assert (len(train), load.call_args.kwargs["data_files"]) == (1, str(files["train_file"]))
