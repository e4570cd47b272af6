"""A tokenized artifact on disk: a folder that ``datasets.load_from_disk`` opens, with a file of rows for every piece of the partition."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from phyagi_assets.errors import StoreError
from phyagi_assets.store.local import Artifact

COLUMNS = {"length": "int64", "hash": "uint64", "file": "int32", "row": "int64"}
"""What stands beside ``input_ids``: tokens with the EOS, XXH3-64 of the text, index of the file in the partition, row in the file."""

_SUFFIX = ".arrow"


def row_batches(artifact: Artifact, columns: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
    """The rows of an artifact, in their order.

    Parameters
    ----------
    columns
        Those that are wanted, of `COLUMNS`; by default all. Files are mapped into memory to look at some columns alone. Mapped pages
        count as the memory of this process, as many as it touches.

    Raises
    ------
    StoreError
        A file is damaged.
    """
    for name in sorted(artifact.manifest.files):
        if name.endswith(_SUFFIX):
            yield from rows_in(artifact.path / name, columns)


def rows_in(path: Path, columns: Collection[str] = ()) -> Iterator[pa.RecordBatch]:
    """The rows of one file, as `row_batches` gives those of all.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    wanted = columns or ["input_ids", *COLUMNS]
    try:
        with pa.memory_map(str(path)) if columns else pa.OSFile(str(path)) as file:
            for batch in pa.ipc.open_stream(file):
                rows = batch.select(list(wanted))
                rows.validate(full=True)  # damaged offsets lead out of the buffers
                yield rows
    except (pa.ArrowException, OSError, KeyError, UnicodeDecodeError) as problem:
        raise StoreError(
            f"{path}: is damaged: {problem}; phyagi-assets check --discard removes it, and materialize builds it again"
        ) from None


def rows_features(dtype: str) -> Any:
    """The columns as ``datasets`` knows them."""
    from datasets import Features, List, Value

    return Features({"input_ids": List(Value(dtype)), **{name: Value(kind) for name, kind in COLUMNS.items()}})


def rows_file(folder: Path, number: int) -> Path:
    """Where the rows of a piece are written."""
    return folder / f"{number:05}{_SUFFIX}"


def complete(folder: Path, count: int, features: Any) -> None:
    """Give the files of rows the names that they keep, and write the two beside them that make ``load_from_disk`` open the folder."""
    from datasets import DatasetInfo

    names = [f"data-{number:05}-of-{count:05}{_SUFFIX}" for number in range(count)]
    for number, name in enumerate(names):
        rows_file(folder, number).rename(folder / name)
    DatasetInfo(features=features).write_to_directory(str(folder))
    state: dict[str, Any] = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0" * 16, "_split": None}
    state |= {"_format_columns": None, "_format_kwargs": {}, "_format_type": None, "_output_all_columns": False}
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True) + "\n", encoding="utf-8")
