"""Convert a tokenized dataset of the ``datasets`` package to arrays, and save them as a cache folder.

The shared memory consists of unlinked, memory-mapped files in the cache folder. They can be as large as the disk allows, the system can
reclaim their memory, and they disappear with the last process that maps them, even after a crash.
"""

import logging
import math
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import SourceError
from phyagi_assets.formats.cache_folder import IDS, LABELS, array_path, write_config
from phyagi_assets.formats.cache_tokenizer import PICKLED
from phyagi_assets.formats.npy import ArrayWriter
from phyagi_assets.formats.standalone_cache import replace_cache
from phyagi_assets.store.manifest import MEMORY_DATASET, Manifest

if TYPE_CHECKING:
    import datasets

logger = logging.getLogger(__name__)

_SHMArray = np.memmap
"""Type of the arrays in shared memory, under its name in the reference library."""

PROCESSING = {True: "Processing dataset with shared memory...", False: "Processing dataset..."}
"""Labels of progress bars, as in the reference library, by whether shared memory is used."""


def process_dataset_to_memory(
    dataset_dict: "datasets.DatasetDict | datasets.Dataset",
    cache_dir: str | Path,
    dtype: npt.DTypeLike,
    processing_column_name: Sequence[str],
    num_workers: int = 1,
    use_shared_memory: bool = True,
) -> dict[str, npt.NDArray[Any]]:
    """Concatenate the rows of a tokenized dataset into one array per split.

    Parameters
    ----------
    dataset_dict
        Splits whose rows contain lists of integers; a dataset without splits is treated as ``train``.
    cache_dir
        Folder of the mapped files, or of the temporary files from which private arrays are read; created if needed.
    dtype
        Data type of the arrays.
    processing_column_name
        Names of the columns, such as ``["input_ids"]`` or ``["input_ids", "labels"]``.
    num_workers
        Unused; accepted for scripts of the reference library. One process copies rows as fast as the disk can write.
    use_shared_memory
        Whether the arrays are mapped files, which processes can share, instead of private memory of this process.

    Returns
    -------
    dict
        Array of shape (columns, tokens) per split, with the columns in the order of `processing_column_name`.

    Raises
    ------
    SourceError
        A column does not exist, is not a list of integers, or contains a number that does not fit `dtype`; or the columns of a split
        differ in their number of tokens.
    ValueError
        `processing_column_name` is empty.

    Examples
    --------
    >>> import numpy as np
    >>> from datasets import Dataset
    >>> rows = Dataset.from_dict({"input_ids": [[1, 2], [], [3]]})
    >>> process_dataset_to_memory(rows, ".", np.uint16, ["input_ids"], use_shared_memory=False)["train"]
    array([[1, 2, 3]], dtype=uint16)
    """
    del num_workers
    names = [processing_column_name] if isinstance(processing_column_name, str) else list(processing_column_name)
    if not names:
        raise ValueError("processing_column_name: is empty; name at least one column")
    folder, dtype_ = Path(cache_dir), np.dtype(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, columns in _columns(dataset_dict, dict.fromkeys(names, dtype_), shared=use_shared_memory):
        with tempfile.TemporaryFile(dir=folder) as file:
            shape = len(names), max(_append(file, ids) for ids in columns.values())
            mapped = (
                np.memmap(file, dtype_, "r+", shape=shape) if math.prod(shape) else np.empty(shape, dtype_)
            )  # no empty file can be mapped
            arrays[split] = mapped if use_shared_memory else np.array(mapped)
    return arrays


def save_memory_dataset(
    dataset_dict: Mapping[str, npt.NDArray[Any]],
    tokenizer: Any,
    cache_dir: str | Path,
    use_shared_memory: bool = True,
) -> dict[str, Path]:
    """Save arrays and their tokenizer as a cache folder; an existing cache is replaced once the new one is complete.

    Parameters
    ----------
    dataset_dict
        Array per split, as `process_dataset_to_memory` returns it: 1-D, or of shape (columns, tokens), with the ids in the first row and
        their labels in the second. An array of one row is saved as 1-D.
    tokenizer
        Tokenizer of the ids. An object that is not a tokenizer of ``transformers``, such as its name, is only pickled, with a warning, and
        the cache does not describe its vocabulary.
    cache_dir
        Path of the cache folder.
    use_shared_memory
        Unused; accepted for scripts of the reference library. Mapped files need not be released.

    Returns
    -------
    dict
        Paths: ``<split>_file`` for each split, and ``tokenizer_file``.

    Raises
    ------
    SourceError
        The dataset has no splits, or an array is not of integers in 1-D or of shape (columns, tokens).

    Examples
    --------
    >>> import numpy as np
    >>> from tokenizers import Tokenizer, models
    >>> from transformers import PreTrainedTokenizerFast
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"one": 0, "two": 1}, unk_token="one")))
    >>> save_memory_dataset({"train": np.array([[0, 1, 0]], dtype=np.uint16)}, tokenizer, "cache")
    {'train_file': PosixPath('cache/train.npy'), 'tokenizer_file': PosixPath('cache/tokenizer.pkl')}
    """
    del use_shared_memory
    arrays = {split: _checked_array(split, array) for split, array in dataset_dict.items()}
    if not arrays:
        raise SourceError("dataset_dict: has no split; process a dataset first")
    dtype = np.result_type(*(array.dtype for array in arrays.values()))

    def write(folder: Path) -> dict[str, int]:
        for split, array in arrays.items():
            np.save(array_path(folder, split), array.astype(dtype, copy=False))
        return {split: array.shape[-1] for split, array in arrays.items()}

    return _save(write, dtype, tokenizer, Path(cache_dir).expanduser())


def save_columns(
    dataset: "datasets.DatasetDict", dtype: npt.DTypeLike, tokenizer: Any, cache_dir: Path, *, has_labels: bool, shared: bool
) -> None:
    """Save the columns ``input_ids`` and ``labels`` of a tokenized dataset as a cache, as `save_memory_dataset` does for one array."""
    dtypes = {"input_ids": np.dtype(dtype), **({"labels": np.dtype(np.int32)} if has_labels else {})}

    def write(folder: Path) -> dict[str, int]:
        tokens = {}
        for split, columns in _columns(dataset, dtypes, shared=shared, by_row=True):
            for column, parts in columns.items():
                with ArrayWriter(array_path(folder, split, IDS if column == "input_ids" else LABELS), dtypes[column]) as writer:
                    for ids in parts:
                        writer.append(ids)
                tokens[split] = writer.length
        return tokens

    _save(write, dtypes["input_ids"], tokenizer, cache_dir)


def _save(write: Callable[[Path], Mapping[str, int]], dtype: np.dtype[Any], tokenizer: Any, folder: Path) -> dict[str, Path]:
    """Replace a cache by arrays that a function writes to a folder. The function returns the number of tokens of each split."""
    expected = Manifest.expected(MEMORY_DATASET, code_version="1", inputs={}, settings={"dtype": dtype.name})

    def fill(draft: Path) -> Manifest:
        counts = {split: {"tokens": tokens} for split, tokens in write(draft).items()}
        details = {"dtype": dtype.name, "tokenizer": _save_tokenizer(tokenizer, draft)}
        write_config(draft, details)
        return replace(expected, counts=counts, details=details, produced_with={"numpy": np.__version__})

    counts = replace_cache(folder, expected, fill).counts
    return {f"{split}_file": array_path(folder, split) for split in counts} | {"tokenizer_file": folder / PICKLED}


def _save_tokenizer(tokenizer: Any, folder: Path) -> Mapping[str, object] | None:
    """Write a tokenizer to the folder of a cache, and return its description for the manifest; None if it is unknown."""
    from phyagi_assets.tokenizers.prepare import save_forms
    from phyagi_assets.tokenizers.prepared import tokenizer_label

    if all(base.__name__ != "PreTrainedTokenizerBase" for base in type(tokenizer).__mro__):  # not of transformers
        logger.warning("tokenizer: a %s is not a tokenizer of transformers; it is only pickled", type(tokenizer).__name__)
        with (folder / PICKLED).open("wb") as file:
            pickle.dump(tokenizer, file)
        return None
    label = tokenizer_label(str(tokenizer.name_or_path or type(tokenizer).__name__))
    return {"name": label, **save_forms(tokenizer, folder)}


def _checked_array(split: str, array: Any) -> npt.NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.ndim not in (1, 2) or array.dtype.kind not in "iu" or not array.shape[0] * array.ndim:
        found = f"an array of {array.dtype} with shape {array.shape}" if isinstance(array, np.ndarray) else f"a {type(array).__name__}"
        raise SourceError(f"split {split!r} is {found}; give integers in 1-D or of shape (columns, tokens)")
    return array[0] if array.ndim == 2 and len(array) == 1 else array


save_numpy_dataset = save_memory_dataset


def _ids(split: "datasets.Dataset", column: str, dtype: np.dtype[Any], where: str, bar: Any) -> Iterator[npt.NDArray[Any]]:
    """Yield the values of a column, a few rows at a time."""
    limits = np.iinfo(dtype)
    for batch in split.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for chunk in batch.column(column).chunks:
            values = chunk.flatten()
            if values.null_count:
                raise SourceError(f"{where}: contains nulls, which are not valid ids; remove or replace them")
            ids = values.to_numpy()
            if len(ids) and not limits.min <= ids.min() <= ids.max() <= limits.max:
                raise SourceError(
                    f"{where}: contains numbers from {ids.min()} to {ids.max()}, which do not fit {dtype}; use a larger dtype"
                )
            yield ids.astype(dtype, copy=False)
        if bar is not None:
            bar.update(len(batch))


def _columns(
    dataset: "datasets.DatasetDict | datasets.Dataset", dtypes: Mapping[str, np.dtype[Any]], *, shared: bool, by_row: bool = False
) -> Iterator[tuple[str, dict[str, Iterator[npt.NDArray[Any]]]]]:
    """Yield each split with the parts of its columns, with a progress bar that the first column advances."""
    from datasets import DatasetDict
    from tqdm.auto import tqdm

    splits = dataset if isinstance(dataset, DatasetDict) else DatasetDict(train=dataset)
    first = next(iter(dtypes))
    for name, split in splits.items():
        lengths = {column: row_lengths(split, column, f"split {name!r}, column {column!r}") for column in dtypes}
        _require_same_lengths(name, lengths, by_row=by_row)
        with tqdm(total=len(split), desc=PROCESSING[shared], unit=" examples") as bar:
            yield (
                name,
                {
                    column: _ids(split, column, dtype, f"split {name!r}, column {column!r}", bar if column == first else None)
                    for column, dtype in dtypes.items()
                },
            )


def row_lengths(split: "datasets.Dataset", column: str, where: str) -> npt.NDArray[np.int64]:
    """Return the number of entries of a column in each row.

    Raises
    ------
    SourceError
        The column does not exist, or has a row that is not a list of integers.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in split.column_names:
        raise SourceError(f"{where}: does not exist; the columns are {', '.join(split.column_names)}")
    kind = split.features.arrow_schema.field(column).type
    if not isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType) or not pa.types.is_integer(kind.value_type):
        raise SourceError(f"{where}: contains {kind}, not lists of integers; tokenize the dataset first")
    lengths = [np.zeros(0, np.int64)]
    for batch in split.select_columns([column]).with_format("arrow").iter(batch_size=1000):
        found = pc.list_value_length(batch.column(column))
        if found.null_count:
            row = sum(map(len, lengths)) + found.is_null().to_pylist().index(True)
            raise SourceError(f"{where}, row {row}: is null, not a list of integers; use an empty list, or remove the row")
        lengths.append(found.to_numpy())
    return np.concatenate(lengths, dtype=np.int64)


def _require_same_lengths(split: str, lengths: Mapping[str, npt.NDArray[np.int64]], *, by_row: bool) -> None:
    """Check that a split, or each of its rows, has the same number of entries in all columns."""
    totals = {column: int(row_counts.sum()) for column, row_counts in lengths.items()}
    if len(set(totals.values())) > 1:
        listed = ", ".join(f"{column} {total}" for column, total in totals.items())
        raise SourceError(f"split {split!r}: its columns differ in their number of tokens: {listed}; each needs one entry per token")
    first, *others = lengths.values()
    for row_counts in others if by_row else ():
        if len(rows := np.flatnonzero(row_counts != first)):
            listed = ", ".join(f"{column} {row_counts[rows[0]]}" for column, row_counts in lengths.items())
            raise SourceError(
                f"split {split!r}, row {rows[0]}: its columns differ in their number of tokens: {listed}; each needs one entry per token"
            )


def _append(file: IO[bytes], parts: Iterator[npt.NDArray[Any]]) -> int:
    """Append arrays to a file and return the number of their entries."""
    entries = 0
    for ids in parts:
        file.write(ids.data)  # not through the map, where a full disk kills the process
        entries += len(ids)
    file.flush()
    return entries
