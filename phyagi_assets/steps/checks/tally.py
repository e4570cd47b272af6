"""Checks of token ids that apply to tokenized rows and to token arrays alike."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter

from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import Check

VOCABULARY = "ids_in_vocabulary"
EOS = "documents_end_with_eos"


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Findings in a part of an artifact, whose fields add up to those in the whole. They can be written as JSON (`dataclasses.asdict`)."""

    def __add__(self, other: Self) -> Self:
        """Return the findings in this part and in the one after it."""
        return replace(self, **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the findings of which `dataclasses.asdict` made a record."""
        return TypeAdapter(cls).validate_python(record)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdCounts(Findings):
    """Findings in blocks of token ids."""

    tokens: int = 0
    documents: int = 0
    beyond: int = 0
    """Number of ids that are not in the vocabulary."""
    without_eos: int = 0
    """Number of documents that do not end with the EOS."""
    largest: int = 0

    def __add__(self, other: "IdCounts") -> "IdCounts":
        return replace(Findings.__add__(self, other), largest=max(self.largest, other.largest))


class TokenTally:
    """Counter of invalid token ids and of documents without EOS, fed block by block.

    Parameters
    ----------
    tokenizer
        Details of the tokenizer as recorded in manifests, with ``max_id`` and ``eos_token_id``.
    counts
        Findings in the blocks that were counted before; by default, there are none.
    """

    def __init__(self, tokenizer: Mapping[str, Any], *, append_eos: bool, counts: IdCounts | None = None) -> None:
        self._max_id = int(tokenizer["max_id"])
        self._eos = int(tokenizer["eos_token_id"]) if append_eos else None
        self.counts = counts or IdCounts()
        """Findings so far."""

    def add(self, ids: npt.NDArray[Any], lasts: npt.NDArray[np.int64]) -> None:
        """Count a block.

        Parameters
        ----------
        ids
            Token ids, 1-D, uint16 or int32.
        lasts
            Index in `ids` of the last token of each document that ends in the block, 1-D.
        """
        unsigned = ids.view(f"u{ids.itemsize}")  # a negative id becomes a large one, so one comparison finds both
        largest = int(unsigned.max(initial=0))
        self.counts += IdCounts(
            tokens=len(ids),
            documents=len(lasts),
            beyond=int((unsigned > self._max_id).sum()) if largest > self._max_id else 0,
            without_eos=int((ids[lasts] != self._eos).sum()) if self._eos is not None else 0,
            largest=largest,
        )

    def checks(self) -> list[Check]:
        """Return the outcomes: whether all ids are in the vocabulary and, if `append_eos`, whether each document ends with the EOS."""
        return [self._vocabulary(), *([self._ends(self._eos)] if self._eos is not None else [])]

    def _vocabulary(self) -> Check:
        of = self.counts
        found = f"{of.tokens:,} ids, none above {of.largest:,}; the vocabulary ends at {self._max_id:,}"
        if of.beyond:
            found = f"{of.beyond:,} of {of.tokens:,} ids are not in the tokenizer's vocabulary, which ends at {self._max_id:,}"
        numbers = {"tokens": of.tokens, "largest id": of.largest, "ids out of vocabulary": of.beyond}
        return Check(name=VOCABULARY, passed=of.beyond == 0, found=found, numbers=numbers)

    def _ends(self, eos: int) -> Check:
        of = self.counts
        found = f"{counted(of.documents, 'document')} checked: each ends with the EOS, {eos:,}"
        if of.without_eos:
            found = f"{of.without_eos:,} of {counted(of.documents, 'document')} not ending with the EOS, {eos:,}"
        numbers = {"documents": of.documents, "documents without EOS": of.without_eos}
        return Check(name=EOS, passed=of.without_eos == 0, found=found, numbers=numbers)
