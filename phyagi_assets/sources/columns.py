"""Columns of text in tables: where they are, whether they hold text, and which of their values are not UTF-8.

Nothing that comes from a file is computed with before it is validated: offsets or indices that point out of their buffers make Arrow
read memory that is not its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.files import LocalFile

_BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
"""The type of the same bytes without the promise that they are UTF-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumn:
    """A declared column, found in a table."""

    name: str
    """As declared."""
    path: tuple[str, ...]
    """The column of the table, and the fields that lead from it to the text."""

    @property
    def dotted(self) -> str:
        """As Parquet names it."""
        return ".".join(self.path)


def find_columns(source: LocalFile, schema: pa.Schema, names: Sequence[str], *, nested: bool = True) -> list[TextColumn]:
    """Find the declared columns in a table: ``meta.text`` is the column of that name, else the field ``text`` of the column ``meta``.

    Parameters
    ----------
    nested
        Whether columns of the table have fields.

    Raises
    ------
    SourceError
        A column is missing, is there twice, or does not hold text.
    """
    return [_found(source, schema, name, nested=nested) for name in names]


def _found(source: LocalFile, schema: pa.Schema, name: str, *, nested: bool) -> TextColumn:
    path = (name,) if name in schema.names or not nested else tuple(name.split("."))
    fields = list(schema)
    kind: pa.DataType | None = None
    for part in path:
        matching = [field for field in fields if field.name == part]
        if not matching:
            message = f"has no column {name!r}; it has {', '.join(_names(schema))}; name the column of the text in columns"
            raise SourceError(f"{source}: {message}{_hint(schema)}")
        if len(matching) > 1:
            raise SourceError(f"{source}: has {len(matching)} columns {part!r}; rename all but one")
        kind = _storage(matching[0].type)
        fields = [kind.field(i) for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    kind = _storage(kind.value_type) if kind is not None and pa.types.is_dictionary(kind) else kind
    if kind not in _BYTES_OF.keys() | set(_BYTES_OF.values()):
        inside = f"; name one of its fields, as in {name}.{fields[0].name}" if fields else ""
        raise SourceError(f"{source}: column {name!r} holds {kind}, not text; name a column of text in columns{inside}")
    return TextColumn(name=name, path=path)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _names(schema: pa.Schema) -> list[str]:
    """The columns, and the fields of those that have some."""
    return [
        name
        for field in schema
        for name in (
            [f"{field.name}.{field.type.field(i).name}" for i in range(field.type.num_fields)]
            if pa.types.is_struct(field.type) and field.type.num_fields
            else [field.name]
        )
    ]


def _hint(schema: pa.Schema) -> str:
    """What to declare where the only column looks like several ones that another character separates."""
    separators = [separator for separator in ("\t", ";", "|", ",") if len(schema.names) == 1 and separator in schema.names[0]]
    return f"; if {separators[0]!r} separates the columns, declare it as source.delimiter" if separators else ""


class LocatedText:
    """The text of one column in a batch of rows, validated as far as its buffers go.

    Parameters
    ----------
    name
        The column, as declared.
    values
        What it holds, as bytes.
    valid
        Where the fields above it are not null; None where they nowhere are.
    """

    def __init__(self, name: str, values: pa.Array, valid: pa.Array | None) -> None:
        self._name, self._values, self._valid = name, values, valid

    def read(self, part: slice, numbers: npt.NDArray[np.int64], problems: dict[int, str]) -> pa.Array:
        """Return the text of some rows (string), with null for what is not UTF-8.

        Parameters
        ----------
        part
            The rows.
        numbers
            1-D, their numbers in the file.
        problems
            Where what is wrong with a row is added, by its number.
        """
        values = self._values[part]
        if isinstance(values, pa.DictionaryArray):
            values = values.dictionary_decode()
        if self._valid is not None:
            values = pc.if_else(self._valid[part], values, None)
        try:
            return values.cast(pa.string())
        except pa.ArrowInvalid:  # not UTF-8, which its file may call text all the same
            return pa.array([self._decoded(value, row, problems) for value, row in zip(values, numbers.tolist(), strict=True)], pa.string())

    def _decoded(self, value: pa.Scalar, row: int, problems: dict[int, str]) -> str | None:
        content: bytes | None = value.as_py()
        try:
            return None if content is None else content.decode()
        except UnicodeDecodeError as problem:
            problems[row] = f"{self._name!r} is not UTF-8 at byte {problem.start}"
            return None


def located_text(batch: pa.RecordBatch, column: TextColumn) -> LocatedText:
    """Return the text of a column of rows that come from a file, which may be damaged.

    Raises
    ------
    pyarrow.ArrowException
        The column's buffers are damaged.
    """
    values = _plain(batch.column(batch.schema.get_field_index(column.path[0])))
    values.validate()
    valid = None
    for name in column.path[1:]:
        above = values.is_valid() if values.null_count else None
        valid = above if valid is None or above is None else pc.and_(valid, above)
        values = _plain(values.field(values.type.get_field_index(name)))
    values = _as_bytes(values)
    values.validate(full=True)
    return LocatedText(column.name, values, valid)


def _plain(values: pa.Array) -> pa.Array:
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _as_bytes(values: pa.Array) -> pa.Array:
    """The same buffers, as bytes that are not yet known to be UTF-8."""
    if isinstance(values, pa.DictionaryArray):
        values.indices.validate(full=True)
        return pa.DictionaryArray.from_arrays(values.indices, _as_bytes(values.dictionary), safe=False)
    kind = _BYTES_OF.get(values.type)
    return values if kind is None else values.view(kind)
