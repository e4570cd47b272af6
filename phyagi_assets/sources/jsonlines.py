"""Parse blocks of JSON Lines into text columns.

pyarrow's parser reads a block if every line is an object with text in the right places. Any other block is read again line by line, to
find the faulty lines.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.rows import RowProblem, Rows, consecutive
from phyagi_assets.sources.signatures import described, is_markup

_MOST_LINES = 1 << 16
"""Largest number of lines to parse at once in a block that is not parsed whole: each line takes memory besides its text."""


def parse_lines(path: str, block: bytes, names: tuple[str, ...], first: int) -> Iterator[Rows]:
    """Parse a block of whole lines.

    Parameters
    ----------
    path
        The file, for messages.
    names
        The keys that hold text. ``meta.text`` is the key of that name, else the key ``text`` of the object under ``meta``.
    first
        0-based number of the block's first line in the file.

    Yields
    ------
    Rows
        One row per line that is not blank. The text is null if it is null, missing or not a string, or if the line is not an object; the
        problems tell these cases apart.

    Raises
    ------
    SourceError
        The file is a JSON array or a single object over several lines, or one of the keys is in no line at its beginning.
    """
    if columns := _parsed(block, names):
        yield Rows(columns=columns, numbers=consecutive(first, len(columns[0])))
        return
    lines = block.removesuffix(b"\n").split(b"\n")
    for begin in range(0, len(lines), _MOST_LINES):
        filled = filled_lines(lines[begin : begin + _MOST_LINES], first + begin)
        if columns := _parsed(b"\n".join(filled.values()), names):
            yield Rows(columns=columns, numbers=np.array(list(filled), np.int64))
        else:
            yield _line_by_line(path, filled, names, is_start=first + begin == 0)


def filled_lines(lines: Iterable[bytes], first: int) -> dict[int, bytes]:
    """Return the lines that are not blank, by number; the first line has the number `first`."""
    return {number: line for number, line in enumerate(lines, first) if line.strip(b" \t\r")}


def _parsed(block: bytes, names: tuple[str, ...]) -> list[pa.Array] | None:
    """Parse a block with pyarrow; return its columns, or None unless every line is an object with text in all of them."""
    lines, schema = _objects(block), _schema(names)
    if not lines or schema is None:
        return None
    text = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(block)], np.int64)), pa.py_buffer(block))
    try:
        text.validate(full=True)  # the parser does not check UTF-8
        table = pa.json.read_json(
            pa.BufferReader(block),
            read_options=pa.json.ReadOptions(block_size=len(block) + 1, use_threads=False),
            parse_options=pa.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except pa.ArrowInvalid:
        return None
    columns = [_column(table, name) for name in names]
    return columns if table.num_rows == lines and not any(column.null_count for column in columns) else None


def _objects(block: bytes) -> int:
    r"""Return the number of lines if each of them begins with ``{`` and ends with ``}``, else 0. The end of the last one is not checked.

    Without this check, the parser would accept two objects on one line or one object over two lines, and rows would get wrong numbers.
    """
    if not block.startswith(b"{"):
        return 0
    letters = np.frombuffer(block, np.uint8)
    between = np.flatnonzero(letters[:-1] == ord("\n"))
    last = letters[between - 1]
    last = np.where(last == ord("\r"), letters[between - 2], last)
    are_objects = (last == ord("}")).all() and (letters[between + 1] == ord("{")).all()
    return len(between) + 1 if are_objects else 0


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


def _line_by_line(path: str, lines: Mapping[int, bytes], names: tuple[str, ...], *, is_start: bool) -> Rows:
    if is_start:
        refuse_other_json(path, lines)
    texts: list[list[str | None]] = [[] for _ in names]
    problems: dict[int, RowProblem] = {}
    keys: set[str] = set()
    for number, line in lines.items():
        found = object_in(line)
        if found == TOO_DEEP and (parsed := _parsed(line, names)):  # pyarrow reads it, as it does in a block without an invalid row
            for column, values in zip(texts, parsed, strict=True):
                column.extend(values.to_pylist())
            continue
        if isinstance(found, RowProblem):
            problems[number] = found
            for column in texts:
                column.append(None)
            continue
        keys.update(key_names(found))
        for name, column in zip(names, texts, strict=True):
            text = text_of(found, name)
            column.append(text if isinstance(text, str) else None)
            if isinstance(text, RowProblem):
                problems[number] = text
    if is_start:  # in later blocks, the rows are wrong and not the declaration
        for name in names:
            refuse_missing_key(path, name, keys, "the text in columns")
    columns = [pa.array(column, pa.string()) for column in texts]
    return Rows(columns=columns, numbers=np.array(list(lines), np.int64), problems=problems)


def text_of(row: dict[str, Any], name: str) -> str | RowProblem:
    """Return the text of a row under a name, or the reason why there is none."""
    text = value_of(row, name)
    if text is MISSING:
        return RowProblem(f"has no key {name!r}")
    if not isinstance(text, str):
        return RowProblem(f"{name!r} is {'null' if text is None else f'not a string but {json.dumps(text)[:40]}'}")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        return RowProblem(f"{name!r} has a lone surrogate, which is not Unicode text")
    return text


def refuse_other_json(path: str, lines: Mapping[int, bytes]) -> None:
    """Refuse a file that is JSON but not JSON Lines, given its first lines that are not blank.

    Raises
    ------
    SourceError
        The file begins like an array, or like an object over several lines, or its lines end in CR.
    """
    start = next(iter(lines.values()), b"").strip()
    if start.startswith(b"["):
        raise SourceError(f"{path}: is a JSON array; a corpus is read from JSON Lines, an object on each line (jq -c '.[]' makes them)")
    if start == b"{":
        message = "is pretty-printed JSON, an object over several lines; a corpus is read from JSON Lines, an object on each line"
        raise SourceError(f"{path}: {message} (jq -c . makes them)")
    if start.startswith(b"{") and b"\r" in start and object_in(start) == _CR_ENDS:
        raise SourceError(f"{path}: {_CR_ENDS.found}")


def refuse_missing_key(path: str, name: str, keys: Collection[str], what: str) -> None:
    """Refuse a file if none of its first rows has a declared key, given the keys that the rows have and what the declared key holds."""
    if keys and not any(key == name or key.startswith(f"{name}.") for key in keys):
        known = ", ".join(sorted(keys)[:20])
        raise SourceError(f"{path}: has no column {name!r}; its rows have {known}; name the column of {what}")


MISSING = object()
"""Marker for the value of a key that a row does not have."""


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
        value = json.loads(line.decode(), parse_int=_int)
    except UnicodeDecodeError as problem:
        return RowProblem(f"is not UTF-8 at byte {problem.start} of the line", is_of_encoding=True)
    except json.JSONDecodeError as problem:
        return RowProblem(f"is not JSON: it {described(line)}") if is_markup(line) else _not_json(problem)
    except RecursionError:
        return TOO_DEEP
    return value if isinstance(value, dict) else RowProblem(f"is not an object but {json.dumps(value)[:40]}")


TOO_DEEP = RowProblem("is nested too deeply")
_CR_ENDS = RowProblem(
    "has lines that end in a carriage return (CR) alone, and in JSON Lines, a line ends in a line feed (LF); convert the file, as with "
    "tr '\\r' '\\n'"
)
_LONGEST_INT = 4_000
"""Largest number of digits of an integer that Python reads. Its default limit is 4,300."""


def _int(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


def _not_json(problem: json.JSONDecodeError) -> RowProblem:
    """Return the problem of a line that is not JSON."""
    line, end = problem.doc, problem.pos
    if line.startswith("\ufeff"):
        return RowProblem("begins with a byte order mark, as where files were joined; remove it, as with sed 's/^\\xEF\\xBB\\xBF//'")
    if problem.msg == "Extra data" and line[end:].lstrip(", \t").startswith("{"):
        gap = line[len(line[:end].rstrip()) : end]
        return _CR_ENDS if "\r" in gap else RowProblem(f"has a second object at column {end + 1}; write each object on a line of its own")
    return RowProblem(f"is not JSON: {problem.msg.removesuffix(' at')} at column {end + 1}")
