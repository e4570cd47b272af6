"""Tokenized artifacts on disk: folders that ``datasets.load_from_disk`` opens, with one file of rows per chunk of the partition."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.npy import REMEDY
from phyagi_assets.store.artifact import Artifact

COLUMNS = {"length": "int64", "hash": "uint64", "file": "int32", "row": "int64"}
"""Columns besides ``input_ids``, with their types.

``length`` is the number of tokens including the EOS, ``hash`` the XXH3-64 of the text, ``file`` the index of the source file in the
partition, and ``row`` the 0-based row in that file.
"""

TRAINED = "trained"
"""Column of conversations: whether each token is trained on, a list as long as ``input_ids``."""
_SUFFIX = ".arrow"


def row_batches(artifact: Artifact, columns: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
    """Read the rows of an artifact, in order.

    Parameters
    ----------
    columns
        Names of the columns to read; if empty, all. If columns are named, the files are mapped into memory, so that only those columns are
        read; the mapped pages that are touched count as memory of this process.

    Raises
    ------
    StoreError
        A file is damaged.
    """
    folder = artifact.folder()
    for name in files_of_rows(artifact):
        yield from rows_in(folder / name, columns)


def files_of_rows(artifact: Artifact) -> list[str]:
    """Return the names of an artifact's files of rows, in order."""
    return sorted(name for name in artifact.manifest.files if name.endswith(_SUFFIX))


def rows_in(path: Path, columns: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
    """Read the rows of one file, in order; see `row_batches`."""
    available = ["input_ids", *COLUMNS]
    try:
        with pa.memory_map(str(path)) if columns else pa.OSFile(str(path)) as file:
            for batch in pa.ipc.open_stream(file):
                rows = batch.select(list(columns or (available + [TRAINED] * (TRAINED in batch.schema.names))))
                rows.validate(full=True)  # damaged offsets would point outside the buffers
                yield rows
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as problem:
        raise StoreError(f"{path}: is damaged: {problem}; {REMEDY}") from None


def renumber(path: Path, target: Path, offsets: Mapping[int, Sequence[tuple[int, int]]]) -> None:
    """Copy a file of rows, and change the row numbers in their source files.

    Parameters
    ----------
    offsets
        By index of a source file: pairs of a row number, sorted, and the offset of the rows from that number up to that of the next pair.
    """
    with pa.OSFile(str(path)) as file, pa.OSFile(str(target), "wb") as output:
        reader = pa.ipc.open_stream(file)
        place = reader.schema.get_field_index("row")
        with pa.ipc.new_stream(output, reader.schema) as writer:
            for batch in reader:
                files, numbers = batch.column("file").to_numpy(), batch.column("row").to_numpy().copy()
                for index, steps in offsets.items():
                    starts, added = np.array(steps, np.int64).T
                    in_file = files == index
                    step = np.searchsorted(starts, numbers[in_file], side="right") - 1
                    numbers[in_file] += np.where(step >= 0, added[step], 0)
                writer.write_batch(batch.set_column(place, reader.schema.field(place), pa.array(numbers)))


def rows_schema(dtype: str, *, has_mask: bool) -> pa.Schema:
    """Return the Arrow schema of the rows, with the metadata in which ``datasets`` looks for their features."""
    types = {name: pa.type_for_alias(kind) for name, kind in COLUMNS.items()}
    if has_mask:
        types[TRAINED] = pa.list_(pa.bool_())
    metadata = json.dumps({"info": {"features": _features(dtype, has_mask=has_mask)}})
    return pa.schema({"input_ids": pa.list_(pa.type_for_alias(dtype)), **types}, {"huggingface": metadata})


def _features(dtype: str, *, has_mask: bool) -> dict[str, Any]:
    """Return the columns as ``datasets`` describes them in JSON, without importing it, which takes longer than a small partition."""
    columns: dict[str, Any] = {name: {"dtype": kind, "_type": "Value"} for name, kind in COLUMNS.items()}
    if has_mask:
        columns[TRAINED] = {"feature": {"dtype": "bool", "_type": "Value"}, "_type": "List"}
    return {"input_ids": {"feature": {"dtype": dtype, "_type": "Value"}, "_type": "List"}, **columns}


def row_files(count: int) -> list[str]:
    """Return the final names of the files of rows, given the number of chunks."""
    return [f"data-{number:05}-of-{count:05}{_SUFFIX}" for number in range(count)]


def complete(folder: Path, names: Sequence[str], dtype: str, *, has_mask: bool) -> None:
    """Write the two metadata files that ``datasets.load_from_disk`` needs."""
    info = {"description": "", "citation": "", "homepage": "", "license": "", "features": _features(dtype, has_mask=has_mask)}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    state: dict[str, Any] = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0" * 16, "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_columns(rows: Path, path: Path, columns: Sequence[str]) -> None:
    """Copy columns of a file of rows to another file, which `rows_in` can read."""
    schema = pa.schema([(name, pa.type_for_alias(COLUMNS[name])) for name in columns])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in rows_in(rows, columns):
            writer.write_batch(batch)
