"""JSON Lines: good rows exactly, bad rows by their number and what is wrong with them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.jsonlines import ParsedBlock, parse_block

GOOD = b'{"text": "good"}'
BAD = {
    b'{"text": null}': "'text' is null",
    b'{"text": 3}': "'text' is no string but 3",
    b'{"text": {"a": 1}}': "'text' is no string but {\"a\": 1}",
    b'{"body": "x"}': "has no key 'text'",
    b'{"text": "\\ud800"}': "'text' has a lone surrogate, which is no Unicode text",
    b'{"text": "\\udc00 low"}': "'text' has a lone surrogate, which is no Unicode text",
    b'{"text": "\xff"}': "is not UTF-8 at byte 10 of the line",
    b'{"text": "x"': "is no JSON: Expecting ',' delimiter: line 1 column 13 (char 12)",
    b'{"text": "x"} {"text": "y"}': "is no JSON: Extra data: line 1 column 15 (char 14)",
    b"7": "is no object but 7",
    b"null": "is no object but null",
    b"{}": "has no key 'text'",
    b'{"text": "x", "other": "\xff"}': "is not UTF-8 at byte 24 of the line",
    b"": "",
}


def parse(*lines: bytes, end: bytes = b"\n", first: int = 0) -> ParsedBlock:
    return parse_block(Path("file"), b"\n".join(lines) + end, ("text",), first)


@pytest.mark.parametrize("bad", BAD, ids=repr)
@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_bad_row_is_a_null_in_its_place_with_the_reason(bad: bytes, end: bytes) -> None:
    parsed = parse(GOOD, bad, GOOD, end=end, first=100)
    assert parsed.columns[0].to_pylist() == ["good", None, "good"]
    assert parsed.problems == {101: BAD[bad]}
    assert parsed.lines == 3


@given(lines=st.lists(st.one_of(st.text(), st.sampled_from(list(BAD))), min_size=1), first=st.integers(1, 10**9))
def test_rows_keep_their_numbers_whatever_is_wrong_before_them(lines: list[str | bytes], first: int) -> None:
    written = [line if isinstance(line, bytes) else json.dumps({"other": [1], "text": line}).encode() for line in lines]
    if all(isinstance(line, bytes) for line in lines):
        written.append(GOOD)
        lines = [*lines, "good"]
    parsed = parse(*written, first=first)
    assert parsed.columns[0].to_pylist() == [None if isinstance(line, bytes) else line for line in lines]
    assert set(parsed.problems) == {first + i for i, line in enumerate(lines) if isinstance(line, bytes)}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"text": "x"} {"text": "y"}\n\n{"text": "z"}\n', [None, None, "z"]),
        (b'{"text":\n"x"} {"text": "y"}\n{"text": "z"}\n', [None, None, "z"]),
        (b'\n{"text": "x"} {"text": "y"}', [None, None]),
        (b'{"text": "x"}\r\n  {"text": "y"} \r\n{"text": "z"}', ["x", "y", "z"]),
    ],
)
def test_a_line_is_a_row_though_objects_and_lines_are_as_many(content: bytes, expected: list[str | None]) -> None:
    assert parse_block(Path("file"), content, ("text",), 0).columns[0].to_pylist() == expected


@given(line=st.sampled_from([*BAD, GOOD]) | st.text().map(lambda text: json.dumps({"text": text}, ensure_ascii=False).encode()))
def test_a_row_is_judged_alike_whatever_stands_beside_it(line: bytes) -> None:
    beside_good, beside_bad = parse(GOOD, line, first=1), parse(b"7", line, first=1)
    assert beside_good.columns[0][1] == beside_bad.columns[0][1]
    assert beside_good.problems.get(2) == beside_bad.problems.get(2)


def test_rows_without_the_key_are_at_fault_once_others_have_been_read() -> None:
    assert parse(b'{"body": "x"}', first=100).problems == {100: "has no key 'text'"}


def test_a_byte_order_mark_at_the_start_is_no_part_of_the_first_row() -> None:
    assert parse(b"\xef\xbb\xbf" + GOOD, b"").columns[0].to_pylist() == ["good", None]


def test_several_columns_come_side_by_side() -> None:
    parsed = parse_block(Path("file"), b'{"b": "y", "a": "x"}\n', ("a", "b"), 0)
    assert [column.to_pylist() for column in parsed.columns] == [["x"], ["y"]]


@pytest.mark.parametrize(
    ("content", "message"), [(b'[{"text": "x"}]\n', "is a JSON array"), (b'{"body": "x"}\n' * 3, "has no column 'text'.*body")]
)
def test_a_file_of_another_form_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_block(Path("file"), content, ("text",), 0)
