"""Exact ids at the speed of the fast engine: choose an engine per document, and verify samples against the reference engine."""

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from phyagi_assets.declare.corpus_schema import EngineName, SpecialTokens
from phyagi_assets.errors import TokenizerError
from phyagi_assets.store.base import Store
from phyagi_assets.tokenizers.conformance import conformance
from phyagi_assets.tokenizers.decoding import Decoder
from phyagi_assets.tokenizers.engines import Encoded, Engine, FastokensEngine, GigatokenEngine, ReferenceEngine
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

SAMPLED = 4_096
"""Number of characters of a batch that are encoded both ways; a batch holds about 1 million, and the reference is about 50 times slower."""
VERIFIED = 1 / 16
"""Share of the batches from which a sample is verified; the first batch always is."""
WINDOW = 2_048
"""Number of characters that a sample takes from a longer document."""
SMALL = 64 << 10
"""Largest size of a source that is encoded with the reference engine alone, in bytes: loading a fast engine takes far longer. It depends on
the source alone, so that an artifact has the same bytes whatever else its process builds."""

Mask = npt.NDArray[np.bool_]

logger = logging.getLogger(__name__)


class EngineMismatch(TokenizerError):
    """The fast engine failed, or gave other ids than the reference engine, on text that the conformance run found safe."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """A fast engine, which tests can replace."""

    name: str
    """Name of the engine, with its version."""
    make: Callable[[Path], Engine]
    """Creates the engine from the tokenizer's JSON file."""


GIGATOKEN = EngineChoice(name=GigatokenEngine.name, make=GigatokenEngine)
FASTOKENS = EngineChoice(name=FastokensEngine.name, make=FastokensEngine)
RANKING = (GIGATOKEN, FASTOKENS)
"""The fast engines, the fastest first. A tokenizer is encoded by the first one that its conformance run allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Engines:
    """The engines of one tokenizer, and the text that the fast engine must not encode."""

    reference: ReferenceEngine
    fast: Engine | None = None
    """The fast engine; None if it is not used for this tokenizer."""
    unsafe: tuple[int, ...] = ()
    """Unsafe code points; documents that contain one are encoded by the reference engine."""
    spellings: tuple[str, ...] = ()
    """Special tokens to read as ordinary text; documents that contain one are encoded by the reference engine."""

    @classmethod
    def load(
        cls,
        prepared: PreparedTokenizer,
        store: Store,
        choices: Sequence[EngineChoice],
        *,
        reference: ReferenceEngine,
        special_tokens: SpecialTokens = "allow",
    ) -> "Engines":
        """Load the first fast engine that the conformance run allows, if there is one.

        With ``special_tokens="text"``, documents that contain a special token go to the reference engine. All other documents have the same
        ids with either reading of special tokens.

        Parameters
        ----------
        choices
            The fast engines, in the order of preference.
        reference
            The reference engine, which reads special tokens in the same way.
        """
        special = prepared.special_tokens if special_tokens == "text" else ()
        if any(token.normalized for token in special):
            return cls(reference=reference)  # such a token matches normalized text, so searching the text cannot find it
        spellings = tuple(token.content for token in special)
        for choice, otherwise in zip(choices, [*(choice.name for choice in choices[1:]), reference.name], strict=False):
            report = conformance(prepared, choice.make, choice.name, store)
            if report.distrust:
                logger.warning(
                    "%s is not used for tokenizer %r: %s; %s is used instead", choice.name, prepared.name, report.distrust, otherwise
                )
                continue
            if report.unsafe:
                logger.info(
                    "%s encodes %d code points incorrectly; documents that contain one are encoded by %s",
                    choice.name,
                    len(report.unsafe),
                    reference.name,
                )
            return cls(reference=reference, fast=choice.make(prepared.backend), unsafe=report.unsafe, spellings=spellings)
        return cls(reference=reference)

    def without_fast(self) -> "Engines":
        """Return the reference engine alone."""
        return Engines(reference=self.reference)


class EnginePool:
    """A cache of loaded engines, shared by all partitions, because loading takes longer than encoding a small partition.

    Parameters
    ----------
    choices
        The fast engines, in the order of preference; by default, those of `RANKING`.
    small
        Largest size of a source that is encoded with the reference engine alone, in bytes.
    """

    def __init__(self, *choices: EngineChoice, small: int = SMALL) -> None:
        self.choices, self._small = choices or RANKING, small
        self._references: dict[tuple[str, bool], ReferenceEngine] = {}
        self._loaded: dict[tuple[str, bool, EngineName], Engines] = {}
        self._decoders: dict[tuple[str, bool], Decoder] = {}
        self.ends_with_eos: dict[str, bool] = {}
        """Whether a tokenizer itself ends texts with the EOS, by identity of the tokenizer."""
        self.adds_first_prompt: dict[tuple[str, ...], bool] = {}
        """Whether chat templates leave out the generation prompt before a first turn, by the identity of the template and `train_on`."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Callable[..., "EnginePool"], tuple[EngineChoice, ...]]:
        """Reduce to the arguments: in another process, engines are loaded again."""
        return partial(EnginePool, small=self._small), tuple(self.choices)

    def engines(
        self,
        prepared: PreparedTokenizer,
        store: Store,
        special_tokens: SpecialTokens = "allow",
        engine: EngineName = "auto",
        *,
        size: int | None = None,
    ) -> Engines:
        """Return the engines of a tokenizer; load them if necessary.

        Parameters
        ----------
        engine
            The only engine to use besides the reference engine; by default, the first one that conforms.
        size
            Size of the source to encode, in bytes; None if it is not known. A small one is encoded with the reference engine alone, unless
            an engine is named.
        """
        with self._lock:
            reference = self._reference(prepared, special_tokens)
            if engine == "auto" and size is not None and size <= self._small:
                return Engines(reference=reference)
            key = prepared.artifact.fingerprint, special_tokens == "text", engine
            if key not in self._loaded:
                choices = [choice for choice in self.choices if engine in ("auto", choice.name.split()[0])]
                self._loaded[key] = Engines.load(prepared, store, choices, special_tokens=special_tokens, reference=reference)
            return self._loaded[key]

    def _reference(self, prepared: PreparedTokenizer, special_tokens: SpecialTokens) -> ReferenceEngine:
        splits = special_tokens == "text"
        key = prepared.artifact.fingerprint, splits
        if key not in self._references:
            self._references[key] = ReferenceEngine(prepared.saved_backend, splits_special_tokens=splits)
        return self._references[key]

    def decoder(self, prepared: PreparedTokenizer, special_tokens: SpecialTokens = "allow") -> Decoder:
        """Return the decoder of a tokenizer, given how special tokens in texts are read; create it if necessary."""
        with self._lock:
            key = prepared.artifact.fingerprint, special_tokens == "text"
            if key not in self._decoders:
                self._decoders[key] = Decoder(self._reference(prepared, special_tokens).tokenizer)
            return self._decoders[key]


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
        self._verify_batch(texts, encoded, np.flatnonzero(nonempty & ~unsafe), batch)
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

    def _verify_batch(self, texts: pa.Array, encoded: Encoded, from_fast: npt.NDArray[np.int64], batch: int) -> None:
        """Compare documents that the fast engine encoded, given their indices, with the reference engine: a sample, or all of them."""
        if self._fast is None:
            return
        draw = np.random.default_rng((*self._seed, batch))
        if self._verify == "full":
            self._compare(texts.take(pa.array(from_fast)), [encoded.of(i) for i in from_fast.tolist()], self._fast)
        elif batch == 0 or float(draw.random()) < VERIFIED:
            self._verify_sample(texts, encoded, from_fast, draw, self._fast)

    def _is_unsafe(self, texts: pa.Array) -> Mask:
        if not self._unsafe:
            return np.zeros(len(texts), dtype=bool)
        found: Mask = pc.match_substring_regex(texts, self._unsafe).to_numpy(zero_copy_only=False)
        return found

    def _verify_sample(
        self, texts: pa.Array, encoded: Encoded, from_fast: npt.NDArray[np.int64], draw: np.random.Generator, fast: Engine
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
        self._compare(texts.take(pa.array(short, pa.int64())), [encoded.of(i) for i in short], fast)
        if windows:
            column = pa.array(windows, pa.string())
            again = fast.encode(column)
            self._compare(column, [again.of(i) for i in range(len(windows))], fast)

    def _compare(self, texts: pa.Array, given: list[npt.NDArray[np.uint32]], fast: Engine) -> None:
        truth = self.reference.encode(texts)
        for i, ids in enumerate(given):
            if not np.array_equal(ids, truth.of(i)):
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
