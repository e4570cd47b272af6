"""``datasets.Dataset.map`` with two processes, then one array: with ``transformers``, as the reference library does it, or without.

The mapped function joins the ids of a batch of documents to one row, in the dtype of the array. That avoids one Python list per document,
and loses the ends of the documents.
"""

from itertools import chain
from typing import Any

import numpy as np
from datasets import disable_progress_bars, load_dataset
from task import EOS, Stopwatch, done, task

given = task()
if given.with_transformers:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(given.tokenizer)
else:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(given.backend))


def tokenize_concatenated(batch: dict[str, list[str]]) -> dict[str, list[object]]:
    texts = [text + EOS if text else text for text in batch["text"]]
    if given.with_transformers:
        ids = np.fromiter(chain.from_iterable(tokenizer(texts)["input_ids"]), given.dtype)
    else:
        ids = np.concatenate([one.ids_array for one in tokenizer.encode_batch(texts)]).astype(given.dtype)
    return {"input_ids": [ids], "length": [len(ids)]}


if __name__ == "__main__":
    disable_progress_bars()
    reader = "json" if given.format == "jsonl" else given.format

    with Stopwatch() as watch:
        dataset = load_dataset(reader, data_files=[str(file) for file in given.files], split="train", cache_dir=str(given.work))
        dataset = dataset.map(tokenize_concatenated, batched=True, num_proc=2, remove_columns=dataset.column_names)
        array = np.empty(sum(dataset["length"]), given.dtype)
        start = 0
        for batch in dataset.with_format("arrow").iter(batch_size=1):
            ids = batch["input_ids"].combine_chunks().flatten().to_numpy()
            array[start : start + len(ids)] = ids
            start += len(ids)
        np.save(given.work / "train.npy", array)

    done(watch, tokens=len(array), arrays=[given.work / "train.npy"])
