"""Tokenizer engines: the interface, the reference engine and the fast engines.

An engine encodes a column of text to flat ids and the end of each document. Engines do not append the EOS of `append_eos` and do not choose
the dtype of token arrays; the steps do both.
"""

import os
import resource
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.errors import TokenizerError, translate_missing_packages
from phyagi_assets.formats.cache_tokenizer import shared_backend
from phyagi_assets.processors import threads

SHARING = 2
"""Largest number of threads that share one cache of words and encode one at a time. Encoding takes 0.6 of their time, so that two seldom
wait, and one cache is filled once; more threads would wait for each other most of the time."""
GROWTH = 256 << 20
"""Growth of a process, per cache, at which the caches of an engine without a bound are dropped, in bytes. A smaller bound hardly
lowers the peak for text whose words are all new, and would drop the useful cache of natural text."""
_FREE_TIMEOUT = 5.0
"""Longest wait for other threads to finish encoding with dropped caches, in seconds."""


def _named(package: str) -> str:
    """Return the name and version of a package, which may be missing where nothing is encoded."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The ids of a batch of documents."""

    ids: npt.NDArray[np.uint32]
    """Ids of all documents, one after another, 1-D."""
    ends: npt.NDArray[np.int64]
    """End of each document in `ids`, shape ``(documents,)``."""

    def ids_of(self, document: int) -> npt.NDArray[np.uint32]:
        """Return the ids of a document, given its index."""
        return self.ids[self.ends[document - 1] if document else 0 : self.ends[document]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Number of ids of each document, shape ``(documents,)``."""
        return np.diff(self.ends, prepend=0)


class Engine(Protocol):
    """An engine that encodes like the ``transformers`` tokenizer called on each text with its defaults."""

    @property
    def name(self) -> str:
        """Name and version of the engine's package, such as ``fastokens 0.3.5``."""

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string column without nulls."""


class ReferenceEngine:
    """The reference engine, ``tokenizers``, whose ids all other engines have to reproduce.

    The package returns ids as one Python list per document. Each list is copied to the flat array and dropped before the next one is
    created.

    Parameters
    ----------
    splits_special_tokens
        Whether special tokens in a text are encoded as ordinary text, as with ``split_special_tokens`` of ``transformers``.
    """

    name = _named("tokenizers")

    def __init__(self, backend: Path, *, splits_special_tokens: bool = False) -> None:
        if not splits_special_tokens:
            self.tokenizer = shared_backend(backend.read_bytes())
            return
        with translate_missing_packages():
            import tokenizers

        self.tokenizer = tokenizers.Tokenizer.from_file(str(backend))
        self.tokenizer.encode_special_tokens = True

    def encode(self, texts: pa.Array) -> Encoded:
        try:
            encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=True)
        except Exception as problem:
            if type(problem) is not Exception:  # the package raises this class itself
                raise
            raise TokenizerError(
                f"the tokenizer cannot encode a text: {problem}; if it has no token for unknown text, add one to its tokenizer.json"
            ) from None
        ends = np.cumsum(np.fromiter(map(len, encodings), np.int64, len(encodings)))
        ids = np.empty(ends[-1] if len(ends) else 0, dtype=np.uint32)
        start = 0
        for encoding, end in zip(encodings, ends.tolist(), strict=True):
            ids[start:end] = encoding.ids
            start = end
        return Encoded(ids=ids, ends=ends)


class GigatokenEngine:
    """``gigatoken``, which reads Arrow's buffers without copying them.

    Its cache of words has no bound, so it is recreated when this process has grown by `GROWTH` since it was created.

    It encodes in one of two ways: for one thread at a time, or, "in parallel", for as many as its pool has threads, each with a cache of
    its own. The pool's own threads only help with a text of several megabytes.
    """

    name = _named("gigatoken")

    def __init__(self, backend: Path) -> None:
        import awkward
        import gigatoken

        # From memory, because the file may have been deleted when the tokenizer is recreated.
        self._awkward, self._make = awkward, partial(gigatoken.Tokenizer.from_json, backend.read_bytes())
        self._tokenizer: Any = self._make()
        self._base, self._lock = memory_in_use(), threading.Lock()
        self._growth = GROWTH * (threads() if threads() > SHARING else 1)

    def encode(self, texts: pa.Array) -> Encoded:
        if not len(texts):
            return Encoded(ids=np.empty(0, np.uint32), ends=np.empty(0, np.int64))
        tokenizer = self._bounded()
        _, offsets, data = texts.buffers()
        ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        contents, index = self._awkward.contents, self._awkward.index
        letters = contents.NumpyArray(np.frombuffer(data or b"", np.uint8), parameters={"__array__": "char"})
        column = contents.ListOffsetArray(index.Index64(ends), letters, parameters={"__array__": "string"})
        with translate_panics():
            encoded = tokenizer.encode_batch(self._awkward.Array(column), parallel=_in_parallel()).layout
        ends = np.asarray(encoded.offsets.data, np.int64)
        return Encoded(ids=np.asarray(encoded.content.data)[ends[0] : ends[-1]], ends=ends[1:] - ends[0])

    def _bounded(self) -> Any:
        """Return the tokenizer, recreated if this process has grown.

        Other threads wait, and the old caches are freed first. Otherwise, both would be in memory, and the growth from then on
        would be measured from the size of both.
        """
        with self._lock:
            if self._tokenizer is not None and memory_in_use() > self._base + self._growth:
                freed = threading.Event()
                weakref.finalize(self._tokenizer, freed.set)
                self._tokenizer = None
                freed.wait(_FREE_TIMEOUT)
            if self._tokenizer is None:  # also if the last attempt failed
                self._tokenizer = self._make()
                self._base = memory_in_use()
            return self._tokenizer


def _in_parallel() -> bool:
    """Return whether gigatoken encodes for several threads at once: there are enough of them, and its pool is in this process."""
    return threads() > SHARING and _process_with_pool() == os.getpid()


@cache
def _process_with_pool() -> int:
    """Return the id of the process that first encoded in parallel. A process forked from it lacks the pool's threads and would hang."""
    return os.getpid()


class FastokensEngine:
    """``fastokens``, whose cache of words is bounded."""

    name = _named("fastokens")

    def __init__(self, backend: Path) -> None:
        import fastokens

        self._tokenizer = fastokens.Tokenizer.from_file(str(backend))

    def encode(self, texts: pa.Array) -> Encoded:
        with translate_panics():
            ids, offsets = self._tokenizer.encode_batch_flat(texts.to_pylist(), add_special_tokens=True)
        return Encoded(ids=np.frombuffer(ids, dtype="<u4"), ends=np.frombuffer(offsets, dtype="<u8")[1:].astype(np.int64))


@contextmanager
def translate_panics() -> Iterator[None]:
    """Turn a failed assertion of an engine in Rust, which is not a subclass of `Exception`, into a `RuntimeError`."""
    try:
        yield
    except BaseException as problem:
        if type(problem).__name__ == "PanicException":
            raise RuntimeError(f"the engine panicked: {problem}") from problem
        raise


def memory_in_use() -> int:
    """Return the resident memory of this process, in bytes, or its peak if the system does not report the current size."""
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
