"""Checks of token ids, for tokenized rows and token arrays."""

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
    """Findings in a part of an artifact; those of all parts add up to those of the artifact. `dataclasses.asdict` returns JSON values."""

    def __add__(self, other: Self) -> Self:
        """Return the findings in both parts."""
        return replace(self, **{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the findings from the output of `dataclasses.asdict`."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class IdRules:
    """Requirements on token ids: every id is in the vocabulary and, if required, every document ends with the EOS."""

    max_id: int
    eos: int | None
    """Id of the EOS; None if documents need not end with it."""

    @classmethod
    def of(cls, tokenizer: Mapping[str, Any], *, append_eos: bool) -> Self:
        """Return the rules, given the description of the tokenizer in a manifest."""
        return cls(max_id=int(tokenizer["max_id"]), eos=int(tokenizer["eos_token_id"]) if append_eos else None)

    def count(self, ids: npt.NDArray[Any], lasts: npt.NDArray[np.int64]) -> IdCounts:
        """Count the ids, documents and violations in a block.

        Parameters
        ----------
        ids
            Token ids, 1-D, uint16 or int32.
        lasts
            Index in `ids` of the last token of each document that ends in the block, 1-D.
        """
        unsigned = ids.view(f"u{ids.itemsize}")  # a negative id becomes a large one, so one comparison finds both
        largest = int(unsigned.max(initial=0))
        return IdCounts(
            tokens=len(ids),
            documents=len(lasts),
            beyond=int((unsigned > self.max_id).sum()) if largest > self.max_id else 0,
            without_eos=int((ids[lasts] != self.eos).sum()) if self.eos is not None else 0,
            largest=largest,
        )

    def checks(self, found: IdCounts) -> list[Check]:
        """Return the results of the checks, given the findings in all blocks."""
        return [_vocabulary(found, self.max_id), *([] if self.eos is None else [_ends(found, self.eos)])]


def _vocabulary(rows: IdCounts, max_id: int) -> Check:
    problem = f"{rows.beyond:,} of {rows.tokens:,} ids are not in the tokenizer's vocabulary, which ends at {max_id:,}"
    otherwise = f"{rows.tokens:,} ids, none above {rows.largest:,}; the vocabulary ends at {max_id:,}"
    numbers = {"tokens": rows.tokens, "largest id": rows.largest, "ids out of vocabulary": rows.beyond}
    return Check.of(VOCABULARY, [problem] if rows.beyond else [], otherwise, numbers)


def _ends(rows: IdCounts, eos: int) -> Check:
    problem = f"{rows.without_eos:,} of {counted(rows.documents, 'document')} without the EOS, {eos:,}, at the end"
    otherwise = f"{counted(rows.documents, 'document')} checked: each ends with the EOS, {eos:,}"
    numbers = {"documents": rows.documents, "documents without EOS": rows.without_eos}
    return Check.of(EOS, [problem] if rows.without_eos else [], otherwise, numbers)
