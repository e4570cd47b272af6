"""Prompts from conversations as token ids, with the expected answers."""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from torch.utils.data import Dataset

from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.formatting import counted
from phyagi_assets.reading.numbers import checked_bool, checked_index

logger = logging.getLogger(__name__)

_BATCH = 1000
"""Number of conversations to encode in one call."""
_REMEDY = "set filter_max_length to leave out longer prompts, or raise max_length"


class ChatDataset(Dataset[dict[str, Any]]):
    """A dataset of conversations that end before the assistant's turn.

    A sample is a dict with ``index`` (int), ``messages`` (the conversation), ``raw_prompt`` (its text), ``prompt_input_ids`` (list of int)
    and ``ground_truth`` (the expected answer, or None). Without a tokenizer, the text and the ids are None.

    Parameters
    ----------
    dataset
        A ``datasets.Dataset``, or a ``datasets.DatasetDict`` with one split.
    tokenizer
        A tokenizer of ``transformers`` with a chat template; None if only the messages are needed, and `tokenize` is false.
    messages_column_name
        Name of the column of conversations: lists of messages with ``role`` and ``content``, or such lists as JSON. Other text becomes one
        message of the user.
    ground_truth_column_name
        Name of the column of expected answers; None if there is none.
    max_length
        Largest number of tokens of a prompt; None for no limit. It has no effect without a tokenizer.
    filter_max_length
        Whether to leave out longer prompts, with a warning if none is left; otherwise reading one raises an error.
    tokenize
        Whether to encode all prompts at once, instead of each one when it is read.

    Attributes
    ----------
    removed_rows : int
        Number of conversations that were left out.

    Raises
    ------
    TypeError
        The dataset is not one of the package ``datasets``, or a flag is not a boolean.
    ValueError
        The dataset has several splits or lacks one of the columns, `tokenizer` is missing, or long prompts are to be left out but prompts
        are not encoded. When a sample is read or encoded: it is not a list of messages, or its prompt is too long.

    Examples
    --------
    >>> from pathlib import Path
    >>> from datasets import Dataset
    >>> from transformers import AutoTokenizer
    >>> from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
    >>> save_byte_tokenizer(Path("bytes"))
    >>> tokenizer = AutoTokenizer.from_pretrained("bytes")
    >>> tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    >>> rows = Dataset.from_dict({"messages": [[{"role": "user", "content": "Hi"}]]})
    >>> ChatDataset(rows, tokenizer)[0]["raw_prompt"]
    'Hi'
    """

    def __init__(
        self,
        dataset: Any,
        tokenizer: Any = None,
        messages_column_name: str = "messages",
        ground_truth_column_name: str | None = None,
        max_length: int | None = None,
        filter_max_length: bool = False,
        tokenize: bool = True,
    ) -> None:
        dataset = only_split(dataset)
        if not hasattr(dataset, "column_names"):
            raise TypeError(f"dataset: is a {type(dataset).__name__}; give a dataset of the package datasets")
        for name in filter(None, (messages_column_name, ground_truth_column_name)):
            if name not in dataset.column_names:
                raise ValueError(f"{name}: is not a column of the dataset; the columns are: {', '.join(dataset.column_names)}")
        for name, flag in (("filter_max_length", filter_max_length), ("tokenize", tokenize)):
            checked_bool(name, flag)
        if tokenizer is None and tokenize:
            raise ValueError("tokenizer: is None; give a tokenizer with a chat template, or set tokenize to false")
        if filter_max_length and not tokenize and max_length is not None:
            raise ValueError("filter_max_length: needs the lengths of all prompts; set tokenize to true")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.removed_rows = 0
        self._messages_column = messages_column_name
        self._ground_truth_column = ground_truth_column_name
        self._rows = dataset
        self._prompts: Any = self._encoded() if tokenize else None
        if filter_max_length and max_length is not None:
            self._leave_out_longer_than(max_length)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, idx: int) -> dict[str, Any]:
        index = checked_index(idx, len(self), "prompt")
        row = self._rows[index]
        messages = self._messages(row[self._messages_column], index)
        text = ids = None
        if self._prompts is not None:
            text, ids = self._prompts[index].values()
        elif self.tokenizer is not None:
            text = self._text(messages)
            (ids,) = self._ids([text])
        if ids is not None and self.max_length is not None and len(ids) > self.max_length:
            raise ValueError(f"prompt {index} has {counted(len(ids), 'token')}, but max_length is {self.max_length}; {_REMEDY}")
        truth = row[self._ground_truth_column] if self._ground_truth_column else row.get("ground_truth")
        return {"index": index, "messages": messages, "raw_prompt": text, "prompt_input_ids": ids, "ground_truth": truth}

    def assert_within_max_length(self) -> None:
        """Raise an error if a prompt is longer than `max_length`.

        Raises
        ------
        ValueError
            A prompt is too long, or the prompts are not encoded and there is a limit.
        """
        if self.max_length is None:
            return
        if self._prompts is None:
            raise ValueError("tokenize: is false, so the lengths of the prompts are unknown; set it to true")
        longest = max(map(len, self._prompts["ids"]), default=0)
        if longest > self.max_length:
            raise ValueError(f"the longest prompt has {counted(longest, 'token')}, but max_length is {self.max_length}; {_REMEDY}")

    def _messages(self, given: Any, index: int) -> list[Any]:
        """Return the conversation of a row as a list; in some formats of ``datasets`` it is an array."""
        messages = _of_text(given) if isinstance(given, str) else given.tolist() if hasattr(given, "tolist") else given
        if not isinstance(messages, list | tuple) or not all(isinstance(message, Mapping) for message in messages):
            raise ValueError(
                f"{self._messages_column}: row {index} holds {type(given).__name__}, not a list of messages with role and content"
            )
        return list(messages)

    def _text(self, messages: list[Any]) -> str:
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of texts. Tokenizers of classes outside ``transformers`` may accept only one text per call."""
        if getattr(self.tokenizer, "is_fast", None) is True and texts:
            encoded: list[list[int]] = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
            return encoded
        return [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def _encoded(self) -> Any:
        """Return the text and the ids of all prompts, as a dataset."""
        with translate_missing_packages():
            from datasets import Dataset as Rows

        prompts: dict[str, list[Any]] = {"text": [], "ids": []}
        for batch in self._rows.select_columns([self._messages_column]).iter(batch_size=_BATCH):
            first, given = len(prompts["text"]), batch[self._messages_column]
            texts = [self._text(self._messages(messages, index)) for index, messages in enumerate(given, first)]
            prompts["text"] += texts
            prompts["ids"] += self._ids(texts)
        return Rows.from_dict(prompts)

    def _leave_out_longer_than(self, max_length: int) -> None:
        kept = [index for index, ids in enumerate(self._prompts["ids"]) if len(ids) <= max_length]
        if not kept and len(self._rows):
            logger.warning("all prompts have more than %d tokens, so the dataset is empty; raise max_length", max_length)
        self.removed_rows = len(self._rows) - len(kept)
        self._rows, self._prompts = self._rows.select(kept), self._prompts.select(kept)


def only_split(dataset: Any) -> Any:
    """Return the only split of a dictionary of splits; return any other dataset unchanged.

    Raises
    ------
    ValueError
        There are several splits, or none.
    """
    if not isinstance(dataset, Mapping):
        return dataset
    if len(dataset) != 1:
        raise ValueError(f"dataset: has {counted(len(dataset), 'split')} ({', '.join(dataset)}); give one of them")
    return next(iter(dataset.values()))


def _of_text(text: str) -> list[Any]:
    """Return the messages in a JSON list, or any other text as one message of the user."""
    with suppress(ValueError):
        listed = json.loads(text) if text.lstrip().startswith("[") else None
        if listed and all(isinstance(message, Mapping) and "role" in message for message in listed):
            return list(listed)
    return [{"role": "user", "content": text}]
