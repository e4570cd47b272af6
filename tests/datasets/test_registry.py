"""Datasets are created from configurations by the registry."""

import copy
import logging
import math
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import (
    DatasetProviderConfig,
    LMDataCollator,
    LMDatasetProvider,
    SequentialWeightedConcatDataset,
    StreamLMDataset,
    StreamLMDatasetProvider,
    StreamLMDatasetProviderConfig,
    WeightedConcatDataset,
    WeightedConcatIterableDataset,
    get_data_collator,
    get_dataset,
    get_dataset_provider,
)
from phyagi_assets.steps.step import Workspace
from tests.datasets.caches import library_cache, pipeline_cache, reference_cache, word_tokenizer
from tests.support import GPT2

KINDS = {"random": WeightedConcatDataset, "sequential": SequentialWeightedConcatDataset, "random_iterable": WeightedConcatIterableDataset}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arrays of 10, 7 and 0 windows of two tokens, with different ids."""
    folder = tmp_path_factory.mktemp("arrays")
    for number, windows in enumerate((10, 7, 0)):
        np.save(folder / f"{number}.npy", np.arange(2 * windows + 1, dtype=np.uint16) + 100 * number)
    return [str(folder / f"{number}.npy") for number in range(3)]


def _config(file: str, **keys: Any) -> dict[str, Any]:
    return {"train_file": file, "seq_len": 2, **keys}


def _windows(dataset: Any) -> list[list[int]]:
    return [sample["input_ids"].tolist() for sample in dataset]


@given(
    concat=st.sampled_from(list(KINDS)),
    weights=st.lists(st.decimals("0.1", 3, places=1).map(float), min_size=2, max_size=2),
    whole=st.decimals("0.1", 2, places=1).map(float),
)
def test_dataset_length_is_multiplied_by_both_weights_and_samples_carry_its_index(
    files: list[str], concat: str, weights: list[float], whole: float
) -> None:
    configs = [_config(file, weight=weight) for file, weight in zip(files, weights, strict=False)]
    dataset, evaluation = get_dataset(configs, dataset_concat=concat, dataset_global_weight=whole)
    assert type(dataset) is KINDS[concat]
    assert evaluation is None
    samples = list(dataset)
    times = Counter(sample["dataset_idx"] for sample in samples)
    due = [math.ceil(size * Decimal(str(weight)) * Decimal(str(whole))) for size, weight in zip((10, 7), weights, strict=True)]
    assert [times[0], times[1], len(dataset)] == [*due, sum(due)]
    for sample in samples:
        start = 100 * sample["dataset_idx"] + 2 * sample["idx"]
        assert sample["input_ids"].tolist() == sample["labels"].tolist() == [start, start + 1]


def test_configurations_are_not_modified(files: list[str]) -> None:
    mapping = _config(files[0], weight=0.5)
    given_as = [mapping, DatasetProviderConfig.from_dict(mapping), StreamLMDatasetProviderConfig.from_dict(mapping)]
    before = copy.deepcopy(given_as)
    of_all, _ = get_dataset(given_as, dataset_global_weight=2)
    assert given_as == before
    assert len(of_all) == 30
    for one in given_as:
        assert _windows(get_dataset(one)[0]) == _windows(get_dataset([one])[0])


def test_order_depends_on_the_given_seed_or_that_of_the_first_configuration(files: list[str]) -> None:
    def order(first: int, second: int, **keys: Any) -> list[list[int]]:
        return _windows(get_dataset([_config(files[0], seed=first), _config(files[1], seed=second)], "random_iterable", **keys)[0])

    assert order(1, 2) == order(1, 3) == order(2, 2, seed=1)
    assert order(1, 2) != order(2, 1)


def test_evaluation_datasets_of_one_label_are_concatenated_completely(files: list[str]) -> None:
    parts = [("news", 0), ("talk", 1), ("news", 1)]
    configs = [_config(files[0], validation_file=files[number], label=label, weight=0.3) for label, number in parts]
    _, evaluation = get_dataset(configs)
    assert evaluation is not None
    assert list(evaluation) == ["news", "talk"]
    assert [len(dataset) for dataset in evaluation.values()] == [17, 7]
    assert type(evaluation["news"]) is SequentialWeightedConcatDataset
    assert _windows(evaluation["news"]) == [[i, i + 1] for i in (*range(0, 20, 2), *range(100, 114, 2))]
    assert {sample["dataset_idx"] for sample in evaluation["news"]} == {0, 1}
    _, streamed = get_dataset(configs, eval_dataset_concat="random_iterable")
    assert streamed is not None
    assert sorted(_windows(streamed["news"])) == _windows(evaluation["news"])


def test_dataset_without_samples_is_skipped_with_a_warning(files: list[str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        dataset, evaluation = get_dataset([_config(files[0], validation_file=files[2], label="empty"), _config(files[2])])
    assert (len(dataset), evaluation) == (10, None)
    assert f"training dataset {files[2]} has no sample of 2 tokens" in caplog.text
    assert "evaluation dataset 'empty' has no sample of 2 tokens" in caplog.text


@pytest.mark.parametrize("concat", KINDS)
@pytest.mark.parametrize("keys", [{"number": 2}, {"number": 0, "seq_len": 500}])
def test_training_datasets_without_samples_raise(files: list[str], concat: str, keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="dataset_configs: their training datasets have no sample; lower seq_len, or raise the weights"):
        get_dataset([_config(files[keys["number"]], **{name: of for name, of in keys.items() if name != "number"})], concat)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        (
            {"dataset_concat": "shuffled"},
            "dataset_concat: unknown name 'shuffled'; use one of: random, random_iterable, sequential",
        ),
        (
            {"eval_dataset_concat": "all"},
            "eval_dataset_concat: unknown name 'all'; use one of: random, random_iterable, sequential",
        ),
        ({"dataset_provider": "vision"}, "dataset_provider: unknown name 'vision'; use one of: lm, stream_lm"),
        ({"dataset_configs": []}, "dataset_configs: is empty"),
        ({"dataset_configs": [{"seqlen": 2}]}, "'seqlen' is not a field of DatasetProviderConfig"),
        ({"dataset_configs": [{"seq_len": 2}]}, "dataset_configs: none of their arrays exists"),
        ({"dataset_global_weight": -1}, "dataset_global_weight: is -1"),
        ({"seed": -1}, "seed: is -1; use an integer, 0 or more"),
        ({"seed": "42"}, "seed: is '42'; use an integer, 0 or more"),
        ({"dataset_global_weight": float("nan")}, "dataset_global_weight: is nan"),
    ],
)
def test_unknown_name_raises_an_error_that_lists_the_names(files: list[str], arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        get_dataset(**{"dataset_configs": [_config(files[0])], **arguments})


@pytest.mark.parametrize("configs", ["cache", None, ["cache"], 3])
def test_value_that_is_not_a_configuration_is_named(configs: Any) -> None:
    with pytest.raises(TypeError, match=r"dataset_configs: ('cache'|None|3) is not a configuration; give an object or a mapping"):
        get_dataset(configs)


def test_providers_and_collators_are_known_by_name() -> None:
    assert (get_dataset_provider("lm"), get_dataset_provider("stream_lm")) == (LMDatasetProvider, StreamLMDatasetProvider)
    collator = get_data_collator("lm", ignore_token_ids=[5], ignore_token_id_range=(1, 2), ignore_index=-1)
    assert isinstance(collator, LMDataCollator)
    assert collator([{"labels": torch.tensor([1, 3, 5])}])["labels"].tolist() == [[-1, 3, -1]]
    assert get_data_collator()([{"labels": torch.tensor([1])}])["labels"].tolist() == [[1]]
    with pytest.raises(ValueError, match="data_collator_type: unknown name 'vision'; use one of: lm"):
        get_data_collator("vision")
    with pytest.raises(ValueError, match="dataset_provider: unknown name 'vision'"):
        get_dataset_provider("vision")


def test_single_stream_is_returned_unchanged_and_several_are_mixed(files: list[str]) -> None:
    config = _config(files[0], validation_file=files[1])
    dataset, evaluation = get_dataset({**config, "shuffle": True}, dataset_provider="stream_lm")
    assert evaluation is not None
    assert isinstance(dataset, StreamLMDataset)
    assert dataset.shuffle
    assert isinstance(evaluation["0"], StreamLMDataset)
    assert _windows(evaluation["0"]) == [[i, i + 1] for i in range(100, 114, 2)]
    config = {**config, "label": "0"}
    mixed, both = get_dataset([config, config], "random_iterable", "random_iterable", "stream_lm", 0.5)
    assert both is not None
    assert [type(mixed), type(both["0"])] == [WeightedConcatIterableDataset] * 2
    assert (len(mixed), len(both["0"])) == (10, 14)
    for concats in (("random", "random_iterable"), ("random_iterable", "sequential")):
        with pytest.raises(ValueError, match="dataset_concat: only 'random_iterable' can concatenate streams"):
            get_dataset([config, config], *concats, dataset_provider="stream_lm")


def test_mark_above_every_id_can_be_set(files: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "marked.npy", np.array([1, 60_002, 3]))
    dataset, _ = get_dataset(_config(str(tmp_path / "marked.npy"), random_mask_prob=1.0), random_mask_offset=60_000)
    assert _windows(dataset) == [[1, 2]]
    assert dataset[0]["labels"].tolist() == [1, -100]
    assert _windows(get_dataset(_config(files[0]))[0])[0] == [0, 1]


def test_caches_of_three_formats_can_be_concatenated_if_their_tokenizer_is_the_same(workspace: Workspace, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    gpt2 = AutoTokenizer.from_pretrained(GPT2)
    ids = np.array(gpt2("one two three four five six seven eight")["input_ids"], dtype=np.uint16)
    folders = [
        pipeline_cache(workspace, "news", ["one two three four five six seven eight"], append_eos=False),
        library_cache(tmp_path / "library", gpt2, train=ids, validation=ids),
        reference_cache(tmp_path / "reference", "no tokenizer", train=ids, validation=ids),
    ]
    configs = [{"cache_dir": folder, "seq_len": 3, "label": "all"} for folder in folders]
    dataset, evaluation = get_dataset(configs, "sequential")
    assert evaluation is not None
    windows = [ids[:3].tolist(), ids[3:6].tolist()]
    assert _windows(dataset) == windows * 3
    assert _windows(evaluation["all"]) == windows * 2
    other = library_cache(tmp_path / "other", word_tokenizer(30), train=ids % 30)
    with pytest.raises(ValueError, match=r"the caches have different tokenizers, .* \(50257 tokens, EOS 50256\), .*other/tokenizer \(31"):
        get_dataset([*configs, {"cache_dir": other, "seq_len": 3}])


def test_tokenizers_of_equal_size_are_distinguished_by_their_tokens_only(tmp_path: Path) -> None:
    ids = np.arange(9, dtype=np.uint16)
    folders = {name: tmp_path / name for name in ("one", "same", "other")}
    for name, folder in folders.items():
        tokenizer = word_tokenizer(30, "v" if name == "other" else "w")
        if name == "same":
            tokenizer.backend_tokenizer.enable_padding()
        library_cache(folder, tokenizer, train=ids)
    written = {name: (folder / "tokenizer" / "tokenizer.json").read_bytes() for name, folder in folders.items()}
    assert len(set(written.values())) == 3
    assert len(get_dataset([{"cache_dir": folders[name], "seq_len": 2} for name in ("one", "same")])[0]) == 8
    for name in ("one", "same"):
        with pytest.raises(ValueError, match="the caches have different tokenizers"):
            get_dataset([{"cache_dir": folders[name], "seq_len": 2}, {"cache_dir": folders["other"], "seq_len": 2}])


def test_evaluation_datasets_without_a_label_are_numbered_and_returned_unchanged(files: list[str]) -> None:
    configs = [_config(files[0], validation_file=files[1]), _config(files[0]), _config(files[1], validation_file=files[0])]
    dataset, evaluation = get_dataset(dataset_configs=configs, eval_dataset_concat=None)
    assert evaluation is not None
    assert {label: (type(of).__name__, len(of)) for label, of in evaluation.items()} == {"0": ("LMDataset", 7), "2": ("LMDataset", 10)}
    assert (dataset.seq_len, evaluation["0"].seq_len) == (2, 2)
    only, both = get_dataset([{"validation_file": file, "seq_len": 2, "label": "all"} for file in files[:2]])
    assert both is not None
    assert (only, len(both["all"])) == (None, 17)


def test_configuration_can_name_its_provider(files: list[str]) -> None:
    streamed = {"dataset_provider": "stream_lm", "dataset_path": files[1], "seq_len": 2, "weight": 2.0}
    mixed, _ = get_dataset([_config(files[0]), streamed], "random_iterable")
    assert len(mixed) == 24
    with pytest.raises(ValueError, match="dataset_provider: unknown name 'vision'"):
        get_dataset({**streamed, "dataset_provider": "vision"})


def test_mark_depends_on_the_dtype_of_the_array(tmp_path: Path) -> None:
    for dtype, mark in ((np.uint16, 1 << 15), (np.int32, 1 << 30)):
        np.save(tmp_path / "marked.npy", np.array([1, 40 + mark, 3], dtype=dtype))
        dataset, _ = get_dataset({"train_file": tmp_path / "marked.npy", "seq_len": 2, "random_mask_prob": 1.0})
        assert (dataset[0]["input_ids"].tolist(), dataset[0]["labels"].tolist()) == ([1, 40], [1, -100])
