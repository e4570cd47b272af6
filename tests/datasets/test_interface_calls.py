"""Calls of the interface of the reference library: every name with every parameter, by keyword and by position."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from phyagi_assets.datasets import (
    ChatDataset,
    ChatDatasetProvider,
    ChatDatasetProviderConfig,
    DatasetProvider,
    DatasetProviderConfig,
    LMDataCollator,
    LMDataset,
    LMDatasetProvider,
    StreamLMDataset,
    StreamLMDatasetProvider,
    StreamLMDatasetProviderConfig,
    WeightedConcatIterableDataset,
)
from phyagi_assets.datasets.rl.formatting_utils import PHI_CHAT_TEMPLATE
from phyagi_assets.settings import STORE_VARIABLE
from tests.datasets.caches import library_cache, word_tokenizer
from tests.datasets.test_interface import (
    CHAT,
    CHAT_PROVIDER,
    CONCATS,
    INTERFACE,
    LM,
    MEMBERS,
    MEMORY,
    SETTINGS,
    STREAMED,
    TEXT,
    TRAIN,
    _named,
)
from tests.support import write_jsonl

WINDOWS, STREAMS = f"{TRAIN}.lm.lm_dataset.LMDataset", f"{TRAIN}.stream_lm.stream_lm_dataset.StreamLMDataset"
COLLATOR = f"{TRAIN}.train_data_collator.LMDataCollator"
ONE_VALUE = {("datasets.registry.get_data_collator", "data_collator_type")}
"""Parameters that take no value but their default."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a name, made once by keyword and once by position."""

    arguments: Mapping[str, Any]
    """Parameter → value; a parameter with one star has a tuple, and one with two has a dict."""
    shows: Callable[[Any, Any], Any]
    """Function of the result and the object that returns the value to compare."""
    expected: Any
    on: Callable[[], Any] | None = None
    """Function that creates the object whose method is called, or the class of an abstract name; None for a function or a class."""

    def result(self, name: str, *, by_position: bool) -> Any:
        """Make the call and return the value to compare."""
        owner = self.on() if self.on else None
        called = owner if isinstance(owner, type) and name.endswith("DatasetProvider") else None
        called = called or (getattr(owner, name.rpartition(".")[2]) if self.on else _named(name))
        positional: list[Any] = []
        named: dict[str, Any] = {}
        is_rest = False
        for parameter, value in self.arguments.items():
            if parameter.startswith("**"):
                named |= value
            elif parameter.startswith("*"):
                positional, is_rest = [*positional, *value], True
            elif by_position and not is_rest:
                positional.append(value)
            else:
                named[parameter] = value
        return self.shows(called(*positional, **named), owner)


class _Own(DatasetProvider):
    """A provider with the three required methods."""

    def __init__(self, seq_len: int = 0, label: str | None = None) -> None:
        super().__init__()
        self.given = (seq_len, label)

    def get_train_dataset(self) -> Any:
        return LMDataset(np.arange(9), seq_len=2)

    def get_val_dataset(self) -> Any:
        return None

    def get_tokenizer(self) -> Any:
        return "words"


def windows(start: int, tokens: int) -> LMDataset:
    """Windows of two tokens, counted from a start."""
    return LMDataset(np.arange(start, start + tokens), seq_len=2)


def mixed() -> dict[str, Any]:
    return {"datasets": [windows(0, 9), windows(100, 5)], "weights": [1.0, 2.0], "**kwargs": {"corpus": ["news", "talk"]}}


def concat(kind: str = "") -> Any:
    arguments = mixed()
    return _named(f"{CONCATS}.{kind}WeightedConcatDataset")(arguments["datasets"], arguments["weights"], **arguments["**kwargs"])


def mixed_stream() -> WeightedConcatIterableDataset:
    return WeightedConcatIterableDataset([windows(0, 9), windows(100, 5)], [1.0, 2.0], endless=False)


def stream() -> StreamLMDataset:
    return StreamLMDataset("tokens", np.arange(9), seq_len=2)


def firsts(samples: Any) -> list[int]:
    """The first token of each sample."""
    return [int(sample["input_ids"][0]) for sample in samples]


def inputs_and_labels(samples: Any) -> list[tuple[list[int], list[int]]]:
    return [(sample["input_ids"].tolist(), sample["labels"].tolist()) for sample in samples]


def after(reading: Any, samples: int) -> Any:
    """Return a stream after reading some of its samples."""
    read = iter(reading)
    for _ in range(samples):
        next(read)
    return reading


def with_saved_states(folder: Path) -> WeightedConcatIterableDataset:
    for step in (1, 3):
        after(mixed_stream(), step).save_state(folder, step)
    return mixed_stream()


def provided(provider: Any) -> Any:
    """Return the weight and label of a provider, its training and validation windows, and the size of its tokenizer."""
    train, validation, tokenizer = provider.get_train_dataset(), provider.get_val_dataset(), provider.get_tokenizer()
    shown = [inputs_and_labels(dataset) if dataset is not None else None for dataset in (train, validation)]
    return provider.weight, provider.label, *shown, len(tokenizer) if tokenizer is not None else None


def twice(found: Iterable[list[int]]) -> list[tuple[list[int], list[int]]]:
    """Windows whose labels are their inputs."""
    return [(ids, ids) for ids in found]


def shouted(examples: dict[str, list[str]], tokenizer: Any, mark: str) -> dict[str, list[list[int]]]:
    """A function for ``dataset.map`` that begins each document with a word."""
    return {"input_ids": tokenizer([f"{mark} {text}" for text in examples["body"]])["input_ids"]}


Calls = dict[str, list[Call]]


def of_concatenations(folder: Path) -> Calls:
    whole = firsts(mixed_stream())
    in_order = [(first, corpus) for first, corpus in zip([0, 2, 4, 6, 100, 102, 100, 102], ["news"] * 4 + ["talk"] * 4, strict=True)]

    def samples(concat: Any) -> list[tuple[int, str]]:
        return [(int(sample["input_ids"][0]), sample["corpus"]) for sample in islice(concat, len(concat))]

    labelled = {**{name: value for name, value in mixed().items() if name != "**kwargs"}, "labels": ["news", "talk"]}
    chat = f"{CONCATS}.WeightedConcatChatDataset"
    calls: Calls = {
        chat: [
            Call(
                arguments=labelled,
                shows=lambda concat, _: [(int(sample["input_ids"][0]), sample["dataset_name"]) for sample in concat],
                expected=in_order,
            )
        ]
    }
    for kind in ("", "Sequential"):
        name = f"{CONCATS}.{kind}WeightedConcatDataset"
        calls[name] = [Call(arguments=mixed(), shows=lambda concat, _: samples(concat), expected=in_order)]
        expected = (102, 1, 1, "talk")
        calls[f"{name}.__getitem__"] = [
            Call(
                arguments={"idx": 5},
                shows=lambda sample, _: (int(sample["input_ids"][0]), sample["idx"], sample["dataset_idx"], sample["corpus"]),
                expected=expected,
                on=lambda kind=kind: concat(kind),  # type: ignore[misc]
            )
        ]
    name, states = f"{CONCATS}.WeightedConcatIterableDataset", folder / "states"
    state = after(mixed_stream(), 3).state_dict()
    return calls | {
        name: [Call(arguments=mixed(), shows=lambda concat, _: sorted(samples(concat)), expected=sorted(in_order))],
        **of_a_stream(name, mixed_stream),
        f"{name}.save_state": [
            Call(
                arguments={"output_dir": folder / "saved", "step": 7},
                shows=lambda _, __: {
                    path.relative_to(folder).as_posix(): json.loads(path.read_text()) for path in (folder / "saved").rglob("*.json")
                },
                expected={"saved/stream_states/7/rank-0.json": state},
                on=lambda: after(mixed_stream(), 3),
            )
        ],
        f"{name}.load_state": [
            Call(
                arguments={"load_dir": states, "step": 1},
                shows=lambda _, loaded: firsts(loaded),
                expected=whole[1:],
                on=lambda: with_saved_states(states),
            )
        ],
    }


def of_a_stream(name: str, make: Callable[[], Any]) -> Calls:
    whole = firsts(make())
    state = after(make(), 3).state_dict()
    assert state["taken"] == 3
    return {
        f"{name}.set_rank_and_world_size": [
            Call(
                arguments={"rank": 1, "world_size": 2},
                shows=lambda _, of: (len(of), firsts(of)),
                expected=(len(whole) // 2, whole[1::2] if name == STREAMS else [6, 102, 4, 0]),
                on=make,
            )
        ],
        f"{name}.state_dict": [Call(arguments={}, shows=lambda state, _: state, expected=state, on=lambda: after(make(), 3))],
        f"{name}.load_state_dict": [
            Call(arguments={"state_dict": state}, shows=lambda _, of: firsts(of), expected=whole[3:], on=make),
        ],
    }


def of_configurations(cache: Path) -> Calls:
    files = {"train_file": cache / "train.npy", "validation_file": cache / "validation.npy", "tokenizer_file": cache / "tokenizer"}
    read: dict[str, Any] = {
        "seq_len": 2,
        "shift_labels": True,
        "weight": 1.5,
        "label": "numbers",
        "ignore_token_id": -1,
        "seed": 7,
        "random_mask_prob": 0.5,
    }
    fields: dict[str, Any] = {"cache_dir": cache, **files, "validation_split": 3, **read}
    as_text = {name: str(value) if isinstance(value, Path) else value for name, value in fields.items()}
    in_order = {name: fields[name] for name in INTERFACE["datasets.dataset_provider.DatasetProviderConfig"]}
    streamed: dict[str, Any] = {
        "dataset_path": str(cache),
        "seq_len": 2,
        "shift_labels": True,
        "weight": 1.5,
        "label": "numbers",
        "seed": 7,
    }
    streamed_as_text = {**StreamLMDatasetProviderConfig(str(cache)).to_dict(), **streamed}
    name, streams = "datasets.dataset_provider.DatasetProvider", f"{STREAMED}.StreamLMDatasetProviderConfig"

    def shown(config: Any, _: Any) -> Any:
        return config.to_dict()

    return {
        f"{name}Config": [Call(arguments=in_order, shows=shown, expected=as_text)],
        f"{name}Config.from_dict": [Call(arguments={"config_dict": fields}, shows=shown, expected=as_text)],
        f"{name}Config.to_dict": [
            Call(arguments={}, shows=lambda found, _: found, expected=as_text, on=lambda: DatasetProviderConfig(**fields))
        ],
        name: [Call(arguments={}, shows=lambda made, _: made.given, expected=(0, None), on=lambda: _Own)],
        f"{name}.from_config": [
            Call(
                arguments={"config": DatasetProviderConfig(seq_len=3, label="own")},
                shows=lambda made, _: made.given,
                expected=(3, "own"),
                on=lambda: _Own,
            )
        ],
        streams: [Call(arguments=streamed, shows=shown, expected=streamed_as_text)],
        f"{streams}.from_dict": [Call(arguments={"config_dict": streamed}, shows=shown, expected=streamed_as_text)],
        f"{streams}.to_dict": [
            Call(
                arguments={},
                shows=lambda found, _: found,
                expected=streamed_as_text,
                on=lambda: StreamLMDatasetProviderConfig(**streamed),
            )
        ],
    }


def of_providers(folder: Path, cache: Path) -> Calls:
    config: dict[str, Any] = {"seq_len": 2, "shift_labels": True, "weight": 1.5, "label": "numbers", "seed": 7}
    read = {**config, "ignore_token_id": -1, "random_mask_prob": 1.0}
    files = {"train_file": cache / "train.npy", "validation_file": cache / "validation.npy"}
    arguments = {**files, "validation_split": 3, "tokenizer_file": cache / "tokenizer", **read, "**kwargs": {"cache_dir": cache}}
    train = [([0, 1], [1, 2]), ([2, 3], [3, 4]), ([4, 5], [5, 6]), ([6, 7], [7, 8])]
    validation = [([10, 11], [11, 12])]
    whole = (1.5, "numbers", train, validation, 21)
    divided = (1.5, "numbers", [([3, 4], [4, 5]), ([5, 6], [6, 7])], [([0, 1], [1, 2])], 21)
    streams = f"{STREAMED}.StreamLMDatasetProvider"

    def shown(provider: Any, _: Any) -> Any:
        return provided(provider)

    return {
        LM: [Call(arguments={name: arguments[name] for name in INTERFACE[LM]}, shows=shown, expected=divided)],
        f"{LM}.from_config": [Call(arguments={"config": DatasetProviderConfig(cache_dir=cache, **config)}, shows=shown, expected=whole)],
        f"{LM}.from_cache": [Call(arguments={"cache_dir": cache, "**kwargs": config}, shows=shown, expected=whole)],
        f"{LM}.from_hub": [*of_hub(folder)],
        streams: [
            Call(
                arguments={"dataset_path": str(cache), **config, "**kwargs": {"validation_file": cache / "validation.npy"}},
                shows=shown,
                expected=whole,
            )
        ],
    }


def of_hub(folder: Path) -> Iterator[Call]:
    from datasets import Dataset

    texts = ["w1 w2 w3", "w4 w5", "w6 w7 w8 w9", "w10 w11"]
    write_jsonl(folder / "files" / "all.jsonl", [{"body": text} for text in texts])
    Dataset.from_dict({"body": texts}).save_to_disk(str(folder / "disk"))
    arguments = {
        "dataset_path": "json",
        "dataset_name": "words",
        "disk_file_path": None,
        "data_dir": str(folder / "files"),
        "data_files": {"train": "all.jsonl"},
        "revision": "main",
        "tokenizer": word_tokenizer(20),
        "mapping_fn": shouted,
        "mapping_fn_kwargs": {"mark": "w19"},
        "mapping_column_name": "body",
        "validation_split": 0.5,
        "shuffle": False,
        "seed": 7,
        "num_workers": 2,
        "use_eos_token": False,
        "use_shared_memory": False,
        "cache_dir": folder / "made",
        "raw_dir": folder / "raw",
        "**kwargs": {"seq_len": 3, "label": "words"},
    }

    def shown(provider: Any, _: Any) -> Any:
        return provided(provider)

    train, validation = ([19, 1, 2], [3, 19, 4]), ([19, 6, 7], [8, 9, 19])
    yield Call(arguments=arguments, shows=shown, expected=(1.0, "words", twice(train), twice(validation), 21))
    nothing = dict.fromkeys(("dataset_path", "dataset_name", "data_dir", "data_files", "revision", "mapping_fn", "mapping_fn_kwargs"))
    plain = (1.0, "words", twice([[1, 2, 3]]), twice([[6, 7, 8]]), 21)
    yield Call(arguments={**arguments, **nothing, "disk_file_path": str(folder / "disk")}, shows=shown, expected=plain)


def of_datasets(cache: Path) -> Calls:
    marked = np.array([1, 102, 3, 104, 5, 106, 7, 108, 9])
    arguments = {"input_ids": marked, "labels": marked + 10, "seq_len": 2, "shift_labels": True}
    masks = {"ignore_token_id": -1, "random_mask_prob": 0.5, "random_mask_offset": 100, "seed": 7}
    masked = [([1, 2], [12, 13]), ([3, 4], [14, 15]), ([5, 6], [-1, 17]), ([7, 8], [18, 19])]
    plain = {**arguments, "input_ids": np.arange(9), "labels": np.arange(20, 29)}
    configs = [{"dataset_path": str(cache), "seq_len": 2, "validation_file": str(cache / "validation.npy"), "label": "numbers"}]
    collated = {"input_ids": [[5, 6, 7, 8]], "labels": [[-1, -1, -1, 8]]}
    sample = {"input_ids": torch.tensor([5, 6, 7, 8]), "labels": torch.tensor([5, 6, 7, 8])}

    def batch(found: Any) -> dict[str, Any]:
        return {name: column.tolist() for name, column in found.items()}

    def split(found: Any, _: Any) -> Any:
        train, evaluation = found
        return type(train).__name__, sorted(firsts(train)), {label: (type(of).__name__, firsts(of)) for label, of in evaluation.items()}

    ignored: dict[str, Any] = {"ignore_token_ids": [5], "ignore_token_id_range": (6, 7), "ignore_index": -1}
    return {
        WINDOWS: [Call(arguments={**arguments, **masks}, shows=lambda found, _: inputs_and_labels(found), expected=masked)],
        f"{WINDOWS}.__getitem__": [
            Call(
                arguments={"idx": -1},
                shows=lambda found, _: inputs_and_labels([found]),
                expected=[([6, 7], [6, 7])],
                on=lambda: windows(0, 9),
            )
        ],
        STREAMS: [
            Call(
                arguments={"dataset_name": "tokens", **plain, "read_ahead": 16, "chunk_size": 8},
                shows=lambda found, _: (found.dataset_name, inputs_and_labels(found)),
                expected=("tokens", [([start, start + 1], [start + 21, start + 22]) for start in (0, 2, 4, 6)]),
            )
        ],
        **of_a_stream(STREAMS, stream),
        "datasets.registry.get_dataset": [
            Call(
                arguments={
                    "dataset_configs": configs * 2,
                    "dataset_concat": "random_iterable",
                    "eval_dataset_concat": "random_iterable",
                    "dataset_provider": "stream_lm",
                    "dataset_global_weight": 2.0,
                },
                shows=split,
                expected=(
                    "WeightedConcatIterableDataset",
                    sorted([0, 2, 4, 6] * 4),
                    {"numbers": ("WeightedConcatIterableDataset", [10, 10])},
                ),
            )
        ],
        "datasets.registry.get_data_collator": [
            Call(
                arguments={"data_collator_type": "lm", "**kwargs": ignored},
                shows=lambda collator, _: batch(collator([sample])),
                expected=collated,
            )
        ],
        COLLATOR: [Call(arguments=ignored, shows=lambda collator, _: batch(collator([sample])), expected=collated)],
        f"{COLLATOR}.__call__": [
            Call(
                arguments={"examples": [sample]},
                shows=lambda found, _: batch(found),
                expected=collated,
                on=lambda: LMDataCollator(**ignored),
            )
        ],
    }


def of_memory(folder: Path) -> Calls:
    from datasets import Dataset, DatasetDict

    rows = DatasetDict(train=Dataset.from_dict({"input_ids": [[1, 2], [], [3]], "labels": [[4, 5], [], [6]]}))
    process = {"dataset_dict": rows, "cache_dir": folder / "memory", "dtype": np.uint8, "processing_column_name": ["input_ids", "labels"]}
    save = {"dataset_dict": {"train": np.array([[0, 1, 2]], dtype=np.uint8)}, "tokenizer": word_tokenizer(3), "cache_dir": folder / "kept"}
    return {
        f"{MEMORY}.process_dataset_to_memory": [
            Call(
                arguments={**process, "num_workers": 2, "use_shared_memory": False},
                shows=lambda arrays, _: {split: (array.dtype.name, array.tolist()) for split, array in arrays.items()},
                expected={"train": ("uint8", [[1, 2, 3], [4, 5, 6]])},
            )
        ],
        f"{MEMORY}.save_memory_dataset": [
            Call(
                arguments={**save, "use_shared_memory": False},
                shows=lambda files, _: (sorted(files), np.load(files["train_file"]).tolist(), files["tokenizer_file"].is_file()),
                expected=(["tokenizer_file", "train_file"], [0, 1, 2], True),
            )
        ],
    }


def chat_tokenizer() -> Any:
    tokenizer = word_tokenizer(20)
    tokenizer.chat_template = PHI_CHAT_TEMPLATE
    return tokenizer


def talks() -> Any:
    from datasets import Dataset

    talk = [[{"role": "user", "content": text}] for text in ("a", "b", "c d")]
    return Dataset.from_dict({"talk": talk, "truth": ["x", "y", "z"]})


def of_conversations(folder: Path) -> Calls:
    columns = {"messages_column_name": "talk", "ground_truth_column_name": "truth"}
    read = {**columns, "max_length": 99, "filter_max_length": True, "tokenize": False}
    dataset = {"dataset": talks(), "tokenizer": chat_tokenizer(), **columns, "max_length": 99, "filter_max_length": True}
    files = {"train_file": folder / "talk.parquet", "validation_file": folder / "talk.jsonl"}
    talks().to_parquet(files["train_file"])
    talks().select([2]).to_json(files["validation_file"])
    fields = {**files, "tokenizer": chat_tokenizer(), **read, "weight": 2.0, "label": "talks", "subsample": 0.7}

    def of_fields(config: ChatDatasetProviderConfig, _: Any) -> dict[str, Any]:
        return {name: value for name, value in config.to_dict().items() if name != "tokenizer"}

    stored = {**{name: str(path) for name, path in files.items()}, **read, "weight": 2.0, "label": "talks", "subsample": 0.7}
    template = "{% generation %}{{ messages }}{% endgeneration %}"
    example = {"prompt": [{"role": "user", "content": "Hi"}]}
    return {
        f"{CHAT}.chat_dataset.ChatDataset": [
            Call(
                arguments={**dataset, "tokenize": is_encoded},
                shows=lambda dataset, _: (len(dataset), dataset.max_length, dataset[1]["raw_prompt"], dataset[1]["ground_truth"]),
                expected=(3, limit, "<|user|>\nb<|end|>\n<|assistant|>\n", "y"),
            )
            for is_encoded, limit in ((True, 99),)
        ]
        + [
            Call(
                arguments={**dataset, "max_length": 10**6, "filter_max_length": False, "tokenize": False},
                shows=lambda dataset, _: (len(dataset), dataset.max_length),
                expected=(3, 10**6),
            )
        ],
        f"{CHAT}.chat_dataset.ChatDataset.__getitem__": [
            Call(
                arguments={"idx": 2},
                shows=lambda sample, _: (sample["index"], sample["messages"][0]["content"]),
                expected=(2, "c d"),
                on=lambda: ChatDataset(talks(), chat_tokenizer(), "talk"),
            )
        ],
        f"{CHAT_PROVIDER}Config": [Call(arguments=fields, shows=of_fields, expected=stored)],
        f"{CHAT_PROVIDER}Config.from_dict": [Call(arguments={"config_dict": fields}, shows=of_fields, expected=stored)],
        f"{CHAT_PROVIDER}Config.to_dict": [
            Call(arguments={}, shows=lambda found, _: found["weight"], expected=2.0, on=lambda: ChatDatasetProviderConfig(**fields))
        ],
        CHAT_PROVIDER: [
            Call(
                arguments={**fields, "tokenize": is_encoded, "filter_max_length": is_encoded, "**kwargs": {"rows": 1}},
                shows=lambda provider, _: (provider.weight, provider.label, len(provider.get_train_dataset())),
                expected=(2.0, "talks", 2),
            )
            for is_encoded in (True, False)
        ],
        f"{TEXT}.apply_chat_template": [
            Call(
                arguments={
                    "example": example,
                    "special_token_format": "phi",
                    "shuffle": False,
                    "add_mask_tokens": True,
                    "system_message_format": "cot_final",
                    "system_message_prob": 1.0,
                },
                shows=lambda texts, _: (texts["prompt"].count("<|mask_start|>"), texts["prompt"].endswith("<|user|>Hi<|end|><|mask_end|>")),
                expected=(2, True),
            )
        ],
        f"{TEXT}.patch_tokenizer_generation_tag": [
            Call(
                arguments={"tokenizer": SimpleNamespace(name_or_path="own", chat_template=template)},
                shows=lambda tokenizer, _: tokenizer.chat_template,
                expected=template,
            )
        ],
        "datasets.rl.special_tokens.get_special_token": [
            Call(arguments={"special_token_format": "phi", "special_token_type": "end"}, shows=lambda token, _: token, expected="<|end|>")
        ],
        "datasets.rl.special_tokens.get_mask_token": [
            Call(arguments={"mask_token_type": "end"}, shows=lambda token, _: token, expected="<|mask_end|>")
        ],
    }


def of_settings(folder: Path) -> Calls:
    base, other = {"seq_len": 512, "model": {"depth": 2}}, {"model": {"depth": 4, "width": "${seq_len}"}}
    merged = {"seq_len": 512, "model": {"depth": 4, "width": 512}}
    return {
        f"{SETTINGS}.for_resolver": [
            Call(
                arguments={"obj": {"name": "layer#"}, "n": 2, "replace_char": "#"},
                shows=lambda found, _: found,
                expected=[{"name": "layer0"}, {"name": "layer1"}],
            )
        ],
        f"{SETTINGS}.filter_dict": [
            Call(arguments={"input_dict": {"a": 0, "b": None}, "value": 0}, shows=lambda found, _: found, expected={"b": None})
        ],
        f"{SETTINGS}.filter_lists": [
            Call(arguments={"*args": (["a", "b"], [0, 1]), "value": 0}, shows=lambda found, _: found, expected=(["b"], [1]))
        ],
        f"{SETTINGS}.override_nested_dict": [
            Call(
                arguments={"input_dict": base, "override_dict": other},
                shows=lambda found, _: found,
                expected={"seq_len": 512, "model": {"depth": 4, "width": "${seq_len}"}},
            )
        ],
        f"{SETTINGS}.load_config": [
            Call(
                arguments={"*configs": (base, other), "use_native_types": False},
                shows=lambda found, _: (type(found).__name__, found.model.width, found.model.depth),
                expected=("DictConfig", merged["seq_len"], 4),
            )
        ],
        f"{SETTINGS}.save_config": [
            Call(
                arguments={"config": base, "output_path": folder / "config.json"},
                shows=lambda _, __: json.loads((folder / "config.json").read_text(encoding="utf-8")),
                expected=base,
            )
        ],
    }


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of nine training tokens and three validation tokens."""
    splits = {"train": np.arange(9, dtype=np.uint16), "validation": np.arange(10, 13, dtype=np.uint16)}
    return library_cache(tmp_path_factory.mktemp("cache"), word_tokenizer(20), **splits)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Calls:
    """The calls of every name."""
    folder = tmp_path_factory.mktemp("calls")
    return {
        **of_concatenations(folder),
        **of_configurations(cache),
        **of_providers(folder, cache),
        **of_datasets(cache),
        **of_memory(folder),
        **of_conversations(folder),
        **of_settings(folder),
    }


def test_calls_cover_every_name_and_every_parameter_in_order(calls: Calls) -> None:
    assert sorted(calls) == sorted(INTERFACE)
    passed = {name: [list(call.arguments) for call in of_name] for name, of_name in calls.items()}
    assert passed == {name: [list(INTERFACE[name])] * len(of_name) for name, of_name in calls.items()}


def test_calls_give_every_parameter_another_value_than_its_default(calls: Calls) -> None:
    left = {
        (name, parameter)
        for name, parameters in INTERFACE.items()
        for parameter, default in parameters.items()
        if all(type(call.arguments[parameter]) is type(default) and call.arguments[parameter] == default for call in calls[name])
    }
    assert left == ONE_VALUE


@pytest.mark.parametrize("name", INTERFACE)
def test_call_has_the_same_result_by_keyword_and_by_position(
    calls: Calls, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "store"))
    for call in calls[name]:
        assert call.result(name, by_position=False) == call.expected
        assert call.result(name, by_position=True) == call.expected


def uses(cache: Path) -> dict[str, tuple[Any, Any]]:
    """Actual and expected value of each member."""
    provider = LMDatasetProvider(cache_dir=cache, seq_len=2, weight=1.5, label="numbers")
    streaming = StreamLMDatasetProvider(str(cache), seq_len=2, weight=1.5, label="numbers", validation_file=cache / "validation.npy")
    numbers, validation = [0, 2, 4, 6], [10]
    found: dict[str, tuple[Any, Any]] = {}
    providers: dict[str, Any] = {LM: provider, f"{STREAMED}.StreamLMDatasetProvider": streaming}
    for name, made in providers.items():
        found |= {
            f"{name}.weight": (made.weight, 1.5),
            f"{name}.label": (made.label, "numbers"),
            f"{name}.get_train_dataset": (firsts(made.get_train_dataset()), numbers),
            f"{name}.get_val_dataset": (firsts(made.get_val_dataset()), validation),
            f"{name}.get_tokenizer": (len(made.get_tokenizer()), 21),
        }
    prompts = ChatDataset(talks(), chat_tokenizer(), "talk", "truth", max_length=99)
    tokenizer = chat_tokenizer()
    chats = ChatDatasetProvider(weight=1.5, label="talks", tokenizer=tokenizer)
    found |= {
        f"{CHAT}.chat_dataset.ChatDataset.__len__": (len(prompts), 3),
        f"{CHAT}.chat_dataset.ChatDataset.assert_within_max_length": (prompts.assert_within_max_length(), None),  # type: ignore[func-returns-value]
        f"{CHAT_PROVIDER}.weight": (chats.weight, 1.5),
        f"{CHAT_PROVIDER}.label": (chats.label, "talks"),
        f"{CHAT_PROVIDER}.get_train_dataset": (chats.get_train_dataset(), None),
        f"{CHAT_PROVIDER}.get_val_dataset": (chats.get_val_dataset(), None),
        f"{CHAT_PROVIDER}.get_tokenizer": (chats.get_tokenizer(), tokenizer),
    }
    streams: dict[str, Any] = {STREAMS: stream(), f"{CONCATS}.WeightedConcatIterableDataset": mixed_stream()}
    for name, made in streams.items():
        found |= {
            f"{name}.seq_len": (made.seq_len, 2),
            f"{name}.__len__": (len(made), 4 if name == STREAMS else 8),
            f"{name}.__iter__": (sorted(firsts(iter(made))), numbers if name == STREAMS else [*numbers, 100, 100, 102, 102]),
        }
    own = "datasets.dataset_provider.DatasetProvider"
    return found | {
        f"{own}.get_train_dataset": (firsts(_Own().get_train_dataset()), numbers),
        f"{own}.get_val_dataset": (_Own().get_val_dataset(), None),
        f"{own}.get_tokenizer": (_Own().get_tokenizer(), "words"),
        f"{CONCATS}.WeightedConcatDataset.seq_len": (concat().seq_len, 2),
        f"{CONCATS}.SequentialWeightedConcatDataset.seq_len": (concat("Sequential").seq_len, 2),
        f"{WINDOWS}.seq_len": (windows(0, 9).seq_len, 2),
        f"{WINDOWS}.__len__": (len(windows(0, 9)), 4),
    }


def test_every_member_of_a_class_returns_its_value(cache: Path) -> None:
    used = uses(cache)
    assert {f"{name}.{member}" for name, members in MEMBERS.items() for member in members} - used.keys() == set()
    assert {name: value for name, (value, _) in used.items()} == {name: expected for name, (_, expected) in used.items()}
