"""A block of JSON Lines → its text columns.

pyarrow's parser reads a block whose every line is an object with text in the right places. A block that it refuses is read again
line by line, which tells the lines at fault from the others.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.json

from phyagi_assets.errors import SourceError


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedBlock:
    """The lines of a block, blank ones included."""

    columns: list[pa.Array]
    lines: int
    problems: dict[int, str] = field(default_factory=dict)


def parse_block(path: Path, block: bytes, names: tuple[str, ...], first: int) -> ParsedBlock:
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
        The file is a JSON array, or no line of the block has one of the keys.
    """
    lines = block.count(b"\n") + (not block.endswith(b"\n"))
    try:
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False),
            parse_options=pa.json.ParseOptions(
                explicit_schema=pa.schema([(name, pa.string()) for name in names]), unexpected_field_behavior="ignore"
            ),
        )
        columns = [table.column(name).combine_chunks() for name in names]
        for column in columns:
            column.validate(full=True)  # UTF-8, which the parser takes on trust
    except pa.ArrowInvalid:
        return _line_by_line(path, block, names, first)
    if table.num_rows != lines or any(column.null_count for column in columns):
        return _line_by_line(path, block, names, first)
    return ParsedBlock(columns=columns, lines=lines)


def _line_by_line(path: Path, block: bytes, names: tuple[str, ...], first: int) -> ParsedBlock:
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
            found = {}
        keys.update(found)
        for name, column in zip(names, texts, strict=True):
            text = found.get(name)
            column.append(text if isinstance(text, str) else None)
            if found and name not in found:
                problems[number] = f"has no key {name!r}"
            elif found and not isinstance(text, str):
                problems[number] = f"{name!r} is {'null' if text is None else f'no string but {json.dumps(text)[:40]}'}"
            elif isinstance(text, str) and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                problems[number] = f"{name!r} has a lone surrogate, which is no Unicode text"
                column[-1] = None
    for name in names:
        if keys and name not in keys:
            raise SourceError(f"{path}: has no column {name!r}; line {first + 1} and those after it have {', '.join(sorted(keys))}")
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
    return value if isinstance(value, dict) else f"is no object but {str(value)[:40]!r}"
