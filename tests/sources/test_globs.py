"""Patterns match the same names as ``glob.glob``, among files and among keys."""

import glob as reference
import string
import warnings
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phyagi_assets.sources.globs import Glob, fixed_prefix, is_wild

PART = st.sampled_from(["a", "b", "ab", "a.x", "b.x", ".a", ".b.x", "[a]", "a*", "a\nb", "{a,b}", "\\a", "^", "-", "é"])
PATTERN_PART = st.sampled_from(
    [
        "*",
        "?",
        "a*",
        "*.x",
        "[ab]*",
        "[!a]?",
        "[^a]",
        "[]a]*",
        "[[]a]",
        "[*]",
        "**",
        "b",
        "a.x",
        "[a-b]",
        "[b-a]",
        "[",
        "a[",
        ".*",
        ".?",
        "[.]a",
        "{a,b}",
        "\\*",
        "[a&&b]",
        "[a--b]",
        "é",
        "a[*]",
        "???",
    ]
)


@example(paths=[["a", "b", "a.x"], ["a", "a.x"]], parts=["**", "a", "**"])
@given(
    paths=st.lists(st.lists(PART, min_size=1, max_size=3), min_size=1, max_size=8),
    parts=st.lists(PATTERN_PART, min_size=1, max_size=4),
)
def test_keys_match_where_glob_finds_files(tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], parts: list[str]) -> None:
    folder, pattern = tmp_path_factory.mktemp("tree"), "/".join(parts)
    for path in paths:
        file = folder.joinpath(*path)
        if not any(above.is_file() for above in file.parents) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = {name for name in reference.glob(pattern, root_dir=folder, recursive=True) if (folder / name).is_file()}  # noqa: PTH207
    assert {name for name in files if Glob(pattern).matches(name)} == found


@pytest.mark.parametrize(
    ("pattern", "prefix", "wild"),
    [
        ("a/b.txt", "a/b.txt", False),
        ("a/b*.txt", "a/b", True),
        ("**/x", "", True),
        ("raw/[ab]/x", "raw/", True),
        ("raw/café/*", "raw/caf", True),
    ],
)
def test_pattern_has_a_fixed_prefix(pattern: str, prefix: str, wild: bool) -> None:
    assert (fixed_prefix(pattern), is_wild(pattern)) == (prefix, wild)


@given(st.text(string.printable, min_size=1).filter(lambda name: not is_wild(name)))
def test_name_without_wildcards_matches_only_itself(name: str) -> None:
    assert Glob(name).matches(name)
    assert not Glob(name).matches(f"{name}x")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pattern", ["[[]br].jsonl", "[a--b]", "[a||b]", "[a&&b]", "[~~]"])
def test_pattern_gives_no_python_warning(pattern: str) -> None:
    assert not Glob(pattern).matches("x.jsonl")


@pytest.mark.parametrize(
    ("pattern", "name", "reason"),
    [
        ("**/*.jsonl", "a/.part-0.jsonl", "hidden"),
        ("**/*.jsonl", ".ipynb_checkpoints/a.jsonl", "hidden"),
        ("**/*.jsonl", "_temporary/0/a.jsonl", "left by a tool"),
        ("*", "_SUCCESS", "left by a tool"),
        ("*", "_committed_123", "left by a tool"),
        ("*", "_started_123", "left by a tool"),
        ("*", "a.jsonl.crc", "left by a tool"),
        ("*", "a.jsonl~", "left by a tool"),
        ("a.jsonl*", "a.jsonl._COPYING_", "left by a tool"),
        ("*", "#a.jsonl#", "left by a tool"),
        ("*.swp", ".a.swp", "hidden"),
        ("**/*.json", "table/_delta_log/0.json", "left by a tool"),
        ("*.jsonl", "A.JSONL", "not the pattern's upper and lower case"),
    ],
)
def test_files_of_tools_are_left_out_with_a_reason(pattern: str, name: str, reason: str) -> None:
    assert not Glob(pattern).matches(name)
    assert Glob(pattern).left_out(name) == reason


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (".part*", ".part-0"),
        ("_temporary/**", "_temporary/0/a"),
        ("_committed_*", "_committed_1"),
        ("*.crc", "a.crc"),
        ("*~", "a~"),
        ("#*#", "#a#"),
        (".ipynb_checkpoints/*.jsonl", ".ipynb_checkpoints/a.jsonl"),
        ("*", "_a.jsonl"),
        ("*", "a.tmp.jsonl"),
    ],
)
def test_files_named_by_a_pattern_are_not_left_out(pattern: str, name: str) -> None:
    assert Glob(pattern).matches(name)
    assert Glob(pattern).left_out(name) is None


def test_letters_match_in_every_unicode_normal_form() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert Glob(f"{composed}/*.txt").matches(f"{decomposed}/a.txt")
    assert Glob(f"{decomposed}*").matches(f"{composed}.txt")


def test_relative_names_begin_after_the_literal_folders() -> None:
    assert [Glob(pattern).fixed for pattern in ("a.txt", "raw/a.txt", "raw/*/a.txt", "*", "raw/x/**")] == [0, 1, 1, 0, 2]


def test_path_is_matched_from_its_beginning(tmp_path: Path) -> None:
    assert not Glob("raw/*").matches(str(tmp_path / "raw" / "a"))
    assert not Glob("raw/**").matches("raw")
