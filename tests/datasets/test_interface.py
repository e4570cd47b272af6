"""The interface of the reference library: every name, with its parameters, their order and their defaults."""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

pytestmark = pytest.mark.torch

REQUIRED = inspect.Parameter.empty
CONFIG = {
    **dict.fromkeys(("cache_dir", "train_file", "validation_file", "validation_split", "tokenizer_file")),
    "seq_len": 2048,
    "shift_labels": False,
    "weight": 1.0,
    "label": None,
    "ignore_token_id": -100,
    "seed": 42,
    "random_mask_prob": None,
}
ARRAYS = {"input_ids": REQUIRED, "labels": None, "seq_len": 2048, "shift_labels": False}
STREAM = {"dataset_path": REQUIRED, "seq_len": 2048, "shift_labels": False, "weight": 1.0, "label": None, "seed": 42}
CONCAT = {"datasets": REQUIRED, "weights": REQUIRED, "**kwargs": REQUIRED}
KWARGS = {"**kwargs": REQUIRED}
STATE = {
    "set_rank_and_world_size": {"rank": REQUIRED, "world_size": REQUIRED},
    "state_dict": {},
    "load_state_dict": {"state_dict": REQUIRED},
}
TRAIN, CONCATS = "datasets.train", "datasets.concat_dataset"
LM, STREAMED = f"{TRAIN}.lm.lm_dataset_provider.LMDatasetProvider", f"{TRAIN}.stream_lm.stream_lm_dataset_provider"
MEMORY, SETTINGS = "datasets.shared_memory_utils", "utils.config"

CHAT, TEXT = "datasets.rl.chat", "datasets.rl.formatting_utils"
CHAT_PROVIDER = f"{CHAT}.chat_dataset_provider.ChatDatasetProvider"
CHAT_FILES = dict.fromkeys(("train_file", "validation_file", "tokenizer"))
CHAT_READ = {"filter_max_length": False, "tokenize": True}
CHAT_REST = {"weight": 1.0, "label": None, "subsample": None}

INTERFACE: dict[str, dict[str, Any]] = {
    **{f"{CONCATS}.{kind}WeightedConcatDataset": CONCAT for kind in ("", "Sequential")},
    **{f"{CONCATS}.{kind}WeightedConcatDataset.__getitem__": {"idx": REQUIRED} for kind in ("", "Sequential")},
    f"{CONCATS}.WeightedConcatChatDataset": {"datasets": REQUIRED, "weights": REQUIRED, "labels": None},
    f"{CONCATS}.WeightedConcatIterableDataset": CONCAT,
    **{f"{CONCATS}.WeightedConcatIterableDataset.{name}": of for name, of in STATE.items()},
    f"{CONCATS}.WeightedConcatIterableDataset.save_state": {"output_dir": REQUIRED, "step": REQUIRED},
    f"{CONCATS}.WeightedConcatIterableDataset.load_state": {"load_dir": REQUIRED, "step": None},
    "datasets.dataset_provider.DatasetProviderConfig": CONFIG,
    "datasets.dataset_provider.DatasetProviderConfig.from_dict": {"config_dict": REQUIRED},
    "datasets.dataset_provider.DatasetProviderConfig.to_dict": {},
    "datasets.dataset_provider.DatasetProvider": {},
    "datasets.dataset_provider.DatasetProvider.from_config": {"config": REQUIRED},
    "datasets.registry.get_dataset": {
        "dataset_configs": REQUIRED,
        "dataset_concat": "random",
        "eval_dataset_concat": None,
        "dataset_provider": "lm",
        "dataset_global_weight": 1.0,
    },
    "datasets.registry.get_data_collator": {"data_collator_type": "lm", **KWARGS},
    f"{MEMORY}.process_dataset_to_memory": {
        **dict.fromkeys(("dataset_dict", "cache_dir", "dtype", "processing_column_name"), REQUIRED),
        "num_workers": 1,
        "use_shared_memory": True,
    },
    f"{MEMORY}.save_memory_dataset": {
        **dict.fromkeys(("dataset_dict", "tokenizer", "cache_dir"), REQUIRED),
        "use_shared_memory": True,
    },
    f"{TRAIN}.lm.lm_dataset.LMDataset": {
        **ARRAYS,
        "ignore_token_id": -100,
        "random_mask_prob": None,
        "random_mask_offset": 32768,
        "seed": 42,
    },
    f"{TRAIN}.lm.lm_dataset.LMDataset.__getitem__": {"idx": REQUIRED},
    LM: {
        **{name: default for name, default in CONFIG.items() if name not in ("cache_dir", "seed")},
        "seed": None,
        **KWARGS,
    },
    f"{LM}.from_config": {"config": REQUIRED},
    f"{LM}.from_cache": {"cache_dir": REQUIRED, **KWARGS},
    f"{LM}.from_hub": {
        **dict.fromkeys(("dataset_path", "dataset_name", "disk_file_path", "data_dir", "data_files", "revision", "tokenizer")),
        **dict.fromkeys(("mapping_fn", "mapping_fn_kwargs", "mapping_column_name")),
        "validation_split": 0.0,
        "shuffle": True,
        "seed": 42,
        "num_workers": 1,
        "use_eos_token": True,
        "use_shared_memory": True,
        "cache_dir": "cache",
        "raw_dir": None,
        **KWARGS,
    },
    f"{TRAIN}.stream_lm.stream_lm_dataset.StreamLMDataset": {
        "dataset_name": REQUIRED,
        **ARRAYS,
        "read_ahead": 2048,
        "chunk_size": 1024,
    },
    **{f"{TRAIN}.stream_lm.stream_lm_dataset.StreamLMDataset.{name}": of for name, of in STATE.items()},
    f"{STREAMED}.StreamLMDatasetProviderConfig": STREAM,
    f"{STREAMED}.StreamLMDatasetProviderConfig.from_dict": {"config_dict": REQUIRED},
    f"{STREAMED}.StreamLMDatasetProviderConfig.to_dict": {},
    f"{STREAMED}.StreamLMDatasetProvider": {**STREAM, **KWARGS},
    f"{CHAT}.chat_dataset.ChatDataset": {
        "dataset": REQUIRED,
        "tokenizer": None,
        "messages_column_name": "messages",
        "ground_truth_column_name": None,
        "max_length": None,
        **CHAT_READ,
    },
    f"{CHAT}.chat_dataset.ChatDataset.__getitem__": {"idx": REQUIRED},
    f"{CHAT_PROVIDER}Config": {
        **CHAT_FILES,
        "messages_column_name": "question",
        "ground_truth_column_name": "answer",
        "max_length": 1024,
        **CHAT_READ,
        **CHAT_REST,
    },
    f"{CHAT_PROVIDER}Config.from_dict": {"config_dict": REQUIRED},
    f"{CHAT_PROVIDER}Config.to_dict": {},
    CHAT_PROVIDER: {
        **CHAT_FILES,
        "messages_column_name": "messages",
        "ground_truth_column_name": "ground_truth",
        "max_length": None,
        **CHAT_READ,
        **CHAT_REST,
        **KWARGS,
    },
    f"{TEXT}.apply_chat_template": {
        "example": REQUIRED,
        "special_token_format": REQUIRED,
        "shuffle": True,
        "add_mask_tokens": False,
        "system_message_format": "random",
        "system_message_prob": 0.25,
    },
    f"{TEXT}.patch_tokenizer_generation_tag": {"tokenizer": REQUIRED},
    "datasets.rl.special_tokens.get_special_token": {"special_token_format": REQUIRED, "special_token_type": None},
    "datasets.rl.special_tokens.get_mask_token": {"mask_token_type": REQUIRED},
    f"{TRAIN}.train_data_collator.LMDataCollator": {"ignore_token_ids": None, "ignore_token_id_range": None, "ignore_index": -100},
    f"{TRAIN}.train_data_collator.LMDataCollator.__call__": {"examples": REQUIRED},
    f"{SETTINGS}.for_resolver": {"obj": REQUIRED, "n": 1, "replace_char": None},
    f"{SETTINGS}.filter_dict": {"input_dict": REQUIRED, "value": None},
    f"{SETTINGS}.filter_lists": {"*args": REQUIRED, "value": None},
    f"{SETTINGS}.override_nested_dict": {"input_dict": REQUIRED, "override_dict": REQUIRED},
    f"{SETTINGS}.load_config": {"*configs": REQUIRED, "use_native_types": True},
    f"{SETTINGS}.save_config": {"config": REQUIRED, "output_path": REQUIRED},
}
"""Name → parameter → default, without `self`; a parameter that takes the rest has its stars."""

MEMBERS = {
    f"{CHAT}.chat_dataset.ChatDataset": ["__len__", "assert_within_max_length"],
    CHAT_PROVIDER: ["weight", "label", "get_train_dataset", "get_val_dataset", "get_tokenizer"],
    LM: ["weight", "label", "get_train_dataset", "get_val_dataset", "get_tokenizer"],
    f"{STREAMED}.StreamLMDatasetProvider": ["weight", "label", "get_train_dataset", "get_val_dataset", "get_tokenizer"],
    "datasets.dataset_provider.DatasetProvider": ["get_train_dataset", "get_val_dataset", "get_tokenizer"],
    f"{TRAIN}.stream_lm.stream_lm_dataset.StreamLMDataset": ["seq_len", "__iter__", "__len__"],
    f"{CONCATS}.WeightedConcatIterableDataset": ["seq_len", "__iter__", "__len__"],
    f"{CONCATS}.WeightedConcatDataset": ["seq_len"],
}


def _named(name: str) -> Any:
    parts = name.split(".")
    at = next(index for index, part in enumerate(parts) if part[0].isupper() or index == len(parts) - 1)
    found = import_module("phyagi_assets." + ".".join(parts[:at]))
    for part in parts[at:]:
        found = getattr(found, part)
    return found


def _public(of: Callable[..., Any]) -> dict[str, Any]:
    """Parameters of the reference; additional keyword-only parameters exist only in this library."""
    found = {}
    is_rest = False
    for parameter in inspect.signature(of).parameters.values():
        is_rest = is_rest or parameter.kind is inspect.Parameter.VAR_POSITIONAL
        if parameter.name == "self" or (parameter.kind is inspect.Parameter.KEYWORD_ONLY and not is_rest):
            continue
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        found[stars + parameter.name] = parameter.default
    return found


@pytest.mark.parametrize("name", INTERFACE)
def test_function_of_the_reference_has_its_parameters_in_order_with_defaults(name: str) -> None:
    expected, found = INTERFACE[name], _public(_named(name))
    assert list(found.items()) == list(expected.items())


@pytest.mark.parametrize("name", MEMBERS)
def test_class_of_the_reference_has_its_members(name: str) -> None:
    assert [member for member in MEMBERS[name] if not hasattr(_named(name), member)] == []
