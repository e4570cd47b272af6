"""``datasets.Dataset.map`` as its documentation uses it, with a fast tokenizer and two processes; then one array.

Arguments: the source, a folder to work in.
"""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import xxhash
from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer, BatchEncoding

source, work = Path(sys.argv[1]), Path(sys.argv[2])
shutil.rmtree(work, ignore_errors=True)
disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(Path(__file__).parent.parent / "data" / "tokenizers" / "gpt2")


def tokenize(batch: dict[str, list[str]]) -> BatchEncoding:
    return tokenizer([text + tokenizer.eos_token if text else text for text in batch["text"]])


if __name__ == "__main__":
    started = time.perf_counter()
    dataset = load_dataset("json", data_files=str(source), split="train", cache_dir=str(work))
    dataset = dataset.map(tokenize, batched=True, num_proc=2, remove_columns=dataset.column_names)
    batches = dataset.with_format("arrow").iter(batch_size=1000)
    ids = np.concatenate([batch["input_ids"].combine_chunks().flatten().to_numpy().astype(np.uint16) for batch in batches])
    np.save(work / "train.npy", ids)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "tokens": len(ids), "digest": xxhash.xxh3_128_hexdigest((work / "train.npy").read_bytes())}))
