"""Tokenizer engines: the interface, the reference engine and the fast engine.

An engine encodes a column of text to flat ids and the end of each document. Engines do not append the EOS of `append_eos` and do not choose
the dtype of token arrays; the steps do both.
"""

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.errors import missing_packages_named


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
    """Ids of all documents, one after the other, 1-D."""
    ends: npt.NDArray[np.int64]
    """End of each document in `ids`, shape ``(documents,)``."""

    def of(self, document: int) -> npt.NDArray[np.uint32]:
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
    """The reference engine, ``tokenizers``, whose ids all other engines have to give.

    The package returns ids as one Python list per document. Each list is copied to the flat array and dropped before the next one is
    created.

    Parameters
    ----------
    backend
        The tokenizer's JSON file.
    splits_special_tokens
        Whether special tokens in a text are encoded as ordinary text, as with ``split_special_tokens`` of ``transformers``.
    """

    name = _named("tokenizers")

    def __init__(self, backend: Path, *, splits_special_tokens: bool = False) -> None:
        with missing_packages_named():
            import tokenizers

        self.tokenizer = tokenizers.Tokenizer.from_file(str(backend))
        self.tokenizer.encode_special_tokens = splits_special_tokens

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string column without nulls."""
        encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=True)
        ends = np.cumsum(np.fromiter(map(len, encodings), np.int64, len(encodings)))
        ids = np.empty(ends[-1] if len(ends) else 0, dtype=np.uint32)
        start = 0
        for encoding, end in zip(encodings, ends.tolist(), strict=True):
            ids[start:end] = encoding.ids
            start = end
        return Encoded(ids=ids, ends=ends)


class FastokensEngine:
    """The fast engine, ``fastokens``: tens of times faster than the reference engine, and used as far as the conformance run allows."""

    name = _named("fastokens")

    def __init__(self, backend: Path) -> None:
        import fastokens

        self._tokenizer = fastokens.Tokenizer.from_file(str(backend))

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string column without nulls.

        Raises
        ------
        RuntimeError
            The engine panicked.
        """
        try:
            ids, offsets = self._tokenizer.encode_batch_flat(texts.to_pylist(), add_special_tokens=True)
        except BaseException as problem:
            if type(problem).__name__ == "PanicException":  # a failed assertion in Rust; not a subclass of Exception
                raise RuntimeError(f"the engine panicked: {problem}") from problem
            raise
        return Encoded(ids=np.frombuffer(ids, dtype="<u4"), ends=np.frombuffer(offsets, dtype="<u8")[1:].astype(np.int64))
