"""The limit of encoding: an engine alone, with two threads, on batches of about 3 MB of text in memory, in the form that it takes.

Nothing is read or written, no EOS is appended, and the ids are left as the engine returns them. After that, they are saved for comparison.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from task import Stopwatch, done, save, task

BATCH_BYTES = 3_000_000
Parts = tuple[Callable[[pa.Array], Any], Callable[[Any], Any], Callable[[Any], tuple[Any, Any]]]
"""An engine: functions that convert a string column to its input, encode it, and return flat ids and ends."""


def gigatoken() -> Parts:
    import awkward as ak
    from gigatoken import Tokenizer

    def over_arrow(texts: pa.Array) -> Any:  # an awkward array over the buffers of Arrow, without a copy of the text
        texts = texts.cast(pa.large_string())
        _, offsets, chars = texts.buffers()
        content = ak.contents.NumpyArray(np.frombuffer(chars, np.uint8), parameters={"__array__": "char"})
        starts = ak.index.Index64(np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1])
        return ak.Array(ak.contents.ListOffsetArray(starts, content, parameters={"__array__": "string"}))

    def flat(found: Any) -> tuple[Any, Any]:
        layout = ak.to_packed(found).layout
        return np.asarray(layout.content.data), np.asarray(layout.offsets)[1:]

    return over_arrow, Tokenizer.from_json(given.backend.read_bytes()).encode_batch, flat


def fastokens() -> Parts:
    from fastokens import Tokenizer

    return (
        lambda texts: texts.to_pylist(),
        Tokenizer.from_file(str(given.backend)).encode_batch_flat,
        lambda found: (np.frombuffer(found[0], "<u4"), np.frombuffer(found[1], "<u8")[1:].astype(np.int64)),
    )


def tokenizers() -> Parts:
    from tokenizers import Tokenizer

    return (
        lambda texts: texts.to_pylist(),
        Tokenizer.from_file(str(given.backend)).encode_batch,
        lambda found: (np.concatenate([one.ids_array for one in found]), np.cumsum([len(one.ids_array) for one in found])),
    )


given = task()
made, encode, flat = {"gigatoken": gigatoken, "fastokens": fastokens, "tokenizers": tokenizers}[given.engine]()
texts = pa.concat_tables(pq.read_table(file, columns=["text"]) for file in given.files).column("text").combine_chunks()
together = max(1, round(len(texts) * BATCH_BYTES / texts.nbytes))
batches = [made(pa.concat_arrays([texts[start : start + together]])) for start in range(0, len(texts), together)]

with ThreadPoolExecutor(2) as threads, Stopwatch() as watch:
    found = list(threads.map(encode, batches))

done(watch, **save(given, map(flat, found), eos=True))
