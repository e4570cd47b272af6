"""Hashes of texts, by which documents are divided into splits, excluded and found."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash


def text_hashes(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """Return the XXH3-64 of the UTF-8 bytes of each text of a string column without nulls, without copying the texts."""
    if not len(texts):
        return np.empty(0, np.uint64)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].tolist()
    content = memoryview(data or b"")
    hashes = (xxhash.xxh3_64_intdigest(content[start:end]) for start, end in pairwise(ends))
    return np.fromiter(hashes, np.uint64, len(texts))
