"""Listing of sources, and partitioning of files."""

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest
from dagster import StaticPartitionsDefinition
from hypothesis import example, given
from hypothesis import strategies as st

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.sources.files import Listing, SourceFile, format_of
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.partitioning import safe_name
from phyagi_assets.sources.transfer import Fetched, OnBytes, Remote
from phyagi_assets.store.local import LocalStore
from tests.support import declare_corpus, list_partitions, write_text


def listed(data: Path, names: list[str], path: str, **keys: object) -> dict[str, list[str]]:
    """The names of the files of each partition."""
    for name in names:
        write_text(data / "raw" / name, name)
    partitions = list_partitions(declare_corpus(data, "corpus", path, **keys), data)
    return {key: [file.name for file in partition.files] for key, partition in partitions.items()}


FILES = ["2024/a.txt", "2024/b.txt", "2025/a.txt", "notes.md"]


@pytest.mark.parametrize(
    ("path", "rule", "expected"),
    [
        ("raw/**/*.txt", "none", {"all": ["2024/a.txt", "2024/b.txt", "2025/a.txt"]}),
        ("raw/**/*.txt", "file", {"2024--a": ["2024/a.txt"], "2024--b": ["2024/b.txt"], "2025--a": ["2025/a.txt"]}),
        ("raw/**/*.txt", r"(\d+)/", {"2024": ["2024/a.txt", "2024/b.txt"], "2025": ["2025/a.txt"]}),
        ("raw/2024/*.txt", "file", {"a": ["a.txt"], "b": ["b.txt"]}),
        ("raw/*/a.txt", "file", {"2024--a": ["2024/a.txt"], "2025--a": ["2025/a.txt"]}),
        ("raw/notes.md", "file", {"notes": ["notes.md"]}),
        ("../data/raw/./2024/../*.md", "file", {"notes": ["notes.md"]}),
        ("raw/*.[mM][dD]", "none", {"all": ["notes.md"]}),
    ],
)
def test_files_are_partitioned_as_declared(data: Path, path: str, rule: str, expected: dict[str, list[str]]) -> None:
    assert listed(data, FILES, path, partition_by=rule) == expected


@pytest.mark.parametrize(("key", "value", "kind"), [("sample_by", "line", "text"), ("delimiter", ";", "CSV")])
def test_key_for_a_format_that_no_file_has_is_an_error(data: Path, key: str, value: str, kind: str) -> None:
    with pytest.raises(DeclarationError, match=rf":4: source\.{key}: applies to {kind} files, and these are read as json; remove it"):
        listed(data, ["a.jsonl", "b.json"], "raw/*", source={key: value})
    unknown = listed(data, ["c"], "raw/*", source={key: value}, partition_by="file")  # whose partition alone fails
    assert unknown.keys() == {"a", "b", "c"}
    assert listed(data, ["d.txt", "e.csv"], "raw/*", source={key: value}) == {"all": ["a.jsonl", "b.json", "c", "d.txt", "e.csv"]}


def test_absolute_and_relative_paths_give_the_same_partitions(data: Path) -> None:
    relative = listed(data, FILES, "raw/**/*.txt", partition_by="file")
    assert listed(data, FILES, str(data / "raw" / "**" / "*.txt"), partition_by="file") == relative


def test_data_folder_may_have_wildcards_in_its_name(tmp_path: Path) -> None:
    assert listed(tmp_path / "data [1] *?", FILES, "raw/**/*.md", partition_by="file") == {"notes": ["notes.md"]}


def test_file_name_that_is_not_unicode_is_refused(data: Path) -> None:
    write_text(data / "raw" / os.fsdecode(b"\xff.txt"), "x")
    with pytest.raises(SourceError, match=r"\\xff.txt': the file's name is not UTF-8; rename it"):
        listed(data, [], "raw/*.txt")


def test_setting_of_python_that_misreads_names_is_named(data: Path) -> None:
    write_text(data / "raw" / "\u00e9.txt", "x")
    declare_corpus(data, "c", "raw/*.txt")
    program = (
        "import sys, pathlib; from phyagi_assets.declare.catalog import load_catalog; from phyagi_assets.sources.local import list_local; "
        "data = pathlib.Path(sys.argv[1]); list_local(load_catalog(data).corpora['c'], 'raw/*.txt', data)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, data],
        env={**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the file's name is UTF-8, and Python reads names as ascii; set PYTHONUTF8=1" in ended.stderr


@pytest.mark.parametrize(
    ("path", "rule", "message"),
    [
        ("raw/*.parquet", "none", r"corpus.yaml:\d+: source.path: no file matches .*raw/\*.parquet"),
        ("raw/**.txt", "none", r"corpus.yaml:3: source.path: 'raw/\*\*.txt' is not a valid glob: .* as in raw/\*\*/\*.txt"),
        ("~nobody-of-this-name/*.txt", "none", r"corpus.yaml:3: source.path: '~nobody-of-this-name/\*.txt': "),
        ("raw", "none", r"source.path: .*raw is a folder; name its files"),
        ("raw/**/*.txt", r"x(\d)", r"partition_by: the group of 'x\(\\d\)' matches nothing in '2024/a.txt'"),
        ("raw/*", "file", r"'a.md' and 'a.txt' would both be partition 'a'"),
    ],
)
def test_source_that_cannot_be_partitioned_is_an_error_at_its_key(data: Path, path: str, rule: str, message: str) -> None:
    names = ["a.txt", "a.md"] if path == "raw/*" else FILES
    with pytest.raises(DeclarationError, match=message):
        listed(data, names, path, partition_by=rule)


def test_regex_that_backtracks_is_stopped(data: Path) -> None:
    with pytest.raises(
        DeclarationError, match=r"partition_by: the regex .* takes more than 1 s for 'a{60}\.txt'; write it without nested repeats"
    ):
        listed(data, ["a" * 60 + ".txt"], "raw/*.txt", partition_by=r"^((?:a|a|aa)+)$")


def test_unknown_suffix_requires_a_format(data: Path) -> None:
    write_text(data / "raw" / "a.dat", "x")
    (partition,) = list_partitions(corpus := declare_corpus(data, "corpus", "raw/*.dat"), data).values()
    with pytest.raises(DeclarationError, match=r"source.format: the suffix of 'a.dat' does not determine"):
        format_of(corpus, partition.files[0].name)
    assert format_of(declare_corpus(data, "corpus", "raw/*.dat", source={"format": "csv"}), partition.files[0].name) == "csv"


file_names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20)


@example(name="...\n")
@given(name=file_names)
def test_partition_key_is_valid_for_dagster_and_the_store(name: str) -> None:
    key = safe_name(name)
    assert LocalStore(Path("/store")).pointer(f"corpus/stage/{key}") == Path("/store/corpus/stage") / key
    assert StaticPartitionsDefinition([key]).get_partition_keys() == [key]  # which refuses what Dagster's partitions may not be called


@given(one=file_names, other=file_names)
def test_folder_with_two_names_is_two_partitions(one: str, other: str) -> None:
    if "/" not in one + other and "%" not in one + other:
        assert (safe_name(one) == safe_name(other)) == (one == other)


@pytest.mark.parametrize("letter", ["x", "é", "漢", "😀"])
def test_name_too_long_for_the_store_is_refused(tmp_path: Path, letter: str) -> None:
    def touch_each_length() -> None:
        for length in range(1, 256):
            (tmp_path / f"{safe_name(letter * length)}@{'0' * 32}").touch()

    with pytest.raises(SourceError, match="too long"):
        touch_each_length()
    path = write_text(tmp_path / "raw" / f"{'x' * 240}.txt", "a")
    with pytest.raises(DeclarationError, match=rf"c\.yaml:\d+: partition_by: {path}: .*; divide by a regex .*, or leave the file out"):
        list_partitions(declare_corpus(tmp_path, "c", "raw/*.txt", partition_by="file"), tmp_path)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://user:secret@host/a.txt", r"'https://\*\*\*@host/a.txt' cannot be read; a source is"),
        ("S3://key:sec/ret@bucket/a.txt", r"'S3://\*\*\*@bucket/a.txt' cannot be read; a source is"),
        ("s3://key:sec/ret@bucket/a.txt", "holds credentials; take them out and set them in the environment"),
        ("hf://user:secret@org/name", "holds credentials; take them out and set them in the environment"),
    ],
)
def test_invalid_url_is_refused_without_showing_credentials(data: Path, path: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=rf"corpus.yaml:3: source.path: {message}") as refused:
        listed(data, [], path)
    assert "ret" not in str(refused.value).replace("credentials", "").split("source.path")[1]


class Silent:
    """A remote source that accepts connections and does not answer until it is released."""

    def __init__(self) -> None:
        self.go = Event()

    def files(self, corpus: Corpus, declared: str) -> Listing:  # noqa: ARG002
        self.go.wait()
        raise SourceError("too late")

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        raise NotImplementedError


def test_unresponsive_source_times_out(data: Path) -> None:
    silent = Silent()

    class OneSource(Sources):
        def remote(self, uri: str) -> Remote | None:  # noqa: ARG002
            return silent

    corpus = declare_corpus(data, "corpus", "s3://bucket/a.txt")
    with pytest.raises(SourceError, match=r"s3://bucket/a.txt: no answer within 0.1 s; check that the source is up"):
        OneSource(data, data / "notes").partitions(corpus, seconds=0.1)
    silent.go.set()
