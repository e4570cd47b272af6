"""Functional style: a tokenized dataset of the ``datasets`` package → arrays → a cache folder.

The shared memory is that of files without a name in the cache folder, mapped by whoever needs them: they are as large as the disk
allows, hold no memory that the system cannot take back, and are gone with the last process that maps them, however it ends.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import SourceError

if TYPE_CHECKING:
    import datasets

    from phyagi_assets.pipeline.manifest import Manifest

Arrays = dict[str, dict[str, npt.NDArray[Any]]]
"""Split → column → 1-D array."""

PROCESSING = {True: "Processing dataset with shared memory...", False: "Processing dataset..."}
"""What progress bars say, as those of the reference library do, with shared memory and without."""


def process_dataset_to_memory(
    dataset: "datasets.DatasetDict | datasets.Dataset",
    cache_dir: str | Path,
    dtype: npt.DTypeLike,
    column_names: Sequence[str] = ("input_ids",),
    num_workers: int = 1,
    use_shared_memory: bool = True,
    labels_dtype: npt.DTypeLike = np.int32,
) -> Arrays:
    """Put the rows of a tokenized dataset one after the other, as one array a split and column.

    Parameters
    ----------
    dataset
        Splits whose rows hold lists of ids; a dataset without splits is taken as ``train``.
    cache_dir
        Where the mapped files are; made if need be.
    dtype
        Of the arrays.
    column_names
        The columns.
    num_workers
        Taken for the reference library's sake: rows are copied as fast as the disk takes them by one.
    use_shared_memory
        Whether the arrays are mapped files, which other processes and the system's cache share, or memory of this process.
    labels_dtype
        Of the column ``labels``, which may hold -100.

    Returns
    -------
    dict
        Split → column → 1-D array.

    Raises
    ------
    SourceError
        A column is not there, is no list of whole numbers, or holds a number that its dtype does not.

    Examples
    --------
    >>> import numpy as np
    >>> from datasets import Dataset
    >>> rows = Dataset.from_dict({"input_ids": [[1, 2], [], [3]]})
    >>> process_dataset_to_memory(rows, ".", np.uint16, use_shared_memory=False)["train"]["input_ids"]
    array([1, 2, 3], dtype=uint16)
    """
    from datasets import DatasetDict
    from tqdm.auto import tqdm

    del num_workers
    splits = dataset if isinstance(dataset, DatasetDict) else DatasetDict(train=dataset)
    dtypes = {column: np.dtype(labels_dtype if column == "labels" else dtype) for column in column_names}
    Path(cache_dir).mkdir(parents=True, exist_ok=True)
    arrays: Arrays = {}
    for name, split in splits.items():
        with tqdm(total=len(split), desc=PROCESSING[use_shared_memory], unit=" examples") as bar:
            for column, wanted in dtypes.items():
                ids = _ids(split, column, wanted, f"split {name!r}, column {column!r}", bar if column == column_names[0] else None)
                array = _mapped(Path(cache_dir), wanted, ids) if use_shared_memory else np.concatenate([np.empty(0, wanted), *ids])
                arrays.setdefault(name, {})[column] = array
    return arrays


def save_memory_dataset(
    processed_dataset_dict: Mapping[str, Mapping[str, npt.NDArray[Any]]],
    tokenizer: Any,
    cache_dir: str | Path,
    use_shared_memory: bool = True,
) -> dict[str, Path]:
    """Save arrays and their tokenizer as a cache folder; the cache that was there is replaced when the new one is whole.

    Parameters
    ----------
    processed_dataset_dict
        What `process_dataset_to_memory` gave.
    tokenizer
        A ``transformers`` tokenizer, for whoever decodes the cache.
    cache_dir
        The cache.
    use_shared_memory
        Taken for the reference library's sake: mapped files need not be released.

    Returns
    -------
    dict
        ``<split>_file`` for each split, and ``tokenizer_file``.

    Raises
    ------
    SourceError
        There is no split, or one has no ``input_ids``, or labels of another length.

    Examples
    --------
    >>> import numpy as np
    >>> from tokenizers import Tokenizer, models
    >>> from transformers import PreTrainedTokenizerFast
    >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"one": 0, "two": 1}, unk_token="one")))
    >>> save_memory_dataset({"train": {"input_ids": np.array([0, 1, 0], dtype=np.uint16)}}, tokenizer, "cache")
    {'train_file': PosixPath('cache/train.npy'), 'tokenizer_file': PosixPath('cache/tokenizer.pkl')}
    """
    from phyagi_assets.pipeline.manifest import Manifest
    from phyagi_assets.pipeline.standalone_cache import replace_cache
    from phyagi_assets.pipeline.tokenizers.prepare import PICKLED, save_forms, tokenizer_label

    del use_shared_memory
    folder = Path(cache_dir)
    if not processed_dataset_dict:
        raise SourceError("processed_dataset_dict: there is no split in it; process a dataset first")
    counts = {split: {"tokens": _tokens(split, columns)} for split, columns in processed_dataset_dict.items()}
    dtype = np.result_type(*(columns["input_ids"].dtype for columns in processed_dataset_dict.values()))
    wanted = Manifest.wanted("memory_dataset", code_version="1", inputs={}, settings={"dtype": dtype.name})

    def fill(draft: Path) -> "Manifest":
        for split, columns in processed_dataset_dict.items():
            for column, array in columns.items():
                as_wanted = array.astype(dtype, copy=False) if column == "input_ids" else array
                np.save(draft / (f"{split}.npy" if column == "input_ids" else f"{split}_{column}.npy"), as_wanted)
        name = tokenizer_label(str(tokenizer.name_or_path or type(tokenizer).__name__))
        details = {"dtype": dtype.name, "tokenizer": {"name": name, **save_forms(tokenizer, draft)}}
        (draft / "config.json").write_text(json.dumps(details, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        return replace(wanted, counts=counts, details=details, produced_with={"numpy": np.__version__})

    replace_cache(folder, wanted, fill)
    return {f"{split}_file": folder / f"{split}.npy" for split in processed_dataset_dict} | {"tokenizer_file": folder / PICKLED}


save_numpy_dataset = save_memory_dataset


def _ids(split: "datasets.Dataset", column: str, dtype: np.dtype[Any], where: str, bar: Any) -> Iterator[npt.NDArray[Any]]:
    """The numbers of a column, a few rows at a time."""
    import pyarrow as pa

    if column not in split.column_names:
        raise SourceError(f"{where}: is not there; the columns are {', '.join(split.column_names)}")
    kind = split.features.arrow_schema.field(column).type
    if not isinstance(kind, pa.ListType | pa.LargeListType | pa.FixedSizeListType) or not pa.types.is_integer(kind.value_type):
        raise SourceError(f"{where}: holds {kind}, not lists of whole numbers; tokenize the dataset first")
    limits = np.iinfo(dtype)
    for batch in split.select_columns([column]).with_format("arrow").iter(batch_size=64):
        for chunk in batch.column(column).chunks:
            values = chunk.flatten()
            if values.null_count:
                raise SourceError(f"{where}: holds nulls, which are no ids; leave them out, or put a number in their place")
            ids = values.to_numpy()
            if len(ids) and not limits.min <= ids.min() <= ids.max() <= limits.max:
                raise SourceError(f"{where}: holds numbers from {ids.min()} to {ids.max()}, which {dtype} does not; use a larger dtype")
            yield ids.astype(dtype, copy=False)
        if bar is not None:
            bar.update(len(batch))


def _mapped(folder: Path, dtype: np.dtype[Any], parts: Iterator[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """An array over a file that has no name."""
    with tempfile.TemporaryFile(dir=folder) as file:
        for ids in parts:
            file.write(ids.data)  # and not through the map, for which a full disk is no error but the end
        length = file.tell() // dtype.itemsize
        file.flush()
        return np.memmap(file, dtype, "r+", shape=(length,)) if length else np.empty(0, dtype)  # no empty file can be mapped


def _tokens(split: str, columns: Mapping[str, npt.NDArray[Any]]) -> int:
    if "input_ids" not in columns:
        raise SourceError(f"split {split!r} has no 'input_ids', only {', '.join(columns)}; process that column too")
    tokens = len(columns["input_ids"])
    for column, array in columns.items():
        if len(array) != tokens:
            raise SourceError(f"split {split!r}: {column!r} has {len(array)} entries for {tokens} tokens; there is one for each")
    return tokens
