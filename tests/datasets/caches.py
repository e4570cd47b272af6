"""Cache folders of all three kinds."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets import save_memory_dataset
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare_corpus, write_jsonl


def pipeline_cache(workspace: Workspace, name: str, texts: Sequence[str], **keys: Any) -> Path:
    """Cache built by the pipeline; the link to it in the store."""
    write_jsonl(workspace.data / name / "all.jsonl", texts)
    built = build(declare_corpus(workspace.data, name, f"{name}/*.jsonl", **keys), workspace)
    (partition,) = built
    return workspace.store.pointer(f"{name}/numpy_cache/{partition}")


def library_cache(folder: Path, tokenizer: Any, **splits: npt.NDArray[Any]) -> Path:
    """Cache written by the dataset library."""
    save_memory_dataset(splits, tokenizer, folder)
    return folder


def reference_cache(folder: Path, tokenizer: Any, **splits: npt.NDArray[Any]) -> Path:
    """Cache in the format of the reference library: arrays of one row, a pickled tokenizer, and no manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, ids in splits.items():
        np.save(folder / f"{split}.npy", ids.reshape(1, -1))
    (folder / "tokenizer.pkl").write_bytes(pickle.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps({"dtype": "uint16"}), encoding="utf-8")
    return folder


def word_tokenizer(words: int, letter: str = "w") -> Any:
    """Return a tokenizer of the words w0, w1, …, followed by an EOS."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {f"{letter}{i}": i for i in range(words)} | {"<eos>": words}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=f"{letter}0"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>")


class ByCharacter:
    """A tokenizer that is not of ``transformers``: the ids are code points, and the EOS is 0."""

    eos_token_id = 0

    def __call__(self, texts: Sequence[str]) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(map(ord, text)) for text in texts]}
