"""Local sources: globs, and folders that ``datasets.save_to_disk`` wrote."""

import errno
import glob
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import DeclarationError, SourceDownError, SourceError
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.local_file import error_of_file
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
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


def test_saved_dataset_is_read_in_row_order(data: Path, saved: Path) -> None:
    corpus = declare_corpus(data, "corpus", "raw/saved/train")
    partition = list_partitions(corpus, data)["all"]
    assert len(partition.files) == 3
    assert texts(partition, corpus) == TEXTS[:15]
    assert saved.is_dir()


@pytest.mark.usefixtures("saved")
def test_saved_dataset_dict_keeps_its_splits(workspace: Workspace) -> None:
    corpus = declare_corpus(workspace.data, "corpus", "raw/saved")
    partition = list_partitions(corpus, workspace.data)["all"]
    assert partition.splits == {"saved/validation/data-00000-of-00001.arrow": "validation"}
    manifest = build(corpus, workspace)["all"][-1].artifact.manifest
    assert {split: of["documents"] for split, of in manifest.counts.items()} == {"train": 15, "validation": 5}


@pytest.mark.usefixtures("saved")
def test_split_of_the_source_is_not_split_again(data: Path) -> None:
    corpus = declare_corpus(data, "corpus", "raw/saved", splits={"validation": 0.1})
    with pytest.raises(DeclarationError, match=r"splits: .*saved/validation/.* is in the source's own validation split; remove validation"):
        list_partitions(corpus, data)


@pytest.mark.usefixtures("saved")
def test_remaining_files_of_the_source_are_split(workspace: Workspace) -> None:
    corpus = declare_corpus(workspace.data, "corpus", "raw/saved", splits={"test": 0.4})
    counts = build(corpus, workspace)["all"][-1].artifact.manifest.counts
    assert counts["validation"]["documents"] == 5
    assert counts["train"]["documents"] + counts["test"]["documents"] == 15


def test_paths_per_split_are_kept_as_splits(workspace: Workspace) -> None:
    for name, text in (("a", "One."), ("b", "Two."), ("c", "Three.")):
        write_text(workspace.data / "raw" / f"{name}.txt", text)
    paths = {"train": "raw/[ab].txt", "test": "raw/c.txt"}
    corpus = declare_corpus(workspace.data, "corpus", "unused", source={"path": paths})
    partition = list_partitions(corpus, workspace.data)["all"]
    assert {file.name: file.split for file in partition.files} == {"test/c.txt": "test", "train/a.txt": None, "train/b.txt": None}
    counts = build(corpus, workspace)["all"][-1].artifact.manifest.counts
    assert {split: of["documents"] for split, of in counts.items()} == {"train": 2, "test": 1}


def test_split_that_is_trained_on_despite_its_name_is_reported(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    splits = {name: Dataset.from_dict({"text": TEXTS[:2]}) for name in ("train", "latest", "dev", "test_sft")}
    DatasetDict(splits).save_to_disk(data / "raw" / "named")
    for _ in range(2):
        list_partitions(declare_corpus(data, "corpus", "raw/named"), data)
    told = [message.partition(" is trained on")[0] for message in caplog.messages if "is trained on" in message]
    assert told == [f"{data / 'raw' / 'named' / name}: its split {name!r}" for name in ("dev", "test_sft")]


def test_file_in_the_paths_of_two_splits_is_refused(data: Path) -> None:
    for name in ("a", "b"):
        write_text(data / "raw" / f"{name}.txt", name)
    (data / "linked").symlink_to("raw")
    (data / "same.txt").hardlink_to(data / "raw" / "b.txt")
    for held_out in ("raw/b.txt", "linked/b.txt", "same.txt"):
        corpus = declare_corpus(data, "corpus", "unused", source={"path": {"train": "raw/*.txt", "validation": held_out}})
        with pytest.raises(
            DeclarationError, match=rf"corpus\.yaml:\d+: source\.path\.validation: .*{held_out} is in the paths of both train"
        ):
            list_partitions(corpus, data)


def test_file_moved_to_another_split_is_not_encoded_again(workspace: Workspace) -> None:
    write_text(workspace.data / "raw" / "a.txt", "One.")
    write_text(workspace.data / "raw" / "b.txt", "Two.")
    built = [
        build(declare_corpus(workspace.data, "corpus", "unused", source={"path": paths}), workspace)["all"]
        for paths in ({"train": "raw/a.txt", "test": "raw/b.txt"}, {"train": "raw/a.txt", "validation": "raw/b.txt"})
    ]
    assert [set(of[-1].artifact.manifest.counts) for of in built] == [{"train", "test"}, {"train", "validation"}]


@pytest.mark.parametrize("record", ["{}", "[", '{"_data_files": 3}'])
def test_folder_without_a_saved_dataset_is_an_error(data: Path, record: str) -> None:
    write_text(data / "raw" / "odd" / "state.json", record)
    with pytest.raises(SourceError, match=r"state.json: is not what datasets.save_to_disk writes"):
        list_partitions(declare_corpus(data, "corpus", "raw/odd"), data)


def test_dataset_and_dictionary_saved_in_one_folder_are_an_error(data: Path, saved: Path) -> None:
    Dataset.from_dict({"text": ["newer"]}).save_to_disk(saved)
    with pytest.raises(SourceError, match=rf"{saved}: holds a saved dataset and a saved dictionary of splits; delete the folder"):
        list_partitions(declare_corpus(data, "corpus", "raw/saved"), data)


def test_saved_dataset_with_a_missing_file_is_an_error(data: Path, saved: Path) -> None:
    (saved / "train" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(SourceError, match=r"names data-00001-of-00003.arrow, which does not exist; save the dataset again"):
        list_partitions(declare_corpus(data, "corpus", "raw/saved"), data)


@pytest.mark.parametrize("path", ["raw/saved/*", "raw/saved/train/*", "raw/saved/**/*.json"])
def test_pattern_of_the_files_in_a_saved_dataset_is_an_error(data: Path, saved: Path, path: str) -> None:
    with pytest.raises(DeclarationError, match=rf"{saved}(/train)? is a folder written by datasets\.save_to_disk; name the folder itself"):
        list_partitions(declare_corpus(data, "corpus", path), data)


def test_saved_dataset_without_documents_is_an_error(data: Path) -> None:
    Dataset.from_dict({"text": ["a"]}).select([]).save_to_disk(data / "raw" / "none")
    with pytest.raises(DeclarationError, match=r"raw/none is a saved dataset without documents; save it again"):
        list_partitions(declare_corpus(data, "corpus", "raw/none"), data)


def test_glob_may_match_saved_datasets(data: Path, saved: Path) -> None:
    saved.rename(saved.with_name("first"))
    Dataset.from_dict({"text": ["more"]}).save_to_disk(data / "raw" / "second")
    corpus = declare_corpus(data, "corpus", "raw/*", partition_by="^([^/]*)/")
    partitions = list_partitions(corpus, data)
    assert {key: len(partition.files) for key, partition in partitions.items()} == {"first": 4, "second": 1}
    assert texts(partitions["second"], corpus) == ["more"]
    assert json.loads((data / "raw" / "second" / "state.json").read_text())["_data_files"]


def names(data: Path, path: str) -> list[str]:
    """The names of the files of a source in one partition."""
    return [file.name for file in list_partitions(declare_corpus(data, "corpus", path), data)["all"].files]


def test_linked_folders_are_entered(data: Path) -> None:
    write_text(data / "elsewhere" / "deep" / "a.txt", "a")
    write_text(data / "raw" / "c.txt", "c")
    (data / "raw" / "one").symlink_to(data / "elsewhere")
    assert names(data, "raw/**/*.txt") == ["c.txt", "one/deep/a.txt"]
    assert names(data, "raw/**") == ["c.txt", "one/deep/a.txt"]
    assert names(data, "raw/*/*/*.txt") == ["one/deep/a.txt"]


@pytest.mark.parametrize("target", ["raw", "raw/x", ".", "elsewhere"])
def test_link_to_a_parent_folder_is_not_followed(data: Path, target: str) -> None:
    write_text(data / "elsewhere" / "b" / "b.txt", "b")
    write_text(data / "raw" / "x" / "a.txt", "a")
    (data / "raw" / "x" / "far").symlink_to("../../elsewhere/b")
    (data / "elsewhere" / "b" / "up").symlink_to(data / target)
    (data / "raw" / "x" / "self").symlink_to(".")
    expected = ["x/a.txt", "x/far/b.txt"]
    assert names(data, "raw/**/*.txt") == expected
    assert names(data, "raw/**") == expected
    assert names(data, "raw/*/*/*.txt") == ["x/far/b.txt"]


def test_two_folders_that_link_to_each_other_are_read_once_each(data: Path) -> None:
    write_text(data / "raw" / "a" / "a.txt", "a")
    write_text(data / "raw" / "b" / "b.txt", "b")
    (data / "raw" / "a" / "to_b").symlink_to("../b")
    (data / "raw" / "b" / "to_a").symlink_to("../a")
    assert names(data, "raw/a/**/*.txt") == ["a.txt", "to_b/b.txt"]


link_targets = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=3)


@given(
    files=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    links=link_targets,
    pattern=st.sampled_from(["**", "**/*", "*/*", "*/**/*", "**/f0"]),
)
def test_listing_equals_that_of_glob_without_cycles(
    tmp_path_factory: pytest.TempPathFactory, files: list[int], links: list[tuple[int, int]], pattern: str
) -> None:
    """Folders 0 to 5 of a binary tree; a link leads only to a folder that contains neither it nor one that leads back."""
    data = tmp_path_factory.mktemp("data")
    folders = [data / "raw", *(data / "raw" / name for name in ("p", "q", "p/r", "p/s", "q/t"))]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for i, at in enumerate(files):
        write_text(folders[at] / f"f{i}", "x")
    for i, (at, to) in enumerate(links):
        if to in (3, 4, 5) and at < to and not folders[at].is_relative_to(folders[to]):
            (folders[at] / f"l{i}").symlink_to(folders[to])
    found = sorted(name for name in glob.glob(pattern, root_dir=data / "raw", recursive=True) if (data / "raw" / name).is_file())  # noqa: PTH207
    listed = names(data, f"raw/{pattern}") if found else []
    assert listed == found


def test_files_of_tools_are_left_out_and_counted(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = [".part-2.jsonl", ".ipynb_checkpoints/part-1.jsonl", "_temporary/0/part-1.jsonl", "day/UPPER.JSONL"]
    for name in ["part-0.jsonl", "day/part-1.jsonl", "_SUCCESS", *left]:
        write_text(data / "raw" / name, '{"text": "x"}')
    sources = Sources(data, LocalStore(data / "notes"))
    listing = sources.listing(declare_corpus(data, "corpus", "raw/**/*.jsonl"))
    assert [file.name for file in listing.partitions["all"].files] == ["day/part-1.jsonl", "part-0.jsonl"]
    assert sorted(file.origin for file in listing.left_out) == sorted(str(data / "raw" / name) for name in left)
    sources.listing(declare_corpus(data, "corpus", "raw/**/*.jsonl"))
    (told,) = caplog.messages
    assert told.startswith("corpus: 4 files left out: ")
    assert "2 hidden" in told
    assert names(data, "raw/_temporary/**/*.jsonl") == ["0/part-1.jsonl"]
    assert names(data, "raw/.ipynb_checkpoints/*.jsonl") == ["part-1.jsonl"]


@pytest.mark.parametrize(
    ("path", "files", "told"),
    [
        (
            "raw/*",
            ["a.jsonl.gz", "b.jsonl.gz", "README.md"],
            r"1 file of text \(.*README\.md\) beside 2 files of json.*: raw/\*\.jsonl\.gz$",
        ),
        ("raw/**", ["x/a.parquet", "notes.txt"], r"1 file of text \(.*notes\.txt\) beside 1 file of parquet, .*: raw/\*\*/\*\.parquet$"),
        ("raw/a-*", ["a-1.txt", "a-2.csv", "a-3.csv"], r"1 file of text \(.*\) beside 2 files of csv, .*: raw/a-\*\.csv$"),
        ("raw/a-?.*", ["a-1.txt", "a-2.csv", "a-3.csv"], r"1 file of text \(.*\) beside 2 files of csv, .*: raw/a-\?\.csv$"),
        ("raw/*", ["a.txt", "b.md", "metadata.csv"], r"1 file of csv \(.*metadata\.csv\) beside 2 files of text, .*: raw/\*\.txt$"),
        ("raw/*", ["a.jsonl", "b.csv"], None),
        ("raw/*", ["a.txt", "README.md"], None),
    ],
)
def test_text_beside_tables_is_reported_once(
    data: Path, caplog: pytest.LogCaptureFixture, path: str, files: list[str], told: str | None
) -> None:
    for name in files:
        write_text(data / "raw" / name, "x")
    sources, corpus = Sources(data, LocalStore(data / "notes")), declare_corpus(data, "corpus", path)
    for _ in range(2):
        assert len(sources.partitions(corpus)["all"].files) == len(files)
    assert [bool(re.search(f"^corpus: .* matches {told}", message)) for message in caplog.messages] == [True] * (told is not None)


def test_pattern_that_matches_only_left_out_files_is_reported(data: Path) -> None:
    write_text(data / "raw" / ".a.txt", "x")
    with pytest.raises(DeclarationError, match=r"no file matches .*; 1 left out, such as .*/raw/\.a\.txt \(hidden\)"):
        names(data, "raw/*.txt")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("raw/notes/*.json", r"no file matches /.*/raw/notes/\*\.json; /.*/raw/notes has a\.jsonl\.gz, b\.jsonl$"),
        ("raw/notes/c.jsonl", r"; /.*/raw/notes has a\.jsonl\.gz, b\.jsonl; did you mean 'b\.jsonl'\?$"),
        ("raw/notes/*.{json,txt}", r"; /.*/raw/notes has .*; braces are ordinary characters in a pattern, not alternatives$"),
        ("raw/note/x/*.txt", r"; /.*/raw has no folder 'note'; did you mean 'notes'\?$"),
        ("raw/notes/b.jsonl/*.txt", r"; /.*/raw/notes/b\.jsonl is a file, not a folder$"),
        ("raw/gone/*.txt", r"; /.*/raw/gone is a dangling link$"),
        ("raw/many/*.txt", r"; /.*/raw/many has ('\d+\\n'(, )?){4} and more$"),
        ("$HOME/*.txt", r"has no folder '\$HOME', but .*; write a variable of the environment as in \$\{HOME\}$"),
        ("raw/notes/x.txt\n", r"no file matches '/.*/raw/notes/x\.txt\\n'; "),
        ("elsewhere/*.txt", r"; /.*/data has no folder 'elsewhere', but corpora, raw$"),
        ("data/raw/*.txt", r"has no folder 'data', but .*; paths are relative to the data folder: leave out data/$"),
        ("raw/empty/*.txt", r"; /.*/raw/empty has no files$"),
        ("raw/notes", r"is a folder; name its files, as in raw/notes/\*\.jsonl\.gz$"),
        ("raw/", r"is a folder; name its files, as in raw/\*\*/\*\.jsonl\.gz$"),
        ("raw/empty", r"is a folder; name its files, as in raw/empty/\*\.txt$"),
    ],
)
def test_path_without_matches_is_an_error_that_lists_the_folder(data: Path, path: str, told: str) -> None:
    for name in ("a.jsonl.gz", "b.jsonl", ".hidden"):
        write_text(data / "raw" / "notes" / name, "x")
    (data / "raw" / "empty").mkdir()
    (data / "raw" / "gone").symlink_to("nowhere")
    if "many" in path:
        for i in range(1001):
            write_text(data / "raw" / "many" / f"{i}\n", "")
    with pytest.raises(DeclarationError, match=told):
        names(data, path)


def test_broken_links_are_reported(data: Path) -> None:
    write_text(data / "raw" / "a.txt", "x")
    (data / "raw" / ".#a.txt").symlink_to("user@host")  # an editor's lock
    (data / "raw" / "disk").symlink_to("/not/mounted")
    listing = Sources(data, LocalStore(data / "notes")).listing(declare_corpus(data, "corpus", "raw/**/*.txt"))
    assert [(file.origin, file.reason) for file in listing.left_out] == [(str(data / "raw" / "disk"), "a dangling link")]
    (data / "raw" / "b.txt").symlink_to("gone.txt")
    with pytest.raises(SourceError, match=r"b.txt: is a link to gone.txt, which does not exist; correct the link, or remove it"):
        names(data, "raw/**/*.txt")


@pytest.mark.parametrize("code", [errno.EIO, errno.EBADMSG, errno.EMFILE], ids=errno.errorcode.get)
def test_error_unrelated_to_a_file_may_pass(code: int) -> None:
    assert isinstance(error_of_file(OSError(code, os.strerror(code)), "a.txt"), SourceDownError)


def test_unlistable_folder_is_an_error() -> None:
    with tempfile.TemporaryDirectory() as folder, unprivileged(Path(folder)) as data:
        write_text(data / "raw" / "a.txt", "x")
        closed = data / "raw" / "closed"
        closed.mkdir(mode=0)
        (data / "raw" / ".hidden").mkdir(mode=0)
        with pytest.raises(SourceError, match=r"raw/closed: this folder cannot be listed: Permission denied; make it readable"):
            names(data, "raw/**/*.txt")
        with pytest.raises(SourceError, match=r"raw/closed/a.txt: cannot be examined: Permission denied"):
            names(data, "raw/c*/a.txt")
        (data / "raw" / "linked").symlink_to(closed / "inner")
        with pytest.raises(SourceError, match=f"raw/linked: is a link to {closed}/inner, which cannot be examined: Permission denied"):
            names(data, "raw/l*/a.txt")
        (data / "raw" / "linked").unlink()
        (data / "raw" / "lost+found").mkdir(mode=0)
        with pytest.raises(SourceError, match=r"raw/closed: this folder cannot be entered: Permission denied; make it readable"):
            names(data, "raw/*")  # it may be a saved dataset
        closed.chmod(0o700)
        assert names(data, "raw/**/*.txt") == names(data, "raw/*") == ["a.txt"]


@contextmanager
def unprivileged(folder: Path) -> Iterator[Path]:
    """Run as a user without root's permissions, in a folder that the user owns."""
    me, nobody = os.geteuid(), 65534
    if me == 0:
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
    try:
        yield folder
    finally:
        os.seteuid(me)


def test_unusual_names_are_read_or_refused(data: Path) -> None:
    odd = ["new\nline.txt", "cafe\u0301.txt", "a b.txt", "[1].txt"]
    for name in odd:
        write_text(data / "raw" / name, "x")
    assert names(data, "raw/*.txt") == sorted(odd)
    assert names(data, "raw/*caf\u00e9.txt") == ["cafe\u0301.txt"]
    assert names(data, "raw/[[]1].txt") == ["[1].txt"]


def test_saved_dataset_below_a_recursive_pattern_is_read_as_one(data: Path, saved: Path) -> None:
    expected = names(data, "raw/saved")
    assert names(data, "raw/**") == expected
    assert names(data, "raw/saved/**") == [name.removeprefix("saved/") for name in expected]
    assert saved.is_dir()
