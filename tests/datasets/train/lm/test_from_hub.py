"""Caches are created from datasets on the Hub, from files and from folders, and leave no other files."""

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from phyagi_assets.datasets import DatasetProviderConfig, LMDatasetProvider, get_dataset
from phyagi_assets.datasets.train.lm.lm_dataset_provider import _tokenize_concatenated
from phyagi_assets.errors import PhyagiAssetsError, SourceError, TokenizerError
from phyagi_assets.settings import STORE_VARIABLE
from phyagi_assets.steps import text_cache
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.datasets.caches import ByCharacter
from tests.datasets.leftovers import contents, in_shared_memory, left_in_shared_memory
from tests.datasets.train.lm.folders import AWKWARD, DOCUMENTS, PLAIN, expected, ids, made, saved, shouted, words
from tests.hub import JSON_LINES, WIKITEXT
from tests.support import write_jsonl

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")
MODULE = LMDatasetProvider.__module__
ENGINES = EnginePool()
"""Engines that the process with access to the Hub loads once."""


# What is left


def failing(examples: dict[str, list[str]]) -> dict[str, list[list[int]]]:
    if DOCUMENTS[-1] in examples["text"]:
        raise ZeroDivisionError("in the middle")
    return {"input_ids": [[1, 2] for _ in examples["text"]]}


@pytest.mark.parametrize("shared", [True, False])
def test_conversion_leaves_no_file_except_the_cache(small: Any, shared: bool) -> None:
    folder = saved(train=DOCUMENTS)
    before, shared_before = contents(folder), in_shared_memory()
    made(small, validation_split=0.5, use_shared_memory=shared)
    of_cache = {"config.json", "manifest.json", "tokenizer.pkl", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"}
    of_splits = {f"{split}{ending}" for split in ("train", "validation") for ending in (".npy", ".documents.npy")}
    assert set(contents("cache")) == of_cache | of_splits
    made(small, validation_split=0.5, use_shared_memory=shared, mapping_fn=shouted, mapping_fn_kwargs={"mark": ""})
    assert set(contents("cache")) == of_cache | {
        f"{split}{ending}" for split in ("train", "validation") for ending in (".npy", "_labels.npy")
    }
    assert contents(folder) == before
    assert not left_in_shared_memory(shared_before)


@pytest.mark.parametrize("arguments", [{"mapping_fn": failing}, {}])
def test_failure_keeps_the_previous_cache_and_no_other_file(small: Any, arguments: dict[str, Any]) -> None:
    saved(train=PLAIN)
    made(small)
    before, shared_before = contents("cache"), in_shared_memory()
    shutil.rmtree("dataset")
    folder = saved(train=DOCUMENTS[:-1], test=[DOCUMENTS[-1]] if arguments else ["", ""])
    dataset = contents(folder)
    with pytest.raises((ZeroDivisionError, SourceError)):
        made(small, **arguments)
    assert (contents("cache"), contents(folder)) == (before, dataset)
    assert not left_in_shared_memory(shared_before)
    assert len(LMDatasetProvider.from_cache("cache", seq_len=8).get_train_dataset()) == (len(ids()) - 1) // 8


def test_cache_that_replaces_another_keeps_none_of_its_splits(small: Any) -> None:
    saved(train=DOCUMENTS, validation=PLAIN, test=PLAIN, extra=PLAIN)
    made(small)
    assert {"validation.npy", "test.npy", "extra.npy"} < set(contents("cache"))
    Path("cache/notes.txt").write_text("the user's own")
    shutil.rmtree("dataset")
    saved(train=PLAIN)
    provider = made(small)
    assert {path.name for path in Path("cache").glob("*.npy")} == {"train.npy", "train.documents.npy"}
    assert (provider.get_val_dataset(), Path("cache/notes.txt").read_text()) == (None, "the user's own")


def test_cache_loads_by_its_folder_with_its_tokenizer(small: Any) -> None:
    saved(train=DOCUMENTS, validation=PLAIN)
    made(small)
    assert json.loads(Path("cache/config.json").read_text())["dtype"] == "uint16"
    provider = LMDatasetProvider.from_config(DatasetProviderConfig(cache_dir="cache", seq_len=16))  # type: ignore[arg-type]
    assert provider.get_train_dataset()[1]["input_ids"].tolist() == ids()[16:32]
    train, evaluation = get_dataset({"cache_dir": "cache", "seq_len": 4, "weight": 2, "label": "plain"})
    assert len(train) == (len(ids()) - 1) // 4 * 2
    assert evaluation is not None
    assert evaluation["plain"][0]["input_ids"].tolist() == ids("validation")[:4]
    assert provider.get_tokenizer()(AWKWARD)["input_ids"] == small(AWKWARD)["input_ids"]
    shutil.rmtree("cache/tokenizer")
    Path("cache/manifest.json").unlink()
    allowed = LMDatasetProvider.from_cache("cache", allow_pickle=True)
    assert allowed.get_tokenizer()(AWKWARD)["input_ids"] == small(AWKWARD)["input_ids"]


def test_cache_does_not_contain_the_path_of_its_folder(small: Any, small_folder: Path) -> None:
    saved(train=DOCUMENTS)
    for arguments in ({}, {"mapping_fn": _tokenize_concatenated}):
        made(small, **arguments)
        for path in Path("cache").rglob("*.json"):
            assert str(Path.cwd()) not in path.read_text(encoding="utf-8")
            assert str(small_folder) not in path.read_text(encoding="utf-8"), path


# Other tokenizers, and other functions that load


def test_tokenizer_without_a_fast_version_encodes_by_itself() -> None:
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    saved(train=PLAIN + AWKWARD, test=AWKWARD)
    provider = made(tokenizer, validation_split=0.5, shuffle=False)
    assert ids() + ids("validation") == expected(tokenizer, PLAIN + AWKWARD)
    assert provider.get_tokenizer()(AWKWARD)["input_ids"] == tokenizer(AWKWARD)["input_ids"]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(256, "uint16"), (70_000, "int32"), (None, "int32")])
def test_tokenizer_of_another_class_encodes_by_itself(vocab_size: int | None, dtype: str) -> None:
    tokenizer = ByCharacter()
    if vocab_size is not None:
        tokenizer.vocab_size = vocab_size
    saved(train=["ab", "", "c"])
    assert len(made(tokenizer).get_train_dataset()) == 0
    assert (ids(), np.load("cache/train.npy").dtype) == ([97, 98, 0, 99, 0], dtype)


@pytest.mark.parametrize("name", ["load_dataset", "load_from_disk"])
def test_functions_of_other_packages_can_be_replaced_in_the_module(small: Any, name: str) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_dict({"text": PLAIN})
    splits = {"load_dataset": rows, "load_from_disk": DatasetDict(train=rows)}[name]
    given = {"load_dataset": {"dataset_path": "some/texts"}, "load_from_disk": {"disk_file_path": "texts"}}[name]
    with mock.patch(f"{MODULE}.{name}", return_value=splits) as load, mock.patch(f"{MODULE}.AutoTokenizer.from_pretrained") as tokenizer:
        tokenizer.return_value = small
        LMDatasetProvider.from_hub(**given, tokenizer="named")
    assert (load.call_args.args[0], tokenizer.call_args.args) == (next(iter(given.values())), ("named",))
    assert ids() == expected(small, PLAIN)
    with mock.patch(f"{MODULE}.AutoTokenizer") as whole:
        whole.from_pretrained.return_value = small
        saved(train=PLAIN)
        made("named")
    assert whole.from_pretrained.call_count == 1


# Invalid arguments and sources


def test_object_that_is_not_a_tokenizer_raises() -> None:
    saved(train=PLAIN)
    with pytest.raises(TokenizerError, match="tokenizer 'int' is int, which has no fast version"):
        made(5)


@pytest.mark.parametrize("arguments", [{}, {"mapping_fn": _tokenize_concatenated}])
def test_tokenizer_without_an_eos_raises_if_one_is_requested(arguments: dict[str, Any]) -> None:
    saved(train=["w1 w2"])
    with pytest.raises(TokenizerError, match=r"no EOS token to (put after|append to) each .*use_eos_token=False"):
        made(words(5), **arguments)
    made(words(5), use_eos_token=False, **arguments)
    assert ids() == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"mapping_column_name": "body"}, "split 'train' has no column 'body'; it has text, stars; see mapping_column_name"),
        ({"mapping_column_name": ["text", "stars"]}, "split 'train': column 'stars' contains int64, not text; see mapping_column_name"),
        ({"dataset_path": "wikitext"}, "dataset_path, disk_file_path: give one"),
        ({"disk_file_path": None}, "dataset_path, disk_file_path: give one"),
        ({"validation_split": 1.5}, "validation_split: is 1.5"),
        ({"validation_split": 10_000}, "validation_split: 10000 of 11 tokens in 2 documents leave nothing to train on"),
        ({"tokenizer": "no/such/folder"}, "tokenizer 'no/such/folder' cannot be loaded: "),
    ],
)
def test_invalid_argument_raises_an_error_with_its_name(small: Any, arguments: dict[str, Any], refusal: str) -> None:
    saved(train={"text": ["Some text.", "", "Some more."], "stars": [1, 2, 3]})
    given = {"disk_file_path": "dataset", "tokenizer": small, **arguments}
    with pytest.raises((ValueError, PhyagiAssetsError), match=refusal):
        LMDatasetProvider.from_hub(**given)
    assert not Path("cache").exists() or not contents("cache")


def test_dataset_without_a_training_split_raises(small: Any) -> None:
    saved(test=PLAIN, dev=PLAIN)
    with pytest.raises(SourceError, match="dataset: has no split 'train'; it has test, dev"):
        made(small)
    shutil.rmtree("dataset")
    saved(train=PLAIN, test=["", None])
    with pytest.raises(SourceError, match="split 'test' has 2 documents, none with any text"):
        made(small)


# Of the Hub and of files


def from_hub(folder: Path, store: Path, offline: bool = False, **arguments: Any) -> tuple[list[int], dict[str, int]]:
    """Create a cache, and return the first window and the number of tokens of each split; runs in the process of the clients."""
    with ExitStack() as patches:
        patches.enter_context(chdir(folder))
        patches.enter_context(mock.patch.dict(os.environ, {STORE_VARIABLE: str(store)}))
        patches.enter_context(mock.patch.object(text_cache, "EnginePool", return_value=ENGINES))
        for setting in ("huggingface_hub.constants.HF_HUB_OFFLINE", "datasets.config.HF_HUB_OFFLINE"):  # set at import
            patches.enter_context(mock.patch(setting, offline))
        first = LMDatasetProvider.from_hub(seq_len=16, **arguments).get_train_dataset()[0]["input_ids"].tolist()
        return first, {path.stem: len(np.load(path)) for path in sorted(Path("cache").glob("*.npy")) if "." not in path.stem}


@pytest.fixture
def caches(hub_client: ProcessPoolExecutor, tmp_path: Path, library_store: Path) -> Callable[..., Any]:
    """Call `from_hub` in the process of the clients."""
    return lambda **arguments: hub_client.submit(from_hub, tmp_path, library_store, **arguments).result()


def texts_of(folder: Path, *names: Any, **arguments: Any) -> dict[str, list[str]]:
    """Return the text of a dataset on the Hub; runs in the process of the clients."""
    from datasets import load_dataset

    with chdir(folder):
        return {name: list(split["text"]) for name, split in load_dataset(*names, **arguments).items()}


def test_hub_dataset_loads_by_its_former_name_and_offline_by_its_present_name(
    hub_client: ProcessPoolExecutor, caches: Callable[..., Any], tmp_path: Path, small: Any
) -> None:
    texts = hub_client.submit(texts_of, tmp_path, "Salesforce/wikitext", WIKITEXT).result()
    arguments = {"dataset_name": WIKITEXT, "tokenizer": "gpt2"}
    first, tokens = caches(dataset_path="wikitext", revision="main", **arguments)
    assert tokens == {split: len(expected(small, of)) for split, of in texts.items()}
    assert first == expected(small, texts["train"][:20])[:16]
    assert caches(dataset_path="Salesforce/wikitext", **arguments, offline=True) == (first, tokens)
    with pytest.raises(SourceError, match=r"wikitext: .*without the Hub, cached datasets are found only by their full name"):
        caches(dataset_path="wikitext", **arguments, offline=True)


def test_hub_dataset_without_configurations_and_splits_is_a_training_split(caches: Callable[..., Any], tmp_path: Path) -> None:
    arguments = {"dataset_path": JSON_LINES, "tokenizer": "openai-community/gpt2"}
    _, tokens = caches(**arguments, raw_dir=tmp_path / "raw")
    assert set(tokens) == {"train"}
    assert list((tmp_path / "raw").rglob("*.arrow"))
    _, divided = caches(**arguments, data_files="countries.jsonl", validation_split=0.1)
    assert sum(divided.values()) == tokens["train"]
    assert 0 < divided["validation"] < 0.2 * tokens["train"]


@pytest.mark.parametrize("named", ["files", "folder"])
def test_local_files_load_by_their_format(caches: Callable[..., Any], tmp_path: Path, small: Any, small_folder: Path, named: str) -> None:
    texts = {"train": DOCUMENTS, "test": PLAIN[:3]}
    files = {split: str(write_jsonl(tmp_path / "raw" / f"{split}.jsonl", of_split)) for split, of_split in texts.items()}
    where: dict[str, Any] = {"data_files": files} if named == "files" else {"data_dir": str(tmp_path / "raw")}
    first, tokens = caches(dataset_path="json", tokenizer=str(small_folder), **where)
    assert first == expected(small, DOCUMENTS)[:16]
    assert tokens == {split: len(expected(small, of_split)) for split, of_split in texts.items()}


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"dataset_path": "no-such-dataset"}, "'no-such-dataset' doesn't exist on the Hub"),
        ({"dataset_path": "nobody/nothing"}, "'nobody/nothing' doesn't exist on the Hub"),
        ({"dataset_path": "wikitext", "dataset_name": "other"}, f"'other' not found. Available: .'{WIKITEXT}'"),
        ({"dataset_path": "glue", "dataset_name": "sst2"}, "split 'train' has no column 'text'; it has sentence, label, idx"),
        ({"dataset_path": JSON_LINES, "tokenizer": "no-such-tokenizer"}, "tokenizer 'no-such-tokenizer' cannot be loaded"),
    ],
)
def test_missing_hub_dataset_raises_an_error_with_its_name(caches: Callable[..., Any], arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises(Exception, match=refusal):
        caches(**arguments)
