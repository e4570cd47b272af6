"""Parse blocks of JSON Lines into text columns.

pyarrow's parser reads a block if every line is an object with text in the right places. Any other block is read again line by line, to
find the faulty lines.
"""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.row_problem import RowProblem

_MANY = 1 << 16
"""Largest number of lines to parse at once in a block that is not parsed whole: each line takes memory besides its text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedBlock:
    """Rows of a block: its lines without blank ones."""

    columns: list[pa.Array]
    """Text columns (string), null where a row has no text."""
    numbers: npt.NDArray[np.int64]
    """0-based number of each row's line in the file, 1-D."""
    problems: dict[int, RowProblem] = field(default_factory=dict)
    """Problem of each row that has one, by the number of its line."""


def parse_lines(path: str, block: bytes, names: tuple[str, ...], first: int) -> Iterator[ParsedBlock]:
    """Parse a block of whole lines.

    Parameters
    ----------
    path
        The file, for messages.
    block
        Whole lines.
    names
        The keys that hold text. ``meta.text`` is the key of that name, else the key ``text`` of the object under ``meta``.
    first
        0-based number of the block's first line in the file.

    Yields
    ------
    ParsedBlock
        One row per line that is not blank. The text is null if it is null, missing or not a string, or if the line is not an object; the
        problems tell these cases apart.

    Raises
    ------
    SourceError
        The file is a JSON array or a single object over several lines, or one of the keys is in no line at its beginning.
    """
    ends, are_objects = _line_ends(block)
    if are_objects and (columns := _parsed(block, names, len(ends))):
        yield ParsedBlock(columns=columns, numbers=np.arange(first, first + len(ends), dtype=np.int64))
        return
    for begin in range(0, len(ends), _MANY):
        some = ends[begin : begin + _MANY]
        start = int(ends[begin - 1]) + 1 if begin else 0
        yield _parse_filled(path, block[start : int(some[-1]) + 1], some - start, names, first + begin)


def _parse_filled(path: str, block: bytes, ends: npt.NDArray[np.int64], names: tuple[str, ...], first: int) -> ParsedBlock:
    """Parse the lines that are not blank."""
    filled = np.logical_or.reduceat(_FILLS[np.frombuffer(block, np.uint8)], np.concatenate([[0], ends[:-1] + 1]))
    numbers = first + np.flatnonzero(filled)
    if not filled.all():
        block = np.frombuffer(block, np.uint8)[np.repeat(filled, np.diff(ends, prepend=-1))[: len(block)]].tobytes()
    if len(numbers):
        kept, are_objects = _line_ends(block)
        if are_objects and (columns := _parsed(block, names, len(kept))):
            return ParsedBlock(columns=columns, numbers=numbers)
    return _line_by_line(path, block, names, numbers, is_start=first == 0)


_FILLS = np.ones(256, bool)
"""Whether a line with a given byte is not blank: true for all bytes except the white space that `bytes.strip` removes."""
_FILLS[list(b" \t\n\r\x0b\x0c")] = False


def _line_ends(block: bytes) -> tuple[npt.NDArray[np.int64], bool]:
    r"""Find the ends of the lines, and check whether each line begins with ``{`` and ends with ``}``.

    Without this check, the parser would accept two objects on one line or one object over two lines, and rows would get wrong numbers.

    Returns
    -------
    ends : numpy.ndarray
        Offset of each line's newline in the block, 1-D; the length of the block for a last line without newline.
    are_objects : bool
        Whether all lines look like objects. The end of the last line is not checked.
    """
    letters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(letters == ord("\n"))
    if not block.endswith(b"\n"):
        ends = np.append(ends, len(block))
    if not block.startswith(b"{"):
        return ends, False
    between = ends[:-1]
    last = letters[between - 1]
    last = np.where(last == ord("\r"), letters[between - 2], last)
    return ends, bool((last == ord("}")).all() and (letters[between + 1] == ord("{")).all())


def _parsed(block: bytes, names: tuple[str, ...], lines: int) -> list[pa.Array] | None:
    """Parse a block with pyarrow; return its columns, or None unless every line has text in all of them."""
    schema = _schema(names)
    if schema is None:
        return None
    try:
        _as_text(block).validate(full=True)  # the parser does not check UTF-8
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    columns = [_column(table, name) for name in names]
    return columns if table.num_rows == lines and not any(column.null_count for column in columns) else None


def _schema(names: tuple[str, ...]) -> pa.Schema | None:
    """Return a schema with the names as columns and, if they have dots, as nested fields; None if a column would be text and an object."""
    tree: dict[str, Any] = {}
    for name in names:
        for path in {(name,), tuple(name.split("."))}:
            level = tree
            for part in path[:-1]:
                level = level.setdefault(part, {})
                if level is _TEXT:
                    return None
            if level.setdefault(path[-1], _TEXT) is not _TEXT:
                return None
    return pa.schema(_fields(tree))


_TEXT: dict[str, Any] = {}
"""Marker of a text column in a tree of columns; it is compared by identity."""


def _fields(tree: dict[str, Any]) -> list[pa.Field]:
    return [pa.field(name, pa.string() if below is _TEXT else pa.struct(_fields(below))) for name, below in tree.items()]


def _column(table: pa.Table, name: str) -> pa.Array:
    column = table.column(name).combine_chunks()
    if "." not in name or not column.null_count:
        return column
    top, *path = name.split(".")
    return pc.coalesce(column, pc.struct_field(table.column(top).combine_chunks(), path))


def _as_text(block: bytes) -> pa.Array:
    return pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(block)], np.int64)), pa.py_buffer(block))


def _line_by_line(path: str, block: bytes, names: tuple[str, ...], numbers: npt.NDArray[np.int64], *, is_start: bool) -> ParsedBlock:
    lines = block.removesuffix(b"\n").split(b"\n") if len(numbers) else []
    if is_start:
        refuse_other_json(path, lines)
    texts: list[list[str | None]] = [[] for _ in names]
    problems: dict[int, RowProblem] = {}
    keys: set[str] = set()
    for number, line in zip(numbers.tolist(), lines, strict=True):
        found = object_in(line)
        if isinstance(found, RowProblem):
            problems[number] = found
            for column in texts:
                column.append(None)
            continue
        keys.update(key_names(found))
        for name, column in zip(names, texts, strict=True):
            text = value_of(found, name)
            column.append(text if isinstance(text, str) else None)
            if text is MISSING:
                problems[number] = RowProblem(f"has no key {name!r}")
            elif not isinstance(text, str):
                problems[number] = RowProblem(f"{name!r} is {'null' if text is None else f'not a string but {json.dumps(text)[:40]}'}")
            elif not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
                problems[number] = RowProblem(f"{name!r} has a lone surrogate, which is not Unicode text")
                column[-1] = None
    if is_start:  # further on, the rows are at fault and not the declaration
        for name in names:
            refuse_missing_key(path, name, keys, "the text in columns")
    return ParsedBlock(columns=[pa.array(column, pa.string()) for column in texts], numbers=numbers, problems=problems)


def refuse_other_json(path: str, lines: list[bytes]) -> None:
    """Refuse a file that is JSON but not JSON Lines.

    Raises
    ------
    SourceError
        The file begins like an array, or like an object over several lines.
    """
    start = lines[0].strip() if lines else b""
    if start.startswith(b"["):
        raise SourceError(f"{path}: is a JSON array; a corpus is read from JSON Lines, an object on each line (jq -c '.[]' makes them)")
    if start == b"{":
        message = "is pretty-printed JSON, an object over several lines; a corpus is read from JSON Lines, an object on each line"
        raise SourceError(f"{path}: {message} (jq -c . makes them)")


def refuse_missing_key(path: str, name: str, keys: Collection[str], what: str) -> None:
    """Refuse a file none of whose first rows has a declared key, given the keys that they have, and what the key holds, for the message.

    Raises
    ------
    SourceError
        The rows have keys, but not this one.
    """
    if keys and not any(key == name or key.startswith(f"{name}.") for key in keys):
        known = ", ".join(sorted(keys)[:20])
        raise SourceError(f"{path}: has no column {name!r}; its rows have {known}; name the column of {what}")


MISSING = object()
"""Stands for the value of a key that a row does not have."""


def value_of(row: dict[str, Any], name: str) -> Any:
    """Return the value of a row under a name, or under the name's dotted parts if the name itself is missing or null."""
    value = row.get(name, MISSING)
    if "." in name and value in (None, MISSING):
        nested: Any = row
        for part in name.split("."):
            nested = nested.get(part, MISSING) if isinstance(nested, dict) else MISSING
        return value if nested is MISSING else nested
    return value


def key_names(row: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the values in a row."""
    for key, value in row.items():
        if isinstance(value, dict) and value and prefix.count(".") < 8:
            yield from key_names(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def object_in(line: bytes) -> dict[str, Any] | RowProblem:
    """Return the object in a line, or the reason why the line does not hold one."""
    try:
        value = json.loads(line.decode())
    except UnicodeDecodeError as problem:
        return RowProblem(f"is not UTF-8 at byte {problem.start} of the line", is_of_encoding=True)
    except ValueError as problem:
        return RowProblem(f"is not JSON: {problem}")
    except RecursionError:
        return RowProblem("is nested too deeply")
    return value if isinstance(value, dict) else RowProblem(f"is not an object but {json.dumps(value)[:40]}")
