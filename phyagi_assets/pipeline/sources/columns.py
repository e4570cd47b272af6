"""Columns of text in tables of other formats: whether they are there, and whether they are what they claim to be."""

import pyarrow as pa

from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import LocalFile


def valid_text(column: pa.Array, name: str, first: int, problems: dict[int, str]) -> pa.Array:
    """The column with null for what is not UTF-8, which its file may call text all the same.

    Parameters
    ----------
    first
        Number of the column's first row.
    problems
        Where what is wrong with a row is put down, by its number.
    """
    try:
        column.validate(full=True)
        return column
    except pa.ArrowInvalid:
        values = column.cast(pa.binary())
        values.validate(full=True)
    texts: list[str | None] = []
    for row, value in enumerate(values.to_pylist(), first):
        try:
            texts.append(None if value is None else value.decode())
        except UnicodeDecodeError as problem:
            texts.append(None)
            problems[row] = f"{name!r} is not UTF-8 at byte {problem.start}"
    return pa.array(texts, pa.string())


def require_text(source: LocalFile, schema: pa.Schema, columns: tuple[str, ...]) -> None:
    """Make sure that a table has the columns that are declared, and that they hold text.

    Raises
    ------
    SourceError
        It has not, or they do not.
    """
    for name in columns:
        if name not in schema.names:
            raise SourceError(f"{source}: has no column {name!r}; it has {', '.join(schema.names)}; name the text's column in columns")
        if schema.names.count(name) > 1:
            raise SourceError(f"{source}: has {schema.names.count(name)} columns {name!r}; rename all but one")
        kind = schema.field(name).type
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
            raise SourceError(f"{source}: column {name!r} holds {kind}, not text; name a column of text in columns")
