"""From a dataset of the Hub or of a folder to a cache: what `LMDatasetProvider.from_hub` does, step by step.

The tokenizing is the pipeline's; nothing of it is imported before it is used.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets.shared_memory_utils import PROCESSING
from phyagi_assets.errors import SourceError, TokenizerError
from phyagi_assets.settings import library_store

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


def load_splits(
    dataset_path: str | None,
    dataset_name: str | None,
    disk_file_path: str | Path | None,
    data_dir: str | None,
    data_files: str | Sequence[str] | Mapping[str, Any] | None,
    revision: str | None,
    raw_dir: str | Path | None,
) -> "datasets.DatasetDict":
    """Load all splits, with ``datasets``.

    Raises
    ------
    ValueError
        Neither a dataset nor a folder is named, or both are.
    SourceError
        There is no training split.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk

    if (dataset_path is None) == (disk_file_path is None):
        raise ValueError("dataset_path, disk_file_path: give one, the name of a dataset or the folder that save_to_disk wrote")
    if dataset_path is None:
        loaded = load_from_disk(str(disk_file_path))
        if not isinstance(loaded, DatasetDict):
            loaded = DatasetDict(train=loaded)
    else:
        loaded = load_dataset(
            _present_name(dataset_path, revision),
            dataset_name,
            data_dir=data_dir,
            data_files=data_files,
            revision=revision,
            cache_dir=str(raw_dir) if raw_dir is not None else None,
        )
    if "train" not in loaded:
        raise SourceError(f"{dataset_path or disk_file_path}: has no split 'train'; it has {', '.join(loaded)}")
    return loaded


def _present_name(path: str, revision: str | None) -> str:
    """The name that a dataset of the Hub has now: ``wikitext`` has become ``Salesforce/wikitext``, and ``datasets`` asks for the latter."""
    from huggingface_hub import HfApi

    is_format = path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}") is not None  # json, parquet and the like
    if "/" in path or is_format or Path(path).exists():
        return path
    try:
        return HfApi().dataset_info(path, revision=revision).id
    except Exception:  # no such name, no network, no permission: load_dataset finds it in its cache, or says what is wrong
        return path


def load_tokenizer(tokenizer: Any) -> Any:
    """A tokenizer by its name, or as given.

    Raises
    ------
    TokenizerError
        There is none of that name.
    """
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as problem:
        raise TokenizerError(f"tokenizer {str(tokenizer)!r} cannot be loaded: {' '.join(str(problem).split())}") from problem


def tokenize_into(
    cache_dir: Path,
    loaded: "datasets.DatasetDict",
    tokenizer: Any,
    columns: Sequence[str],
    *,
    append_eos: bool,
    validation_part: float | None,
    source: Mapping[str, Any],
    shared: bool,
) -> None:
    """Tokenize every split into a cache, as the pipeline does.

    Raises
    ------
    SourceError
        A column is not there or holds no text, or a split has none.
    TokenizerError
        The tokenizer is no fast one, or has no EOS where one is wanted.
    """
    from tqdm.auto import tqdm

    from phyagi_assets.pipeline.store import Store
    from phyagi_assets.pipeline.text_cache import TextCache, write_text_cache
    from phyagi_assets.pipeline.tokenizers.prepare import prepare_loaded

    store = Store(library_store())
    cache = TextCache(
        splits={name: _texts(name, split, columns) for name, split in loaded.items()},
        tokenizer=prepare_loaded(tokenizer, store),
        append_eos=append_eos,
        validation_part=validation_part,
        source=source,
    )
    with ExitStack() as bars:
        bar_of = {}

        def on_documents(split: str, documents: int) -> None:
            if split not in bar_of:
                bars.close()
                bar_of[split] = bars.enter_context(tqdm(total=len(loaded[split]) * len(columns), desc=PROCESSING[shared], unit=" examples"))
            bar_of[split].update(documents)

        write_text_cache(cache_dir, cache, store, on_documents)


def _texts(name: str, split: "datasets.Dataset", columns: Sequence[str]) -> "Callable[[], Iterator[pa.Array]]":
    """The text of a split in batches of about a megabyte; the columns of a row are documents, one after the other."""
    import pyarrow as pa

    for column in columns:
        if column not in split.column_names:
            raise SourceError(f"split {name!r} has no column {column!r}; it has {', '.join(split.column_names)}; see mapping_column_name")
        kind = split.features.arrow_schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise SourceError(f"split {name!r}: column {column!r} holds {kind}, not text; see mapping_column_name")

    def texts() -> "Iterator[pa.Array]":
        from phyagi_assets.pipeline.sources.documents import BATCH_BYTES

        rows = BATCH_BYTES * len(split) // max(split.data.nbytes, 1)
        for table in split.select_columns(list(columns)).with_format("arrow").iter(batch_size=min(max(rows, 1), 8192)):
            together = pa.concat_arrays([chunk.cast(pa.string()) for column in columns for chunk in table.column(column).chunks])
            order = np.arange(len(together)).reshape(len(columns), -1).T.ravel()
            yield (together.take(pa.array(order)) if len(columns) > 1 else together).fill_null("")

    return texts


def map_rows(
    loaded: "datasets.DatasetDict", mapping_fn: Callable[..., Any], offered: Mapping[str, Any], kwargs: Mapping[str, Any], num_workers: int
) -> "datasets.DatasetDict":
    """Map every split with the user's own function, which is given of what is `offered` whatever its signature names."""
    accepted = inspect.signature(mapping_fn).parameters
    fn_kwargs = {name: value for name, value in offered.items() if name in accepted} | dict(kwargs)
    return loaded.map(
        mapping_fn, fn_kwargs=fn_kwargs, batched=True, num_proc=num_workers, remove_columns=next(iter(loaded.values())).column_names
    )


def divide_rows(mapped: "datasets.DatasetDict", part: float) -> "datasets.DatasetDict":
    """Let the last rows of the training split, about `part` of its tokens, be the validation split."""
    from datasets import DatasetDict

    from phyagi_assets.pipeline.text_cache import document_cut

    train = mapped["train"]
    batches = train.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=1000)
    lengths = np.concatenate([batch.column("input_ids").combine_chunks().value_lengths().to_numpy() for batch in batches])
    cut = document_cut(np.cumsum(lengths, dtype=np.int64), part)
    return DatasetDict(mapped, train=train.select(range(cut)), validation=train.select(range(cut, len(train))))


def _tokenize_concatenated(
    examples: Mapping[str, Sequence[Any]],
    tokenizer: Any,
    mapping_column_name: Sequence[str],
    use_eos_token: bool,
    dtype: npt.DTypeLike,
) -> dict[str, list[Any]]:
    """Tokenize a batch of ``dataset.map`` into one row.

    Parameters
    ----------
    examples
        The batch, by column.
    tokenizer
        A ``transformers`` tokenizer.
    mapping_column_name
        The columns that hold text; each is tokenized on its own, row by row.
    use_eos_token
        Whether the EOS follows every non-empty text.
    dtype
        Of the ids.

    Returns
    -------
    dict
        ``input_ids``, one 1-D array, and ``length``, its length.
    """
    texts = [text for row in zip(*(examples[name] for name in mapping_column_name), strict=True) for text in row if text]
    encoded = tokenizer(texts)["input_ids"] if texts else []
    end = [tokenizer.eos_token_id] if use_eos_token else []
    ids = np.fromiter(chain.from_iterable((*document, *end) for document in encoded), dtype=dtype)
    return {"input_ids": [ids], "length": [len(ids)]}
