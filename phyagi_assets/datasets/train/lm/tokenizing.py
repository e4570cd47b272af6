"""Tokenize a dataset into a cache for `LMDatasetProvider.from_hub`, with the pipeline's tokenizing or a user's function.

The pipeline is imported only when it is used.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets.log import show_messages
from phyagi_assets.datasets.shared_memory_utils import PROCESSING, row_lengths, save_columns
from phyagi_assets.errors import SourceError, TokenizerError
from phyagi_assets.formats.standalone_cache import draft_in
from phyagi_assets.settings import library_store

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


@dataclass(frozen=True, kw_only=True, slots=True)
class NewCache:
    """A cache to write from the splits of a dataset."""

    folder: Path
    tokenizer: Any
    columns: Sequence[str]
    """Names of the text columns; each text of a row is a document."""
    append_eos: bool
    """Whether the EOS is appended to every non-empty document."""
    validation_part: float | None
    """Part of the training tokens to move to the validation split, in whole documents: a fraction below 1, or a number of tokens."""
    is_shared: bool
    """Whether progress bars mention shared memory."""

    def tokenize(self, splits: "datasets.DatasetDict", source: Mapping[str, Any]) -> None:
        """Write the cache as the pipeline does; `source` describes the dataset in its manifest.

        Raises
        ------
        SourceError
            A column does not exist or does not contain text, or a split has no text.
        TokenizerError
            The tokenizer is not a fast tokenizer, or has no EOS although one is requested.
        """
        from tqdm.auto import tqdm

        from phyagi_assets.steps.text_cache import TextCache, write_text_cache
        from phyagi_assets.store.places import open_store
        from phyagi_assets.tokenizers.prepare import prepare_loaded

        show_messages("phyagi_assets.tokenizers")  # the conformance run of a tokenizer takes a while and logs its progress
        store = open_store(library_store())
        cache = TextCache(
            splits={name: _texts(name, split, self.columns) for name, split in splits.items()},
            tokenizer=prepare_loaded(self.tokenizer, store),
            append_eos=self.append_eos,
            validation_part=self.validation_part,
            source=source,
        )
        with ExitStack() as bars:
            bar_of = {}

            def on_documents(split: str, documents: int) -> None:
                if split not in bar_of:
                    bars.close()
                    total = len(splits[split]) * len(self.columns)
                    bar_of[split] = bars.enter_context(tqdm(total=total, desc=PROCESSING[self.is_shared], unit=" examples"))
                bar_of[split].update(documents)

            write_text_cache(self.folder, cache, store, on_documents)

    def map(
        self, splits: "datasets.DatasetDict", mapping_fn: Callable[..., Any], fn_kwargs: Mapping[str, Any], *, num_workers: int
    ) -> None:
        """Write the cache with a user's function, which gets `fn_kwargs` and the arguments that its signature names.

        Raises
        ------
        SourceError
            The function does not return ``input_ids``, or its ids or labels are not lists of integers.
        """
        dtype = np.uint16 if _largest_id(self.tokenizer) <= 0xFFFF else np.int32
        offered = {
            "tokenizer": self.tokenizer,
            "mapping_column_name": list(self.columns),
            "use_eos_token": self.append_eos,
            "dtype": dtype,
        }
        accepted = inspect.signature(mapping_fn).parameters
        passed = {name: value for name, value in offered.items() if name in accepted} | dict(fn_kwargs)
        with draft_in(self.folder) as draft:
            mapped = _mapped(splits, mapping_fn, passed, num_workers, draft)
            columns = mapped["train"].column_names
            if "input_ids" not in columns:
                raise SourceError(f"mapping_fn: returns {', '.join(columns) or 'no column'}, but not 'input_ids', which a cache needs")
            divided = divide_rows(mapped, self.validation_part) if self.validation_part is not None else mapped
            save_columns(divided, dtype, self.tokenizer, self.folder, has_labels="labels" in columns, shared=self.is_shared)


def _texts(name: str, split: "datasets.Dataset", columns: Sequence[str]) -> "Callable[[], Iterator[pa.Array]]":
    """Return a function that yields the text of a split in batches of about 1 MB; each column of a row is a document."""
    import pyarrow as pa

    for column in columns:
        if column not in split.column_names:
            raise SourceError(f"split {name!r} has no column {column!r}; it has {', '.join(split.column_names)}; see mapping_column_name")
        kind = split.features.arrow_schema.field(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise SourceError(f"split {name!r}: column {column!r} contains {kind}, not text; see mapping_column_name")

    def texts() -> "Iterator[pa.Array]":
        from phyagi_assets.sources.documents import BATCH_BYTES

        rows = BATCH_BYTES * len(split) // max(split.data.nbytes, 1)
        for table in split.select_columns(list(columns)).with_format("arrow").iter(batch_size=min(max(rows, 1), 8192)):
            together = pa.concat_arrays([chunk.cast(pa.string()) for column in columns for chunk in table.column(column).chunks])
            order = np.arange(len(together)).reshape(len(columns), -1).T.ravel()
            yield (together.take(pa.array(order)) if len(columns) > 1 else together).fill_null("")

    return texts


def _largest_id(tokenizer: Any) -> int:
    """Return the largest id of a tokenizer: from its vocabulary, else from the size of the vocabulary, else the largest int32."""
    ids = tokenizer.get_vocab().values() if hasattr(tokenizer, "get_vocab") else ()
    return int(max(ids, default=getattr(tokenizer, "vocab_size", 1 << 31) - 1))


def _mapped(
    loaded: "datasets.DatasetDict", mapping_fn: Callable[..., Any], fn_kwargs: Mapping[str, Any], num_workers: int, folder: Path
) -> "datasets.DatasetDict":
    """Map every split into files of a folder; by default, ``datasets`` would write files to the folder of the user's data."""
    from datasets import DatasetDict

    processes = num_workers if num_workers > 1 else None
    return DatasetDict(
        {
            name: split.map(
                mapping_fn,
                fn_kwargs=fn_kwargs,
                batched=True,
                num_proc=processes,
                remove_columns=split.column_names,
                cache_file_name=str(folder / f"{name}.arrow"),
            )
            for name, split in loaded.items()
        }
    )


def divide_rows(mapped: "datasets.DatasetDict", part: float) -> "datasets.DatasetDict":
    """Move the last rows of the training split, about `part` of its tokens, to the validation split."""
    from datasets import DatasetDict

    from phyagi_assets.steps.text_cache import document_cut

    train = mapped["train"]
    cut = document_cut(np.cumsum(row_lengths(train, "input_ids", "split 'train', column 'input_ids'")), part)
    return DatasetDict(mapped, train=train.select(range(cut)), validation=train.select(range(cut, len(train))))


def tokenize_documents(
    examples: Mapping[str, Sequence[Any]], tokenizer: Any, mapping_column_name: str | Sequence[str], use_eos_token: bool
) -> dict[str, list[list[int]]]:
    """Tokenize a batch of ``dataset.map`` into one row per document, with a tokenizer of any class; see `_tokenize_concatenated`."""
    if use_eos_token and tokenizer.eos_token_id is None:
        raise TokenizerError("the tokenizer has no EOS token to append to each text; set its eos_token, or pass use_eos_token=False")
    columns = [mapping_column_name] if isinstance(mapping_column_name, str) else mapping_column_name
    texts = [text for row in zip(*(examples[name] for name in columns), strict=True) for text in row if text]
    end = [tokenizer.eos_token_id] if use_eos_token else []
    return {"input_ids": [[*ids, *end] for ids in (tokenizer(texts)["input_ids"] if texts else [])]}


def _tokenize_concatenated(
    examples: Mapping[str, Sequence[Any]],
    tokenizer: Any,
    mapping_column_name: str | Sequence[str],
    use_eos_token: bool,
    dtype: npt.DTypeLike,
) -> dict[str, list[Any]]:
    """Tokenize a batch of ``dataset.map`` into one row.

    Parameters
    ----------
    examples
        The batch, as lists by column.
    tokenizer
        The ``transformers`` tokenizer.
    mapping_column_name
        Names of the text columns, or the name of the only one; each text is tokenized on its own.
    use_eos_token
        Whether to append the EOS to every non-empty text.
    dtype
        dtype of the ids.

    Returns
    -------
    dict
        ``input_ids``, one 1-D array, and ``length``, its length.

    Raises
    ------
    TokenizerError
        The tokenizer has no EOS although one is requested.
    OverflowError
        An id does not fit `dtype`.
    """
    documents = tokenize_documents(examples, tokenizer, mapping_column_name, use_eos_token)["input_ids"]
    ids = np.fromiter(chain.from_iterable(documents), dtype=dtype)
    return {"input_ids": [ids], "length": [len(ids)]}
