"""Readers of Parquet files, and of Arrow files and streams."""

import re
from collections.abc import Collection, Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet

from phyagi_assets.sources.columns import TextColumn, find_columns
from phyagi_assets.sources.compression import UnreadableContentError, refuse
from phyagi_assets.sources.conversations import ConversationColumn, find_conversations
from phyagi_assets.sources.files import Span
from phyagi_assets.sources.readable import ByteRange, Readable
from phyagi_assets.sources.rows import BLOCK, ReadOptions, Rows, consecutive, parts_of
from phyagi_assets.sources.signatures import HEAD, described, why_not_fetched


def read_parquet(span: Span, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of some row groups of a Parquet file."""
    source, head = span.file, span.file.head()
    refuse(why_not_fetched(head))
    if head.startswith(b"PARE"):  # its footer is encrypted
        raise UnreadableContentError(_ENCRYPTED)
    if head and not head.startswith(b"PAR1"):
        raise UnreadableContentError(
            f"is not a Parquet file: it {described(head)}; name its format in source.format, or give it its own suffix"
        )
    with source.open_native() as content, pa.parquet.ParquetFile(content, buffer_size=BLOCK, page_checksum_verification=True) as file:
        columns = _find_columns(source, file.schema_arrow, options)
        metadata = file.metadata
        _check_whole(content, metadata, is_start=span.start == 0)
        size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
        rows = max(1, min(8192, BLOCK * metadata.num_rows // max(size, 1)))
        groups = list(range(metadata.num_row_groups)[span.start : span.stop])
        nested = any(len(column.path) > 1 for column in columns)  # pyarrow cannot join nested dictionaries of several groups
        row_bytes = source.size / max(metadata.num_rows, 1)
        first = span.first
        names = [name for column in columns for name in column.parquet_names]
        source.expect(_ranges_of_columns(metadata, groups, names))
        for some in [[group] for group in groups] if nested else [groups]:
            for batch in file.iter_batches(batch_size=rows, row_groups=some, columns=names):
                reader = [column.reader(batch) for column in columns]
                yield from parts_of(batch, reader, consecutive(first, batch.num_rows), int(row_bytes * batch.num_rows))
                first += batch.num_rows


_ENCRYPTED = "is an encrypted Parquet file; write it without encryption"
_SIGNATURE = 28
"""Size of the signature after the footer of a Parquet file that has encrypted columns, in bytes."""

_JOINT = re.compile(rb"(.{4})PAR1PAR1", re.DOTALL)
"""End of a Parquet file, from the size of its footer, and the beginning of another one. Values in the page indexes may match it too, but
are unlikely to give the size of a footer."""


def _check_whole(content: pa.NativeFile, metadata: pa.parquet.FileMetaData, *, is_start: bool) -> None:
    """Refuse a Parquet file with encrypted columns, whose metadata would crash pyarrow, or one made of several joined files.

    If files were joined, as with cat, the footer of the last one describes only its own rows, at offsets that point into the first file.
    """
    end = content.size() - 8
    content.seek(end)
    footer = end - int.from_bytes(content.read(4), "little")
    if end - footer == metadata.serialized_size + _SIGNATURE:
        raise UnreadableContentError(_ENCRYPTED)
    if not is_start:
        return
    groups = [group for group in map(metadata.row_group, reversed(range(metadata.num_row_groups))) if group.num_rows]
    content.seek(max((_range_of(column)[1] for group in groups[:1] for column in map(group.column, range(group.num_columns))), default=4))
    before = b""
    while block := content.read(min(BLOCK, max(0, footer - content.tell()))):  # nothing, or indices of pages
        block = before + block
        if b"PAR1PAR1" in block and any(int.from_bytes(size[1], "little") < content.tell() for size in _JOINT.finditer(block)):
            raise UnreadableContentError("is several Parquet files that were joined, of which only one would be read; keep them apart")
        before = block[-11:]


def _range_of(column: pa.parquet.ColumnChunkMetaData) -> ByteRange:
    """Return the byte range of a column in a row group."""
    dictionary = column.dictionary_page_offset if column.has_dictionary_page else None
    start = min(column.data_page_offset, dictionary or column.data_page_offset)
    return start, start + column.total_compressed_size


def _ranges_of_columns(metadata: pa.parquet.FileMetaData, groups: Sequence[int], names: Collection[str]) -> list[ByteRange]:
    """Return the byte ranges of columns in some row groups of a Parquet file, given names as in `TextColumn.parquet_names`."""
    ranges = []
    for group in map(metadata.row_group, groups):
        for column in map(group.column, range(group.num_columns)):
            if any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in names):
                ranges.append(_range_of(column))
    return ranges


def _find_columns(source: Readable, schema: pa.Schema, options: ReadOptions) -> Sequence[TextColumn | ConversationColumn]:
    """Find the declared columns in a table."""
    if options.messages is None:
        return find_columns(source, schema, options.columns)
    return [find_conversations(source, schema, options.messages)]


def read_arrow(span: Span, options: ReadOptions) -> Iterator[Rows]:
    """Stream the rows of an Arrow file or stream."""
    source, first = span.file, span.first
    with source.open_native() as file:
        head = file.read(HEAD)
        refuse(why_not_fetched(head))
        is_stream = not head.startswith(b"ARROW1")
        before = 0
        for batch in _record_batches(source, file, options, is_stream=is_stream):
            now = file.tell()
            yield from parts_of(
                batch,
                [column.reader(batch) for column in _find_columns(source, batch.schema, options)],
                consecutive(first, batch.num_rows),
                max(0, now - before) if is_stream else batch.get_total_buffer_size(),
            )
            first, before = first + batch.num_rows, now


def _record_batches(source: Readable, file: pa.NativeFile, declared: ReadOptions, *, is_stream: bool) -> Iterator[pa.RecordBatch]:
    """Yield the record batches of an Arrow file or stream, with only the columns that hold the documents."""
    file.seek(0)
    schema = (pa.ipc.open_stream(file) if is_stream else pa.ipc.open_file(file)).schema
    wanted = {name for column in _find_columns(source, schema, declared) for name in column.table_columns}
    file.seek(0)
    options = pa.ipc.IpcReadOptions(included_fields=[i for i, name in enumerate(schema.names) if name in wanted], use_threads=False)
    if is_stream:
        yield from pa.ipc.open_stream(file, options=options)
        _require_end(file)
    else:
        opened = pa.ipc.open_file(file, options=options)
        yield from map(opened.get_batch, range(opened.num_record_batches))


def _require_end(file: pa.NativeFile) -> None:
    """Refuse an incomplete stream: damage can look like its end, and its writer may have been killed."""
    end = file.tell()
    if end != file.size():
        raise UnreadableContentError(f"is a damaged Arrow stream: {file.size() - end:,} bytes follow its end at byte {end:,}")
    file.seek(max(0, end - 8))
    if not file.read(8).endswith(bytes(4)):
        raise UnreadableContentError("is an Arrow stream without its end marker: it was not written whole; write it again")
