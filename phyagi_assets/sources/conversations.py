"""Read conversations: rows that hold a list of messages instead of text. Each becomes a document whose text is JSON."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.columns import find_field, storage_type
from phyagi_assets.sources.conversation_json import TOOLS, InvalidConversationError, conversation_json
from phyagi_assets.sources.jsonlines import MISSING, filled_lines, key_names, object_in, refuse_missing_key, refuse_other_json, value_of
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import ReadPart, RowProblem, Rows


def parse_conversations(path: str, block: bytes, name: str, first: int) -> Iterator[Rows]:
    """Parse a block of whole lines as `parse_lines` does, into the JSON of the conversation in each.

    Each object keeps its own keys, as it must for the arguments of tool calls.

    Parameters
    ----------
    name
        Key of the messages. ``data.messages`` is the key of that name, else the key ``messages`` of the object under ``data``.
    """
    lines = filled_lines(block.removesuffix(b"\n").split(b"\n"), first)
    if first == 0:
        refuse_other_json(path, lines)
    problems: dict[int, RowProblem] = {}
    keys: set[str] = set()

    def converted() -> Iterator[tuple[int, str | RowProblem]]:
        for number, line in lines.items():
            row = object_in(line)
            if isinstance(row, RowProblem):
                yield number, row
                continue
            if first == 0:
                keys.update(key_names(row))
            yield number, _converted(value_of(row, name), row.get(TOOLS), name)

    texts = _texts(converted(), problems)
    refuse_missing_key(path, name, keys, "the conversations in messages")
    yield Rows(columns=[texts], numbers=np.array(list(lines), np.int64), problems=problems)


def _converted(messages: Any, tools: Any, name: str) -> str | RowProblem:
    """Return the JSON of a conversation, or the reason why there is none."""
    if messages is MISSING:
        return RowProblem(f"has no key {name!r}")
    if messages is None:
        return RowProblem(f"{name!r} is null")
    try:
        return conversation_json(messages, tools, name=name)
    except InvalidConversationError as problem:
        return RowProblem(str(problem))
    except RecursionError:
        return RowProblem("is nested too deeply")


def _texts(converted: Iterable[tuple[int, str | RowProblem]], problems: dict[int, RowProblem]) -> pa.Array:
    """Return the texts of rows, given with their numbers. A row without a text is null, and its problem is added to the problems."""
    texts: list[str | None] = []
    for number, found in converted:
        if isinstance(found, RowProblem):
            problems[number] = found
        texts.append(None if isinstance(found, RowProblem) else found)
    return pa.array(texts, pa.string())


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationColumn:
    """The declared column of conversations in a table, which may have a column of tools beside it."""

    name: str
    """Name of the column as declared."""
    path: tuple[str, ...]
    """Name of the column in the table, then the names of the nested fields that lead to the messages."""
    has_tools: bool

    @property
    def table_columns(self) -> list[str]:
        """Names of the columns of the table to read."""
        return list(dict.fromkeys([self.path[0], *([TOOLS] if self.has_tools else [])]))

    @property
    def parquet_names(self) -> list[str]:
        """Names to read from a Parquet file: those of whole columns."""
        return self.table_columns

    def reader(self, batch: pa.RecordBatch) -> ReadPart:
        """Return a reader of the conversations in a batch from a file, as JSON, after validating the buffers: the file may be damaged.

        Arrow gives every row the fields of all rows, with nulls where a row has none. Keys whose value is null are therefore left out.
        """
        columns = {name: batch.column(batch.schema.get_field_index(name)) for name in self.table_columns}
        for column in columns.values():
            column.validate(full=True)
        top, *path = self.path
        messages, tools = columns[top], columns.get(TOOLS) if self.has_tools else None
        kind = messages.type
        for name in path:
            kind = storage_type(kind)
            kind = kind.field(kind.get_field_index(name)).type
        convert, convert_tools = _conversion(kind), _conversion(tools.type) if tools is not None else _unchanged

        def read(part: slice, numbers: npt.NDArray[np.int64], problems: dict[int, RowProblem]) -> pa.Array:
            tool_lists = tools[part].to_pylist() if tools is not None else [None] * len(numbers)
            rows = zip(numbers.tolist(), messages[part].to_pylist(), tool_lists, strict=True)
            return _texts(
                ((number, _converted(convert(_under(value, path)), convert_tools(tool), self.name)) for number, value, tool in rows),
                problems,
            )

        return read


def find_conversations(source: Readable, schema: pa.Schema, name: str) -> ConversationColumn:
    """Find the declared column of conversations in a table, at the top or, as in ``data.messages``, in the fields of a column.

    Raises
    ------
    SourceError
        The column is missing, occurs twice, or holds neither lists nor text.
    """
    path, kind = find_field(source, schema, name, "the conversations in messages")
    if not (_is_list(kind) or kind in (pa.string(), pa.large_string(), pa.string_view(), pa.null())):
        raise SourceError(f"{source}: column {name!r} holds {kind}; use lists of messages, or their JSON as text")
    if has_tools := TOOLS in schema.names:
        find_field(source, schema, TOOLS, "the tools")  # refuses several
    return ConversationColumn(name=name, path=path, has_tools=has_tools)


def _is_list(kind: pa.DataType | None) -> bool:
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list, pa.types.is_list_view)
    return any(is_kind(kind) for is_kind in kinds)


def _under(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unchanged(value: Any) -> Any:
    return value


def _conversion(kind: pa.DataType) -> Callable[[Any], Any]:
    """Return a function that converts the Python values of an Arrow type to those of JSON, without the fields that are null."""
    if pa.types.is_dictionary(kind):
        return _conversion(kind.value_type)
    if pa.types.is_struct(kind):
        conversions = {kind.field(i).name: _conversion(kind.field(i).type) for i in range(kind.num_fields)}
        return lambda value: value and {key: conversions[key](item) for key, item in value.items() if item is not None}
    if pa.types.is_map(kind):
        convert = _conversion(kind.item_type)
        return lambda value: None if value is None else {key: convert(item) for key, item in value}
    if _is_list(kind) and (convert := _conversion(kind.value_type)) is not _unchanged:
        return lambda value: value and [convert(item) for item in value]
    return _unchanged
