"""Which files, and which partitions."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.pipeline.sources.listing import _safe, format_of, list_partitions
from phyagi_assets.pipeline.store import Store
from tests.support import declare_corpus, write_text


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
    ],
)
def test_files_are_divided_as_declared(data: Path, path: str, rule: str, expected: dict[str, list[str]]) -> None:
    assert listed(data, FILES, path, partition_by=rule) == expected


def test_an_absolute_path_names_the_same_partitions_as_a_relative_one(data: Path) -> None:
    relative = listed(data, FILES, "raw/**/*.txt", partition_by="file")
    assert listed(data, FILES, str(data / "raw" / "**" / "*.txt"), partition_by="file") == relative


@pytest.mark.parametrize(
    ("path", "rule", "message"),
    [
        ("raw/*.parquet", "none", r"corpus.yaml:\d+: source.path: no file matches .*raw/\*.parquet"),
        ("raw", "none", r"source.path: .*raw is a folder; name its files"),
        ("raw/**/*.txt", r"x(\d)", r"partition_by: '2024/a.txt' has nothing that the group of"),
        ("raw/*", "file", r"'a.md' and 'a.txt' would both be partition 'a'"),
    ],
)
def test_a_source_that_cannot_be_divided_is_an_error_at_its_key(data: Path, path: str, rule: str, message: str) -> None:
    names = ["a.txt", "a.md"] if path == "raw/*" else FILES
    with pytest.raises(DeclarationError, match=message):
        listed(data, names, path, partition_by=rule)


def test_a_suffix_that_tells_no_format_asks_for_one(data: Path) -> None:
    write_text(data / "raw" / "a.dat", "x")
    (partition,) = list_partitions(corpus := declare_corpus(data, "corpus", "raw/*.dat"), data).values()
    with pytest.raises(DeclarationError, match=r"source.format: the suffix of 'a.dat' does not tell"):
        format_of(corpus, partition.files[0])
    assert format_of(declare_corpus(data, "corpus", "raw/*.dat", source={"format": "csv"}), partition.files[0]) == "csv"


file_names = st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=20)


@given(name=file_names)
def test_a_partition_has_a_plain_name_that_dagster_and_the_store_take(name: str) -> None:
    key = _safe(name)
    assert Store(Path("/store")).pointer(f"corpus/stage/{key}") == Path("/store/corpus/stage") / key
    assert "..." not in key
    assert not re.search(r"[\x00-\x1f]", key)


@given(one=file_names, other=file_names)
def test_two_names_of_one_folder_are_two_partitions(one: str, other: str) -> None:
    if "/" not in one + other and "%" not in one + other:
        assert (_safe(one) == _safe(other)) == (one == other)


def test_a_name_too_long_for_a_file_is_refused() -> None:
    with pytest.raises(SourceError, match="too long"):
        _safe("é" * 200)
