"""Local sources: globs, and folders that ``datasets.save_to_disk`` wrote."""

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict

from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.pipeline.sources.documents import read_documents
from phyagi_assets.pipeline.sources.files import Partition, readable
from phyagi_assets.pipeline.step import Workspace
from tests.support import build, declare_corpus, list_partitions, write_text

TEXTS = [f"Document {i}, of some words." for i in range(20)]


@pytest.fixture
def saved(data: Path) -> Path:
    """A dictionary of two splits, the training one in three files."""
    splits = {"train": Dataset.from_dict({"text": TEXTS[:15]}), "validation": Dataset.from_dict({"text": TEXTS[15:]})}
    DatasetDict(splits).save_to_disk(data / "raw" / "saved", num_shards={"train": 3, "validation": 1})
    return data / "raw" / "saved"


def texts(corpus_texts: Partition, declared: object) -> list[str]:
    return [text for batch in read_documents(declared, readable(corpus_texts)) for text in batch.texts.to_pylist()]  # type: ignore[arg-type]


def test_a_saved_dataset_is_read_in_the_order_of_its_rows(data: Path, saved: Path) -> None:
    corpus = declare_corpus(data, "corpus", "raw/saved/train")
    partition = list_partitions(corpus, data)["all"]
    assert len(partition.files) == 3
    assert texts(partition, corpus) == TEXTS[:15]
    assert saved.is_dir()


@pytest.mark.usefixtures("saved")
def test_a_saved_dictionary_keeps_its_splits(workspace: Workspace) -> None:
    corpus = declare_corpus(workspace.data, "corpus", "raw/saved")
    partition = list_partitions(corpus, workspace.data)["all"]
    assert partition.splits == {"saved/validation/data-00000-of-00001.arrow": "validation"}
    manifest = build(corpus, workspace)["all"][-1].artifact.manifest
    assert {split: of["documents"] for split, of in manifest.counts.items()} == {"train": 15, "validation": 5}


@pytest.mark.usefixtures("saved")
def test_a_split_that_the_source_has_is_not_made_again(data: Path) -> None:
    corpus = declare_corpus(data, "corpus", "raw/saved", splits={"validation": 0.1})
    with pytest.raises(DeclarationError, match=r"splits: .*saved/validation/.* is in the source's own validation split; take validation"):
        list_partitions(corpus, data)


@pytest.mark.usefixtures("saved")
def test_what_the_source_does_not_hold_back_is_divided(workspace: Workspace) -> None:
    corpus = declare_corpus(workspace.data, "corpus", "raw/saved", splits={"test": 0.4})
    counts = build(corpus, workspace)["all"][-1].artifact.manifest.counts
    assert counts["validation"]["documents"] == 5
    assert counts["train"]["documents"] + counts["test"]["documents"] == 15


def test_a_path_for_each_split_keeps_them(workspace: Workspace) -> None:
    for name, text in (("a", "One."), ("b", "Two."), ("c", "Three.")):
        write_text(workspace.data / "raw" / f"{name}.txt", text)
    paths = {"train": "raw/[ab].txt", "test": "raw/c.txt"}
    corpus = declare_corpus(workspace.data, "corpus", "unused", source={"path": paths})
    partition = list_partitions(corpus, workspace.data)["all"]
    assert {file.name: file.split for file in partition.files} == {"test/c.txt": "test", "train/a.txt": None, "train/b.txt": None}
    counts = build(corpus, workspace)["all"][-1].artifact.manifest.counts
    assert {split: of["documents"] for split, of in counts.items()} == {"train": 2, "test": 1}


def test_a_file_that_changes_its_split_changes_its_arrays_and_is_not_encoded_again(workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "a.txt", "One.")
    write_text(workspace.data / "raw" / "b.txt", "Two.")
    built = [
        build(declare_corpus(workspace.data, "corpus", "unused", source={"path": paths}), workspace)["all"]
        for paths in ({"train": "raw/a.txt", "test": "raw/b.txt"}, {"train": "raw/a.txt", "validation": "raw/b.txt"})
    ]
    assert [set(of[-1].artifact.manifest.counts) for of in built] == [{"train", "test"}, {"train", "validation"}]


@pytest.mark.parametrize("record", ["{}", "[", '{"_data_files": 3}'])
def test_a_folder_that_is_no_saved_dataset_is_an_error(data: Path, record: str) -> None:
    write_text(data / "raw" / "odd" / "state.json", record)
    with pytest.raises(SourceError, match=r"state.json: is not what datasets.save_to_disk writes"):
        list_partitions(declare_corpus(data, "corpus", "raw/odd"), data)


def test_a_saved_dataset_that_lost_a_file_is_an_error_and_no_shorter_one(data: Path, saved: Path) -> None:
    (saved / "train" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(SourceError, match=r"names data-00001-of-00003.arrow, which is not there; save the dataset again"):
        list_partitions(declare_corpus(data, "corpus", "raw/saved"), data)


def test_a_glob_may_match_saved_datasets(data: Path, saved: Path) -> None:
    saved.rename(saved.with_name("first"))
    Dataset.from_dict({"text": ["more"]}).save_to_disk(data / "raw" / "second")
    corpus = declare_corpus(data, "corpus", "raw/*", partition_by="^([^/]*)/")
    partitions = list_partitions(corpus, data)
    assert {key: len(partition.files) for key, partition in partitions.items()} == {"first": 4, "second": 1}
    assert texts(partitions["second"], corpus) == ["more"]
    assert json.loads((data / "raw" / "second" / "state.json").read_text())["_data_files"]
