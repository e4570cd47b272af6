"""A pattern matches what the file system's own glob does."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.pipeline.sources.globs import fixed_prefix, glob_regex, is_glob, is_wild

PART = st.text("ab.x", min_size=1, max_size=3).filter(lambda part: part.strip("."))
PATTERN_PART = st.sampled_from(["*", "?", "a*", "*.x", "[ab]*", "[!a]?", "**", "b", "a.x", "[a-b]"])


@given(
    paths=st.lists(st.lists(PART, min_size=1, max_size=3), min_size=1, max_size=8),
    parts=st.lists(PATTERN_PART, min_size=1, max_size=3).filter(lambda parts: parts[-1] != "**"),  # versions of Python differ in it
)
def test_what_matches_is_what_pathlib_finds(tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], parts: list[str]) -> None:
    folder, pattern = tmp_path_factory.mktemp("tree"), "/".join(parts)
    for path in paths:
        file = folder.joinpath(*path)
        if not any(above.is_file() for above in file.parents) and not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found = {path.relative_to(folder).as_posix() for path in folder.glob(pattern) if path.is_file()}
    assert {name for name in files if glob_regex(pattern).fullmatch(name)} == found


@pytest.mark.parametrize(
    ("pattern", "prefix", "wild", "glob"),
    [
        ("a/b.txt", "a/b.txt", False, True),
        ("a/b*.txt", "a/b", True, True),
        ("**/x", "", True, True),
        ("a/b**/x", "a/b", True, False),
        ("raw/[ab]/x", "raw/", True, True),
    ],
)
def test_what_a_pattern_begins_with_is_known(pattern: str, prefix: str, wild: bool, glob: bool) -> None:
    assert (fixed_prefix(pattern), is_wild(pattern), is_glob(pattern)) == (prefix, wild, glob)


@given(st.text(string.printable, min_size=1).filter(lambda name: not is_wild(name)))
def test_a_name_without_wildcards_matches_itself_alone(name: str) -> None:
    assert glob_regex(name).fullmatch(name)
    assert not glob_regex(name).fullmatch(f"{name}x")


def test_two_stars_are_any_number_of_folders() -> None:
    deep = glob_regex("raw/**/*.txt")
    assert all(deep.fullmatch(name) for name in ("raw/a.txt", "raw/b/a.txt", "raw/b/c/a.txt"))
    assert not any(deep.fullmatch(name) for name in ("a.txt", "raw/a.txt/b", "raw.txt"))
