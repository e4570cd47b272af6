"""Exact ids at the fast engine's speed: which documents go to which engine, and the judge that looks over its shoulder."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.schema import SpecialTokens
from phyagi_assets.errors import TokenizerError
from phyagi_assets.store.local import Store
from phyagi_assets.tokenizers.conformance import conformance
from phyagi_assets.tokenizers.decoding import Decoder
from phyagi_assets.tokenizers.engines import Encoded, Engine, FastokensEngine, ReferenceEngine
from phyagi_assets.tokenizers.prepare import PreparedTokenizer

SAMPLED = 4_096
"""Characters of a batch that are encoded both ways: a batch holds some 1 million, and the judge is some 50 times slower."""
JUDGED = 1 / 16
"""Share of the batches that the judge takes a sample of, after the first."""
WINDOW = 2_048
"""Characters of a long document that a sample takes."""

Mask = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)


class EngineMismatch(TokenizerError):
    """The fast engine gave other ids than the reference did, or none, on text that conformance called safe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """A fast engine and how to make it; tests put others in its place."""

    name: str
    make: Callable[[Path], Engine]


FASTOKENS = EngineChoice(name=FastokensEngine.name, make=FastokensEngine)


@dataclass(frozen=True, kw_only=True, slots=True)
class Engines:
    """The engines of one tokenizer, and how far the fast one goes."""

    reference: ReferenceEngine
    fast: Engine | None = None
    """None where the fast engine is not to be trusted with this tokenizer at all."""
    unsafe: tuple[int, ...] = ()
    """Code points whose documents go to the reference."""
    spellings: tuple[str, ...] = ()
    """Strings whose documents go to the reference: special tokens that are to be read as ordinary text."""

    @classmethod
    def load(cls, prepared: PreparedTokenizer, store: Store, choice: EngineChoice, *, special_tokens: SpecialTokens = "allow") -> "Engines":
        """Load both, as far as the fast engine's conformance to this tokenizer goes.

        The fast engine never sees a special token that is to be ordinary text; without one in it, a text has the same ids either way.
        """
        splits = special_tokens == "text"
        reference = ReferenceEngine(prepared.backend, splits_special_tokens=splits)
        special = prepared.special_tokens if splits else ()
        if any(token.normalized for token in special):
            return cls(reference=reference)  # it matches in the normalized text, whose spelling the text need not have
        report = conformance(prepared, choice.make, choice.name, store)
        if report.distrust:
            logger.warning(
                "%s is not used for tokenizer %r: %s. %s encodes all of it", choice.name, prepared.name, report.distrust, reference.name
            )
            return cls(reference=reference)
        if report.unsafe:
            logger.info("%s differs for %d code points; documents with one go to %s", choice.name, len(report.unsafe), reference.name)
        spellings = tuple(token.content for token in special)
        return cls(reference=reference, fast=choice.make(prepared.backend), unsafe=report.unsafe, spellings=spellings)

    def without_fast(self) -> "Engines":
        return Engines(reference=self.reference)


class EnginePool:
    """Engines that are loaded once and used for every partition: loading takes longer than encoding a small one."""

    def __init__(self, choice: EngineChoice = FASTOKENS) -> None:
        self.choice = choice
        self._loaded: dict[tuple[str, bool], Engines] = {}
        self._decoders: dict[tuple[str, bool], Decoder] = {}
        self.ends_with_eos: dict[str, bool] = {}
        """Whether a tokenizer itself ends texts with the EOS, by its identity."""
        self._lock = threading.Lock()

    def engines(self, prepared: PreparedTokenizer, store: Store, special_tokens: SpecialTokens = "allow") -> Engines:
        """The engines of a tokenizer, for corpora that treat special tokens in their texts alike."""
        with self._lock:
            key = prepared.artifact.fingerprint, special_tokens == "text"
            if key not in self._loaded:
                self._loaded[key] = Engines.load(prepared, store, self.choice, special_tokens=special_tokens)
            return self._loaded[key]

    def decoder(self, prepared: PreparedTokenizer, special_tokens: SpecialTokens = "allow") -> Decoder:
        """The decoder of a tokenizer's ids, for corpora that treat special tokens in their texts alike."""
        with self._lock:
            key = prepared.artifact.fingerprint, special_tokens == "text"
            if key not in self._decoders:
                loaded = self._loaded.get(key)
                splits = special_tokens == "text"
                reference = loaded.reference if loaded else ReferenceEngine(prepared.backend, splits_special_tokens=splits)
                self._decoders[key] = Decoder(reference.tokenizer)
            return self._decoders[key]


class ExactTokenizer:
    """Encodes batches of documents.

    Parameters
    ----------
    engines
        What encodes.
    verify
        ``sample`` compares a few documents of each batch with the reference; ``full`` compares all of them.
    seed
        Which documents are sampled.
    """

    def __init__(self, engines: Engines, *, verify: str = "sample", seed: int | tuple[int, ...] = 0) -> None:
        self._reference, self._fast = engines.reference, engines.fast
        self._unsafe = "|".join(filter(None, [_any_of(sorted(engines.unsafe)), *map(re.escape, engines.spellings)]))
        self._verify = verify
        self._draw = np.random.default_rng(seed)
        self._is_first = True

    @property
    def engine(self) -> str:
        """What encodes the documents that are safe."""
        return self._fast.name if self._fast else self._reference.name

    def encode(self, texts: pa.Array) -> Encoded:
        """Encode a string column without nulls, and have a sample of it judged.

        An empty document has no ids, also where the tokenizer puts a token of its own before each document.

        Raises
        ------
        EngineMismatch
            A document that was encoded both ways came out differently, or the fast engine failed.
        """
        encoded = self.encode_unjudged(texts)
        self.judge(texts, encoded)
        return encoded

    def encode_unjudged(self, texts: pa.Array) -> Encoded:
        """Encode without the judge, who may then work beside the engine, in another thread."""
        nonempty = pc.binary_length(texts).to_numpy() > 0
        if nonempty.all():
            return self._route(texts)
        encoded = self._route(texts.filter(nonempty))
        lengths = np.zeros(len(texts), dtype=np.int64)
        lengths[nonempty] = encoded.lengths
        return Encoded(ids=encoded.ids, ends=np.cumsum(lengths))

    def _route(self, texts: pa.Array) -> Encoded:
        if self._fast is None:
            return self._reference.encode(texts)
        unsafe = self._is_unsafe(texts)
        try:
            encoded = self._fast.encode(texts.filter(~unsafe) if unsafe.any() else texts)
        except Exception as problem:  # an engine fails in whatever way it likes
            raise EngineMismatch(f"{self._fast.name} fails: {problem}") from problem
        if unsafe.any():
            encoded = _interleave(encoded, self._reference.encode(texts.filter(unsafe)), unsafe)
        return encoded

    def judge(self, texts: pa.Array, encoded: Encoded) -> None:
        """Compare a sample of what the fast engine encoded, or all of it, with the reference.

        Raises
        ------
        EngineMismatch
            A document came out differently.
        """
        if self._fast is not None and self._is_taken():
            from_fast = (pc.binary_length(texts).to_numpy() > 0) & ~self._is_unsafe(texts)
            self._judge(texts, encoded, self._fast, np.flatnonzero(from_fast))

    def _is_taken(self) -> bool:
        """Whether the judge looks at this batch."""
        first, self._is_first = self._is_first, False
        return first or self._verify == "full" or float(self._draw.random()) < JUDGED

    def _is_unsafe(self, texts: pa.Array) -> Mask:
        if not self._unsafe:
            return np.zeros(len(texts), dtype=bool)
        found: Mask = pc.match_substring_regex(texts, self._unsafe).to_numpy(zero_copy_only=False)
        return found

    def _judge(self, texts: pa.Array, encoded: Encoded, fast: Engine, candidates: npt.NDArray[np.int64]) -> None:
        if self._verify == "full":
            truth = self._reference.encode(texts)
            for i in candidates.tolist():
                if not np.array_equal(encoded.of(i), truth.of(i)):
                    raise _mismatch(fast, texts[i].as_py())
            return
        short: list[int] = []
        windows: list[str] = []
        left = SAMPLED
        for i in dict.fromkeys(self._draw.choice(candidates, size=min(256, len(candidates))).tolist()) if len(candidates) else ():
            text = texts[i].as_py()
            if len(text) <= WINDOW:
                short.append(i)
            else:
                start = int(self._draw.integers(len(text) - WINDOW + 1))
                windows.append(text[start : start + WINDOW])
            left -= min(len(text), WINDOW)
            if left <= 0:
                break
        self._compare(texts.take(pa.array(short, pa.int64())), [encoded.of(i) for i in short], fast)
        if windows:
            column = pa.array(windows, pa.string())
            again = fast.encode(column)
            self._compare(column, [again.of(i) for i in range(len(windows))], fast)

    def _compare(self, texts: pa.Array, given: list[npt.NDArray[np.uint32]], fast: Engine) -> None:
        truth = self._reference.encode(texts)
        for i, ids in enumerate(given):
            if not np.array_equal(ids, truth.of(i)):
                raise _mismatch(fast, texts[i].as_py())


def _mismatch(fast: Engine, text: str) -> EngineMismatch:
    return EngineMismatch(f"{fast.name} and {ReferenceEngine.name} differ on a document that begins {text[:60]!r}")


def _interleave(fast: Encoded, reference: Encoded, from_reference: Mask) -> Encoded:
    """One batch of two: documents where `from_reference` holds come from the second, in their order."""
    lengths = np.empty(len(from_reference), dtype=np.int64)
    lengths[~from_reference], lengths[from_reference] = fast.lengths, reference.lengths
    ids = np.empty(len(fast.ids) + len(reference.ids), dtype=np.uint32)
    token_from_reference = np.repeat(from_reference, lengths)
    ids[~token_from_reference], ids[token_from_reference] = fast.ids, reference.ids
    return Encoded(ids=ids, ends=np.cumsum(lengths))


def _any_of(points: list[int]) -> str:
    """A regex (RE2) for one of the code points, as ranges; empty where there are none."""
    if not points:
        return ""
    breaks = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(points)) if b != a + 1), len(points)]
    ranges = (rf"\x{{{points[start]:x}}}-\x{{{points[end - 1]:x}}}" for start, end in pairwise(breaks))
    return f"[{''.join(ranges)}]"
