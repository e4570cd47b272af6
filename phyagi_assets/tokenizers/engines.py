"""What encodes: one small interface, and the engines behind it.

A column of text goes in; flat ids and the end of each document come out. No engine adds an EOS or chooses a dtype; that is the
step's business.
"""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import fastokens
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """The ids of a batch of documents."""

    ids: npt.NDArray[np.uint32]
    """1-D, the documents' ids one after the other."""
    ends: npt.NDArray[np.int64]
    """1-D, where in `ids` each document ends."""

    def of(self, document: int) -> npt.NDArray[np.uint32]:
        """The ids of one document."""
        return self.ids[self.ends[document - 1] if document else 0 : self.ends[document]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.ends, prepend=0)


class Engine(Protocol):
    """Encodes as the ``transformers`` tokenizer would when called on each text with its defaults."""

    @property
    def name(self) -> str:
        """The engine's package and version, such as ``fastokens 0.3.5``."""

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string column without nulls."""


class ReferenceEngine:
    """``tokenizers``: what the ids are measured by.

    Its interface gives ids as a list a document; each is copied into the flat array and dropped before the next one is asked for.

    Parameters
    ----------
    backend
        The tokenizer's JSON.
    splits_special_tokens
        Whether a special token that is spelled in a text is ordinary text, as with the ``split_special_tokens`` of ``transformers``.
    """

    name = f"tokenizers {tokenizers.__version__}"

    def __init__(self, backend: Path, *, splits_special_tokens: bool = False) -> None:
        self.tokenizer = tokenizers.Tokenizer.from_file(str(backend))
        self.tokenizer.encode_special_tokens = splits_special_tokens

    def encode(self, texts: pa.Array) -> Encoded:
        encodings = self.tokenizer.encode_batch_fast(texts.to_pylist(), add_special_tokens=True)
        ends = np.cumsum(np.fromiter(map(len, encodings), np.int64, len(encodings)))
        ids = np.empty(ends[-1] if len(ends) else 0, dtype=np.uint32)
        start = 0
        for encoding, end in zip(encodings, ends.tolist(), strict=True):
            ids[start:end] = encoding.ids
            start = end
        return Encoded(ids=ids, ends=ends)


class FastokensEngine:
    """``fastokens``: tens of times faster, and to be trusted as far as the conformance run goes."""

    name = f"fastokens {version('fastokens')}"

    def __init__(self, backend: Path) -> None:
        self._tokenizer = fastokens.Tokenizer.from_file(str(backend))

    def encode(self, texts: pa.Array) -> Encoded:
        try:
            ids, offsets = self._tokenizer.encode_batch_flat(texts.to_pylist(), add_special_tokens=True)
        except BaseException as problem:
            if type(problem).__name__ == "PanicException":  # what a failed assertion in Rust becomes, which is no Exception
                raise RuntimeError(f"the engine panicked: {problem}") from problem
            raise
        return Encoded(ids=np.frombuffer(ids, dtype="<u4"), ends=np.frombuffer(offsets, dtype="<u8")[1:].astype(np.int64))
