"""Prompts of conversations."""

import json
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from phyagi_assets.datasets import ChatDataset

pytestmark = pytest.mark.torch


@pytest.fixture
def rows(conversations: dict[str, list[Any]]) -> Any:
    return Dataset.from_dict(conversations)


@pytest.mark.parametrize("tokenize", [True, False])
def test_sample_is_the_prompt_as_transformers_encodes_it(rows: Any, tokenizer: Any, tokenize: bool) -> None:
    dataset = ChatDataset(rows, tokenizer, "talk", "truth", tokenize=tokenize)
    assert len(dataset) == 3
    for index, sample in enumerate(dataset[i] for i in range(3)):
        messages = rows[index]["talk"]
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        assert sample["prompt_input_ids"] == expected
        assert isinstance(sample["prompt_input_ids"], list)
        assert sample["raw_prompt"] == tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        assert (sample["index"], sample["messages"], sample["ground_truth"]) == (index, messages, rows[index]["truth"])
    assert dataset[-1]["index"] == 2


def test_longer_prompts_are_left_out_or_raise(rows: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    kept = ChatDataset(rows, tokenizer, "talk", "truth", max_length=60, filter_max_length=True)
    kept.assert_within_max_length()
    assert (len(kept), kept.removed_rows) == (2, 1)
    whole = ChatDataset(rows, tokenizer, "talk", "truth", max_length=60)
    with pytest.raises(ValueError, match=r"the longest prompt has \d+ tokens, but max_length is 60; set filter_max_length"):
        whole.assert_within_max_length()
    with pytest.raises(ValueError, match=r"prompt 2 has \d+ tokens, but max_length is 60"):
        whole[2]
    none = ChatDataset(rows, tokenizer, "talk", max_length=3, filter_max_length=True)
    none.assert_within_max_length()
    assert (len(none), none.removed_rows) == (0, 3)
    assert "all prompts have more than 3 tokens" in caplog.text


def test_dataset_with_one_split_is_that_split_and_several_raise(rows: Any, tokenizer: Any) -> None:
    assert len(ChatDataset(DatasetDict(train=rows), tokenizer, "talk")) == 3
    with pytest.raises(ValueError, match=r"dataset: has 2 splits \(train, test\); give one of them"):
        ChatDataset(DatasetDict(train=rows, test=rows), tokenizer, "talk")


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"messages_column_name": "messages"}, "messages: is not a column of the dataset; the columns are: talk, truth"),
        ({"ground_truth_column_name": "answer"}, "answer: is not a column of the dataset"),
        ({"tokenizer": None}, "tokenizer: is None"),
        ({"tokenize": False, "max_length": 5, "filter_max_length": True}, "filter_max_length: needs the lengths of all prompts"),
        ({"tokenize": "False"}, "tokenize: is 'False'; use True or False"),
    ],
)
def test_invalid_argument_raises(rows: Any, tokenizer: Any, arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises((TypeError, ValueError), match=refusal):
        ChatDataset(rows, **{"tokenizer": tokenizer, "messages_column_name": "talk", **arguments})


@pytest.mark.parametrize("tokenize", [True, False])
@pytest.mark.parametrize("text", ["What is 1 + 1?", "[1, 2]", "[not JSON", "[]", ""])
def test_text_is_one_message_of_the_user(tokenizer: Any, text: str, tokenize: bool) -> None:
    dataset = ChatDataset(Dataset.from_dict({"question": [text], "answer": ["2"]}), tokenizer, "question", "answer", tokenize=tokenize)
    messages = [{"role": "user", "content": text}]
    expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert (dataset[0]["messages"], dataset[0]["prompt_input_ids"]) == (messages, expected)


def test_text_may_list_messages_as_json(rows: Any, tokenizer: Any) -> None:
    as_text = Dataset.from_dict({"talk": [json.dumps(messages) for messages in rows["talk"]]})
    assert [sample["messages"] for sample in ChatDataset(as_text, tokenizer, "talk")] == rows["talk"][:]


class OneText:
    """A tokenizer that is not of ``transformers``, and accepts one text per call."""

    def apply_chat_template(self, messages: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert (tokenize, add_generation_prompt) == (False, True)
        return "".join(message["content"] for message in messages)

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert (type(text), add_special_tokens) == (str, False)
        return {"input_ids": [len(text)]}


@pytest.mark.parametrize("tokenize", [True, False])
def test_tokenizer_of_another_class_encodes_one_prompt_at_a_time(rows: Any, tokenize: bool) -> None:
    dataset = ChatDataset(rows, OneText(), "talk", tokenize=tokenize)
    assert [dataset[i]["prompt_input_ids"] for i in range(3)] == [[2], [5], [100]]


@pytest.mark.parametrize("tokenize", [True, False])
@pytest.mark.parametrize("given", [["What?"], 5])
def test_row_without_a_list_of_messages_is_named(tokenizer: Any, given: Any, tokenize: bool) -> None:
    rows = Dataset.from_dict({"question": [given]})
    with pytest.raises(ValueError, match=r"question: row 0 holds (int|list), not a list of messages with role and content"):
        ChatDataset(rows, tokenizer, "question", tokenize=tokenize)[0]
    with pytest.raises(TypeError, match="dataset: is a list; give a dataset of the package datasets"):
        ChatDataset([given], tokenizer)


def test_messages_alone_need_no_tokenizer(rows: Any) -> None:
    dataset = ChatDataset(rows, None, "talk", "truth", max_length=1, tokenize=False)
    expected = {"index": 1, "messages": rows[1]["talk"], "raw_prompt": None, "prompt_input_ids": None, "ground_truth": rows[1]["truth"]}
    assert dataset[1] == expected


def test_lengths_are_unknown_without_encoding(rows: Any, tokenizer: Any) -> None:
    ChatDataset(rows, tokenizer, "talk", tokenize=False).assert_within_max_length()
    with pytest.raises(ValueError, match="tokenize: is false"):
        ChatDataset(rows, tokenizer, "talk", max_length=10**6, tokenize=False).assert_within_max_length()
