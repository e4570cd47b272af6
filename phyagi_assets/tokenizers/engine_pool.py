"""The engines of each tokenizer: the reference engine, and the first fast one that conforms. They are loaded once per process."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from phyagi_assets.declare.corpus_schema import EngineName, SpecialTokens
from phyagi_assets.store.base import Store
from phyagi_assets.tokenizers.conformance import conformance
from phyagi_assets.tokenizers.decoding import Decoder
from phyagi_assets.tokenizers.engines import Engine, FastokensEngine, GigatokenEngine, ReferenceEngine
from phyagi_assets.tokenizers.prepared import PreparedTokenizer

SMALL = 64 << 10
"""Largest size of a source that is encoded with the reference engine alone, in bytes: loading a fast engine would take far longer. The
choice depends on the source alone, so that an artifact has the same bytes regardless of what else its process builds."""

logger = logging.getLogger(__name__)


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
        for choice, fallback in zip(choices, [*(choice.name for choice in choices[1:]), reference.name], strict=False):
            report = conformance(prepared, choice.make, choice.name, store)
            if report.distrust:
                logger.warning(
                    "%s is not used for tokenizer %r: %s; %s is used instead", choice.name, prepared.name, report.distrust, fallback
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
        self.template_settings: dict[tuple[str, ...], dict[str, str]] = {}
        """Settings that follow from chat templates, by the identities of the tokenizer and the template, its date and `train_on`."""
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
