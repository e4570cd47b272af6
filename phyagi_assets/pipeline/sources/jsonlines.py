"""A block of JSON Lines → its text columns.

pyarrow's parser reads a block whose every line is an object with text in the right places. A block that it refuses is read again
line by line, which tells the lines at fault from the others.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.json

from phyagi_assets.errors import SourceError


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedBlock:
    """The lines of a block, blank ones included."""

    columns: list[pa.Array]
    lines: int
    problems: dict[int, str] = field(default_factory=dict)


def parse_block(path: str, block: bytes, names: tuple[str, ...], first: int) -> ParsedBlock:
    """Parse whole lines.

    Parameters
    ----------
    path, first
        The file and the 0-based number of the block's first line in it, for messages.
    block
        Lines, ending at the end of one.
    names
        The keys that hold text.

    Returns
    -------
    ParsedBlock
        An entry a line: null where the text is null, missing or no string, or the line is no object. The problems say which. Blank
        lines are problems of no consequence: null, with the reason ``""``.

    Raises
    ------
    SourceError
        The file is a JSON array, or no line of its first block has one of the keys.
    """
    lines, are_objects = _look(block)
    if not are_objects:
        return _line_by_line(path, block, names, first)
    try:
        _as_text(block).validate(full=True)  # UTF-8, which the parser takes on trust
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False),
            parse_options=pa.json.ParseOptions(
                explicit_schema=pa.schema([(name, pa.string()) for name in names]), unexpected_field_behavior="ignore"
            ),
        )
    except pa.ArrowInvalid:
        return _line_by_line(path, block, names, first)
    columns = [table.column(name).combine_chunks() for name in names]
    if table.num_rows != lines or any(column.null_count for column in columns):
        return _line_by_line(path, block, names, first)
    return ParsedBlock(columns=columns, lines=lines)


def _look(block: bytes) -> tuple[int, bool]:
    """How many lines there are, and whether each begins as an object does and ends so.

    Elsewhere the parser would take two objects on a line, or one over two lines, and rows would have the numbers of others.
    """
    letters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    lines = len(ends) + (not block.endswith(b"\n"))
    if not block.startswith(b"{"):
        return lines, False
    between = ends[: lines - 1]
    last = letters[between - 1]
    last = np.where(last == ord("\r"), letters[between - 2], last)
    return lines, bool((last == ord("}")).all() and (letters[between + 1] == ord("{")).all())


def _as_text(block: bytes) -> pa.Array:
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(block)], np.int64)), pa.py_buffer(block))


def _line_by_line(path: str, block: bytes, names: tuple[str, ...], first: int) -> ParsedBlock:
    lines = block.removesuffix(b"\n").split(b"\n")
    if first == 0 and lines[0].removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        raise SourceError(f"{path}: is a JSON array; a corpus is read from JSON Lines, an object a line (jq -c '.[]' makes them)")
    texts: list[list[str | None]] = [[] for _ in names]
    problems: dict[int, str] = {}
    keys: set[str] = set()
    for number, line in enumerate(lines, first):
        found = _object(line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line)
        if isinstance(found, str):
            problems[number] = found
            for column in texts:
                column.append(None)
            continue
        keys.update(found)
        for name, column in zip(names, texts, strict=True):
            text = found.get(name)
            column.append(text if isinstance(text, str) else None)
            if name not in found:
                problems[number] = f"has no key {name!r}"
            elif not isinstance(text, str):
                problems[number] = f"{name!r} is {'null' if text is None else f'no string but {json.dumps(text)[:40]}'}"
            elif not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                problems[number] = f"{name!r} has a lone surrogate, which is no Unicode text"
                column[-1] = None
    for name in names:
        if first == 0 and keys and name not in keys:  # further on, such rows are at fault and not the declaration
            raise SourceError(f"{path}: has no column {name!r}; its rows have {', '.join(sorted(keys))}")
    return ParsedBlock(columns=[pa.array(column, pa.string()) for column in texts], lines=len(lines), problems=problems)


def _object(line: bytes) -> dict[str, object] | str:
    """The object of a line, or what is wrong with it."""
    if not line.strip():
        return ""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as problem:
        return f"is not UTF-8 at byte {problem.start} of the line"
    except ValueError as problem:
        return f"is no JSON: {problem}"
    except RecursionError:
        return "is nested too deeply"
    return value if isinstance(value, dict) else f"is no object but {json.dumps(value)[:40]}"
