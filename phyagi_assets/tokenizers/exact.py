"""Exact ids at the speed of the fast engine: choose an engine per document, and verify samples against the reference engine."""

import re
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.errors import TokenizerError
from phyagi_assets.tokenizers.engine_pool import Engines
from phyagi_assets.tokenizers.engines import Encoded, Engine, ReferenceEngine

SAMPLED = 4_096
"""Number of characters of a batch that are encoded both ways; a batch holds about 1 million, and the reference is about 50 times slower."""
VERIFIED = 1 / 16
"""Share of the batches from which a sample is verified; the first batch always is."""
WINDOW = 2_048
"""Number of characters that a sample takes from a longer document."""

Mask = npt.NDArray[np.bool_]


class EngineMismatch(TokenizerError):
    """The fast engine failed, or gave other ids than the reference engine, on text that the conformance run found safe."""


class ExactTokenizer:
    """Encoder that gives the exact ids of batches of documents. Several threads may use it at once.

    Parameters
    ----------
    verify
        ``sample`` compares samples of some batches with the reference engine; ``full`` compares all documents that the fast engine encodes.
    seed
        Seed of the choice of samples, which also depends on the number of the batch.
    """

    def __init__(self, engines: Engines, *, verify: str = "sample", seed: tuple[int, ...] = ()) -> None:
        self.reference, self._fast = engines.reference, engines.fast
        self._unsafe = "|".join(filter(None, [_any_of(sorted(engines.unsafe)), *map(re.escape, engines.spellings)]))
        self._verify, self._seed = verify, seed

    @property
    def engine(self) -> str:
        """Name of the engine that encodes safe documents."""
        return self._fast.name if self._fast else self.reference.name

    def encode(self, texts: pa.Array, batch: int = 0) -> Encoded:
        """Encode a string column without nulls, and verify a sample.

        An empty document has no ids, even if the tokenizer adds tokens to every text.

        Parameters
        ----------
        batch
            Number of the batch. The first one is always verified, with ``verify="sample"``.

        Raises
        ------
        EngineMismatch
            The engines gave different ids for a document, or the fast engine failed.
        """
        nonempty = pc.binary_length(texts).to_numpy() > 0
        unsafe = self._is_unsafe(texts)
        if nonempty.all():
            encoded = self._route(texts, unsafe)
        else:
            encoded = self._route(texts.filter(nonempty), unsafe[nonempty])
            lengths = np.zeros(len(texts), dtype=np.int64)
            lengths[nonempty] = encoded.lengths
            encoded = Encoded(ids=encoded.ids, ends=np.cumsum(lengths))
        if self._fast:
            self._verify_batch(self._fast, texts, encoded, np.flatnonzero(nonempty & ~unsafe), batch)
        return encoded

    def _route(self, texts: pa.Array, unsafe: Mask) -> Encoded:
        if self._fast is None:
            return self.reference.encode(texts)
        try:
            encoded = self._fast.encode(texts.filter(~unsafe) if unsafe.any() else texts)
        except Exception as problem:  # an engine may raise any exception
            raise EngineMismatch(f"{self._fast.name} fails: {problem}") from problem
        if unsafe.any():
            encoded = _interleave(encoded, self.reference.encode(texts.filter(unsafe)), unsafe)
        return encoded

    def _verify_batch(self, fast: Engine, texts: pa.Array, encoded: Encoded, from_fast: npt.NDArray[np.int64], batch: int) -> None:
        """Compare documents that the fast engine encoded, given their indices, with the reference engine: a sample, or all of them."""
        draw = np.random.default_rng((*self._seed, batch))
        if self._verify == "full":
            self._compare(fast, texts.take(pa.array(from_fast)), [encoded.ids_of(i) for i in from_fast.tolist()])
        elif batch == 0 or float(draw.random()) < VERIFIED:
            self._verify_sample(fast, texts, encoded, from_fast, draw)

    def _is_unsafe(self, texts: pa.Array) -> Mask:
        if not self._unsafe:
            return np.zeros(len(texts), dtype=bool)
        found: Mask = pc.match_substring_regex(texts, self._unsafe).to_numpy(zero_copy_only=False)
        return found

    def _verify_sample(
        self, fast: Engine, texts: pa.Array, encoded: Encoded, from_fast: npt.NDArray[np.int64], draw: np.random.Generator
    ) -> None:
        short: list[int] = []
        windows: list[str] = []
        left = SAMPLED
        for i in dict.fromkeys(draw.choice(from_fast, size=min(256, len(from_fast))).tolist()) if len(from_fast) else ():
            text = texts[i].as_py()
            if len(text) <= WINDOW:
                short.append(i)
            else:
                start = int(draw.integers(len(text) - WINDOW + 1))
                windows.append(text[start : start + WINDOW])
            left -= min(len(text), WINDOW)
            if left <= 0:
                break
        self._compare(fast, texts.take(pa.array(short, pa.int64())), [encoded.ids_of(i) for i in short])
        if windows:
            column = pa.array(windows, pa.string())
            again = fast.encode(column)
            self._compare(fast, column, [again.ids_of(i) for i in range(len(windows))])

    def _compare(self, fast: Engine, texts: pa.Array, found: list[npt.NDArray[np.uint32]]) -> None:
        expected = self.reference.encode(texts)
        for i, ids in enumerate(found):
            if not np.array_equal(ids, expected.ids_of(i)):
                raise EngineMismatch(f"{fast.name} and {ReferenceEngine.name} differ on a document that begins {texts[i].as_py()[:60]!r}")


def _interleave(fast: Encoded, reference: Encoded, from_reference: Mask) -> Encoded:
    """Merge two batches: the documents where `from_reference` is true come from `reference`, in order, the others from `fast`."""
    lengths = np.empty(len(from_reference), dtype=np.int64)
    lengths[~from_reference], lengths[from_reference] = fast.lengths, reference.lengths
    ids = np.empty(len(fast.ids) + len(reference.ids), dtype=np.uint32)
    token_from_reference = np.repeat(from_reference, lengths)
    ids[~token_from_reference], ids[token_from_reference] = fast.ids, reference.ids
    return Encoded(ids=ids, ends=np.cumsum(lengths))


def _any_of(points: list[int]) -> str:
    """Return a regular expression (RE2) that matches one of the code points, as ranges; empty if there are none."""
    if not points:
        return ""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(points)) if b != a + 1), len(points)]
    ranges = (rf"\x{{{points[start]:x}}}-\x{{{points[end - 1]:x}}}" for start, end in pairwise(breaks))
    return f"[{''.join(ranges)}]"
