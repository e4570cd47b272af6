"""Find the text columns of tables, check that they hold text, and find values that are not UTF-8.

All data from a file is validated before it is used in a computation, because offsets or indices that point outside their buffers make
Arrow read memory outside of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.errors import SourceError
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.rows import ReadPart, RowProblem
from phyagi_assets.sources.signatures import described, is_markup

_BYTES_OF = {
    pa.string(): pa.binary(),
    pa.large_string(): pa.large_binary(),
    pa.string_view(): pa.binary_view(),
}
"""Binary type by string type: the same bytes, but not declared to be UTF-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextColumn:
    """A declared column that was found in a table."""

    name: str
    """Name of the column as declared."""
    path: tuple[str, ...]
    """Name of the column in the table, then the names of the nested fields that lead to the text."""

    @property
    def table_columns(self) -> list[str]:
        """Names of the columns of the table to read."""
        return [self.path[0]]

    @property
    def parquet_names(self) -> list[str]:
        """Names to read from a Parquet file: the path, joined by dots."""
        return [".".join(self.path)]

    def reader(self, batch: pa.RecordBatch) -> ReadPart:
        """Return a reader of the column in a batch from a file, after validating its buffers, but not its UTF-8.

        Raises
        ------
        pyarrow.ArrowException
            The column's buffers are damaged.
        """
        values = _plain(batch.column(batch.schema.get_field_index(self.path[0])))
        values.validate()
        valid = None  # whether the enclosing fields of each row are not null; None if no enclosing field is null
        for name in self.path[1:]:
            above = values.is_valid() if values.null_count else None
            valid = above if valid is None or above is None else pc.and_(valid, above)
            values = _plain(values.field(values.type.get_field_index(name)))
        content = _as_bytes(values)
        content.validate(full=True)

        def read(part: slice, numbers: npt.NDArray[np.int64], problems: dict[int, RowProblem]) -> pa.Array:
            values = content[part].dictionary_decode() if isinstance(content, pa.DictionaryArray) else content[part]
            if valid is not None:
                values = pc.if_else(valid[part], values, None)
            try:
                return values.cast(pa.string())
            except pa.ArrowInvalid:  # not UTF-8, although the file may declare it as text
                texts: list[str | None] = []
                for encoded, row in zip(values.to_pylist(), numbers.tolist(), strict=True):
                    try:
                        texts.append(None if encoded is None else encoded.decode())
                    except UnicodeDecodeError as problem:
                        problems[row] = RowProblem(f"{self.name!r} is not UTF-8 at byte {problem.start}", is_of_encoding=True)
                        texts.append(None)
                return pa.array(texts, pa.string())

        return read


def find_columns(source: Readable | str, schema: pa.Schema, names: Sequence[str], *, nested: bool = True) -> list[TextColumn]:
    """Find the declared columns in a table: ``meta.text`` is the column of that name, else the field ``text`` of the column ``meta``.

    Raises
    ------
    SourceError
        A column is missing, occurs twice, or does not hold text.
    """
    return [_found(source, schema, name, nested=nested) for name in names]


def _found(source: Readable | str, schema: pa.Schema, name: str, *, nested: bool) -> TextColumn:
    path, kind = find_field(source, schema, name, "the text in columns", nested=nested)
    kind = storage_type(kind)
    text = storage_type(kind.value_type) if pa.types.is_dictionary(kind) else kind
    if text not in _BYTES_OF.keys() | set(_BYTES_OF.values()) | {pa.null()}:
        inside = f"; name one of its fields, as in {name}.{kind.field(0).name}" if pa.types.is_struct(kind) and kind.num_fields else ""
        raise SourceError(f"{source}: column {name!r} holds {text}, not text; name a column of text in columns{inside}")
    return TextColumn(name=name, path=path)


def find_field(
    source: Readable | str, schema: pa.Schema, name: str, what: str, *, nested: bool = True
) -> tuple[tuple[str, ...], pa.DataType]:
    """Return the path and the type of a declared column or nested field, given what it holds and the key that names it, for messages."""
    path = (name,) if name in schema.names or not nested else tuple(name.split("."))
    fields = list(schema)
    for part in path:
        matching = [field for field in fields if field.name == part]
        if not matching:
            message = f"has no column {name!r}; it has {', '.join(map(_shown, _names(schema))) or 'none'}; name the column of {what}"
            raise SourceError(f"{source}: {message}{_hint(schema)}")
        if len(matching) > 1:
            raise SourceError(f"{source}: has {len(matching)} columns {part!r}; rename all but one")
        kind = storage_type(matching[0].type)
        fields = [kind.field(i) for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    return path, matching[0].type


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that an extension type is stored as, or the type itself."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _names(schema: pa.Schema) -> list[str]:
    """Return the names of the columns; columns with fields are replaced by the dotted names of their fields."""
    return [
        name
        for field in schema
        for name in (
            [f"{field.name}.{field.type.field(i).name}" for i in range(field.type.num_fields)]
            if pa.types.is_struct(field.type) and field.type.num_fields
            else [field.name]
        )
    ]


def _shown(name: str) -> str:
    """Return the name of a column, in quotes if it is empty, begins or ends with a space, or cannot be printed."""
    return name if name and name.isprintable() and name == name.strip() else repr(name)


def _hint(schema: pa.Schema) -> str:
    """Return a hint at ``source.delimiter`` if the only column looks like several, or at the type of a file that is HTML; else ``""``."""
    if schema.names and is_markup(schema.names[0].encode(errors="replace")):
        return f"; the file {described(schema.names[0].encode(errors='replace'))}"
    separators = [separator for separator in ("\t", ";", "|", ",") if len(schema.names) == 1 and separator in schema.names[0]]
    return f"; if {separators[0]!r} separates the columns, declare it as source.delimiter" if separators else ""


def _plain(values: pa.Array) -> pa.Array:
    return values.storage if isinstance(values, pa.ExtensionArray) else values


def _as_bytes(values: pa.Array) -> pa.Array:
    """Return an array of the same buffers as bytes, which need not be UTF-8."""
    if isinstance(values, pa.DictionaryArray):
        values.indices.validate(full=True)
        return pa.DictionaryArray.from_arrays(values.indices, _as_bytes(values.dictionary), safe=False)
    kind = _BYTES_OF.get(values.type)
    return values if kind is None else values.view(kind)
