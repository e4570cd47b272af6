"""JSON Lines: exact valid rows, and invalid rows with number and reason."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.jsonlines import parse_lines
from phyagi_assets.sources.rows import RowProblem, Rows

GOOD = b'{"text": "good"}'
BAD = {
    b'{"text": null}': "'text' is null",
    b'{"text": 3}': "'text' is not a string but 3",
    b'{"text": {"a": 1}}': "'text' is not a string but {\"a\": 1}",
    b'{"body": "x"}': "has no key 'text'",
    b'{"text": "\\ud800"}': "'text' has a lone surrogate, which is not Unicode text",
    b'{"text": "\\udc00 low"}': "'text' has a lone surrogate, which is not Unicode text",
    b'{"text": "\xff"}': "is not UTF-8 at byte 10 of the line",
    b'{"text": "x"': "is not JSON: Expecting ',' delimiter at column 13",
    b'{"text": "x"} {"text": "y"}': "has a second object at column 15; write each object on a line of its own",
    b'{"text": "x"},': "is not JSON: Extra data at column 14",
    b'{"text": 1' + b"0" * 5_000 + b"}": "'text' is not a string but Infinity",
    b"\xef\xbb\xbf" + GOOD: "begins with a byte order mark, as where files were joined; remove it, as with sed 's/^\\xEF\\xBB\\xBF//'",
    b"\f": "is not JSON: Expecting value at column 1",
    b"7": "is not an object but 7",
    b"null": "is not an object but null",
    b"{}": "has no key 'text'",
    b'{"text": "x", "other": "\xff"}': "is not UTF-8 at byte 24 of the line",
}


def parse(*lines: bytes, end: bytes = b"\n", first: int = 0, names: tuple[str, ...] = ("text",)) -> Rows:
    (parsed,) = parse_lines("file", b"\n".join(lines) + end, names, first)
    return parsed


def rows(parsed: Rows) -> dict[int, str | None]:
    """Return the text of each row, by its number."""
    return dict(zip(parsed.numbers.tolist(), parsed.columns[0].to_pylist(), strict=True))


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_invalid_row_is_a_null_with_the_reason(bad: bytes, end: bytes) -> None:
    parsed = parse(GOOD, bad, GOOD, end=end, first=100)
    assert rows(parsed) == {100: "good", 101: None, 102: "good"}
    assert parsed.problems[101].found == BAD[bad]
    assert parsed.problems.keys() == {101}


@given(lines=st.lists(st.one_of(st.text(), st.sampled_from(list(BAD))), min_size=1), first=st.integers(1, 10**9))
def test_rows_keep_their_numbers_after_invalid_rows(lines: list[str | bytes], first: int) -> None:
    written = [line if isinstance(line, bytes) else json.dumps({"other": [1], "text": line}).encode() for line in lines]
    if all(isinstance(line, bytes) for line in lines):
        written.append(GOOD)
        lines = [*lines, "good"]
    parsed = parse(*written, first=first)
    assert rows(parsed) == {first + i: None if isinstance(line, bytes) else line for i, line in enumerate(lines)}
    assert set(parsed.problems) == {first + i for i, line in enumerate(lines) if isinstance(line, bytes)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"text": "x"} {"text": "y"}\n\n{"text": "z"}\n', {0: None, 2: "z"}),
        (b'{"text":\n"x"} {"text": "y"}\n{"text": "z"}\n', {0: None, 1: None, 2: "z"}),
        (b'\n{"text": "x"} {"text": "y"}', {1: None}),
        (b'{"text": "x"}\r\n  {"text": "y"} \r\n{"text": "z"}', {0: "x", 1: "y", 2: "z"}),
        (b'\r\n{"text": "x"}\r\n \t\r\n\n{"text": "y"}', {1: "x", 4: "y"}),
        (b"\n \n\r\n", {}),
    ],
)
def test_every_nonblank_line_is_a_row(content: bytes, expected: dict[int, str | None]) -> None:
    (parsed,) = parse_lines("file", content, ("text",), 0)
    assert rows(parsed) == expected
    assert set(parsed.problems) == {number for number, text in expected.items() if text is None}


def test_very_short_lines_are_parsed_in_parts() -> None:
    count = 150_000
    parts = list(parse_lines("file", b"7\n\n" * count + GOOD, ("text",), 5))
    assert len(parts) > 2
    assert [number for part in parts for number in part.numbers.tolist()] == [*range(5, 2 * count + 5, 2), 2 * count + 5]
    assert parts[-1].columns[0][-1].as_py() == "good"


META = b'{"meta": {"text": "inner", "n": 1}}'


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([META, META], ["inner", "inner"]),
        ([META, b"7"], ["inner", None]),
        ([b'{"meta.text": "own", "meta": {"text": "inner"}}', META], ["own", "inner"]),
        ([b'{"meta.text": "own", "meta": 3}', META], ["own", "inner"]),
        ([META, b'{"meta": {"text": null}}', b'{"meta": {}}', b'{"meta": "text"}'], ["inner", None, None, None]),
    ],
)
def test_dotted_name_selects_nested_keys_after_the_exact_key(lines: list[bytes], expected: list[str | None]) -> None:
    parsed = parse(*lines, names=("meta.text",))
    assert parsed.columns[0].to_pylist() == expected
    assert set(parsed.problems) == {i for i, text in enumerate(expected) if text is None}


@given(
    keys=st.lists(st.sampled_from(["text", "a.text", "a.b.text", "a.b"]), min_size=1, max_size=3, unique=True),
    texts=st.lists(st.text(), min_size=1, max_size=4),
)
def test_nested_columns_are_read_side_by_side(keys: list[str], texts: list[str]) -> None:
    lines = []
    for i, text in enumerate(texts):
        row: dict[str, Any] = {"other": i}
        for key in keys:
            row[key] = f"{key} {text}"
        nested = {"a": {"text": f"a.text {text}", "b": {"text": f"a.b.text {text}"}}, "text": f"text {text}"}
        lines.append(json.dumps(row if i % 2 or "a.b" in keys else nested).encode())
    parsed = parse(*lines, names=tuple(keys))
    assert [column.to_pylist() for column in parsed.columns] == [[f"{key} {text}" for text in texts] for key in keys]


ODD = (b'{"text": "x", "n": 1' + b"0" * 5_000 + b"}", b'{"text": "x", "n": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
"""Rows that Python's parser refuses with its limits."""


@given(line=st.sampled_from([*BAD, *ODD, GOOD]) | st.text().map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()))
def test_validity_of_a_row_does_not_depend_on_other_rows(line: bytes) -> None:
    beside_good, beside_bad = parse(GOOD, line, first=1), parse(b"7", line, first=1)
    assert beside_good.columns[0][1] == beside_bad.columns[0][1]
    assert beside_good.problems.get(2) == beside_bad.problems.get(2)


def test_rows_without_the_key_are_invalid_after_rows_with_it() -> None:
    assert parse(b'{"body": "x"}', first=100).problems == {100: RowProblem("has no key 'text'")}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"text": "x"}]\n', "is a JSON array"),
        (b'\n{\n  "text": "x"\n}\n', r"is pretty-printed JSON.*jq -c \. makes them"),
        (b'{"text": "x"}\r{"text": "y"}\r', r"has lines that end in a carriage return \(CR\) alone.*tr '\\r' '\\n'"),
        (b'{"body": "x", "meta": {"text": "x"}}\n' * 3, r"has no column 'text'; its rows have body, meta\.text"),
    ],
)
def test_file_of_another_json_form_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(parse_lines("file", content, ("text",), 0))
