"""Encode batches of documents in all threads of a process, and turn them into the rows of a tokenized artifact."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.execution.ordered import map_in_order
from phyagi_assets.processors import threads
from phyagi_assets.sources.documents import Documents
from phyagi_assets.steps.eos import with_eos
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.tokenizers.engines import SHARING, Encoded

T = TypeVar("T")
R = TypeVar("R")


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


def encode_in_order(
    items: Iterator[T], encode: Callable[[int, T], R], *, size: Callable[[T], int], renders: bool = False
) -> Generator[R, None, None]:
    """Encode batches in all threads of this process, each batch by one thread from its parsing to its rows, and yield them in order.

    With few threads, the fastest engine encodes for one of them at a time (`SHARING`). One thread more than processors then keeps the
    processors busy while a thread waits for the engine.

    Parameters
    ----------
    encode
        Encodes a batch, given its number.
    size
        Returns the size of a batch in bytes, which bounds how many of them are in memory.
    renders
        Whether chat templates are rendered, which holds the interpreter's lock: another thread would only wait for that lock.
    """
    count = threads()
    if 1 < count <= SHARING and not renders:
        count += 1
    numbered = enumerate(items)
    return map_in_order(lambda item: encode(*item), numbered, threads=count, size=lambda item: size(item[1]))
