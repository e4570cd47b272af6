"""Conversion of encoded documents to record batches: EOS, dtype and the origin of each document."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.execution.ordered import map_in_order
from phyagi_assets.execution.processors import threads
from phyagi_assets.sources.documents import Documents
from phyagi_assets.tokenizers.engines import Encoded
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

T = TypeVar("T")
R = TypeVar("R")


def token_dtype(corpus: Corpus, prepared: PreparedTokenizer) -> np.dtype[Any]:
    """Return the dtype of a corpus's token arrays: the declared one, or else the smallest that holds every id."""
    return fitting_dtype(prepared) if corpus.config.dtype == "auto" else np.dtype(corpus.config.dtype)


def fitting_dtype(prepared: PreparedTokenizer) -> np.dtype[Any]:
    """Return uint16 if every id of a tokenizer fits, otherwise int32."""
    return np.dtype(np.uint16 if prepared.max_id <= 0xFFFF else np.int32)


EOS_BY, BY_TOKENIZER = "eos_by", "tokenizer"
"""Name and value of the setting of an artifact in which the tokenizer itself, not this package, ends each document with the EOS."""


def eos_to_append(prepared: PreparedTokenizer, *, append_eos: bool) -> int | None:
    """Return the id of the EOS to append to each document; None if `append_eos` is false or the tokenizer appends the EOS itself."""
    return prepared.eos_token_id if append_eos and not prepared.ends_with_eos else None


def refuse_special_tokens(documents: Documents, tokens: Sequence[str], names: Mapping[int, str], corpus: Corpus) -> Documents:
    """Return the batch unchanged, or raise an error if the text of a document contains a special token.

    Parameters
    ----------
    tokens
        Spellings of the special tokens.
    names
        Names of the files, by their index in the partition, to which the batch refers.

    Raises
    ------
    SourceError
        The text of a document contains a special token.
    """
    if tokens:
        found = pc.match_substring_regex(documents.texts, "|".join(map(re.escape, tokens))).to_numpy(zero_copy_only=False)
        for place in np.flatnonzero(found)[:1].tolist():
            text = documents.texts[place].as_py()
            token = next(token for token in tokens if token in text)
            where = f"{names[documents.files[place]]} row {documents.rows[place] + 1:,}"
            remedy = "" if corpus.config.messages else "set special_tokens: text to read it as text, or "
            raise SourceError(
                f"{corpus.path}: {where}: the text spells the special token {token!r}, which special_tokens: error refuses; "
                f"{remedy}remove it from the source"
            )
    return documents


@dataclass(frozen=True, kw_only=True, slots=True)
class RowMaker:
    """Builder of the rows of a tokenized artifact from encoded documents."""

    eos: int | None
    """Id of the EOS to append to every non-empty document; None to append nothing."""
    dtype: np.dtype[Any]
    schema: pa.Schema

    def rows(self, documents: Documents, encoded: Encoded, trained: npt.NDArray[np.bool_] | None = None) -> pa.RecordBatch:
        """Return one row per document, with the columns of `schema`: the ids, their number, the text hash, the file and the row.

        Parameters
        ----------
        trained
            Whether each id is trained on, 1-D, for a schema with this column. An EOS that is appended is trained on.
        """
        nonempty = documents.nonempty if trained is None else encoded.lengths > 0
        ids, ends = with_eos(encoded, nonempty, self.eos, self.dtype)
        offsets = np.concatenate([np.zeros(1, np.int32), ends.astype(np.int32)])
        columns = [
            pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)),
            pa.array(np.diff(ends, prepend=0)),
            pa.array(text_hashes(documents.texts)),
            pa.array(documents.files),
            pa.array(documents.rows),
        ]
        if trained is not None:
            mask, _ = with_eos(replace(encoded, ids=trained.astype(np.uint32)), nonempty, None if self.eos is None else 1, np.dtype(bool))
            columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(mask)))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)


def encode_in_order(items: Iterator[T], encode: Callable[[int, T], R], *, size: Callable[[T], int]) -> Generator[R, None, None]:
    """Encode batches in all threads of this process, each batch by one thread from its parsing to its rows, and yield them in order.

    Parameters
    ----------
    encode
        Encodes a batch, given its number.
    size
        Returns the size of a batch in bytes, which bounds how many of them are in memory.
    """
    numbered = enumerate(items)
    return map_in_order(lambda item: encode(*item), numbered, threads=threads(), size=lambda item: size(item[1]))


def with_eos(
    encoded: Encoded, wants_eos: npt.NDArray[np.bool_], eos: int | None, dtype: np.dtype[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Append the EOS to the documents of a batch, and convert the ids to the dtype of the token arrays.

    Parameters
    ----------
    wants_eos
        Whether each document gets an EOS, shape ``(documents,)``.
    eos
        Id of the EOS; None to append nothing.

    Returns
    -------
    ids : numpy.ndarray
        Ids of all documents, one after the other, 1-D, of `dtype`.
    ends : numpy.ndarray
        End of each document in `ids`, shape ``(documents,)``, int64.
    """
    if eos is None:
        return encoded.ids.astype(dtype), encoded.ends
    ends = encoded.ends + np.cumsum(wants_eos)
    ids = np.empty(ends[-1] if len(ends) else 0, dtype)
    is_id = np.ones(len(ids), dtype=bool)
    of_eos = ends[wants_eos] - 1
    is_id[of_eos] = False
    ids[of_eos], ids[is_id] = eos, encoded.ids  # assign and convert in one pass: takes a fifth less time than converting first
    return ids, ends


def text_hashes(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the XXH3-64 of the UTF-8 bytes of each text of a string column without nulls, without copying the texts."""
    if not len(texts):
        return np.empty(0, np.uint64)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    content = memoryview(data or b"")
    hashes = (xxhash.xxh3_64_intdigest(content[start:end]) for start, end in pairwise(ends))
    return np.fromiter(hashes, np.uint64, len(texts))
