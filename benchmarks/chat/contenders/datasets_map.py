"""``datasets.Dataset.map`` over ``apply_chat_template`` with masks, as training scripts do it, with one process."""

from itertools import chain
from typing import Any

from compared import digests
from contender import Stopwatch, done, given
from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer

told = given()
tokenizer: Any = AutoTokenizer.from_pretrained(told.tokenizer)


def tokenize(batch: dict[str, list[Any]]) -> dict[str, Any]:
    found = tokenizer.apply_chat_template(batch["messages"], return_dict=True, return_assistant_tokens_mask=True)
    return {"input_ids": found["input_ids"], "assistant_masks": found["assistant_masks"]}


if __name__ == "__main__":
    disable_progress_bars()
    tokenizer.model_max_length = 1 << 30

    with Stopwatch() as watch:
        files = [str(file) for file in sorted(told.source.glob("*.jsonl"))]
        dataset = load_dataset("json", data_files=files, split="train", cache_dir=str(told.work))
        dataset = dataset.map(tokenize, batched=True, remove_columns=dataset.column_names)

    columns = (list(chain.from_iterable(dataset[name])) for name in ("input_ids", "assistant_masks"))
    done(watch, digests=digests(*columns))
