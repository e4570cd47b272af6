"""Checks of token ids that apply to tokenized rows and to token arrays alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.formatting import counted
from phyagi_assets.steps.checks.check import Check

VOCABULARY = "ids_in_vocabulary"
EOS = "documents_end_with_eos"


class TokenTally:
    """Counter of invalid token ids and of documents without EOS, fed block by block.

    Parameters
    ----------
    tokenizer
        Details of the tokenizer as recorded in manifests, with ``max_id`` and ``eos_token_id``.
    append_eos
        Whether each document ends with the EOS.
    """

    def __init__(self, tokenizer: Mapping[str, Any], *, append_eos: bool) -> None:
        self._max_id = int(tokenizer["max_id"])
        self._eos = int(tokenizer["eos_token_id"]) if append_eos else None
        self._tokens = self._documents = self._beyond = self._without_eos = 0
        self._largest = 0

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
        if largest > self._max_id:
            self._beyond += int((unsigned > self._max_id).sum())
        if self._eos is not None:
            self._without_eos += int((ids[lasts] != self._eos).sum())
        self._largest = max(self._largest, largest)
        self._tokens += len(ids)
        self._documents += len(lasts)

    def checks(self) -> list[Check]:
        """Return the outcomes: whether all ids are in the vocabulary and, if `append_eos`, whether each document ends with the EOS."""
        return [self._vocabulary(), *([self._ends(self._eos)] if self._eos is not None else [])]

    def _vocabulary(self) -> Check:
        found = f"{self._tokens:,} ids, none above {self._largest:,}; the vocabulary ends at {self._max_id:,}"
        if self._beyond:
            found = f"{self._beyond:,} of {self._tokens:,} ids are not in the tokenizer's vocabulary, which ends at {self._max_id:,}"
        numbers = {"tokens": self._tokens, "largest id": self._largest, "ids out of vocabulary": self._beyond}
        return Check(name=VOCABULARY, passed=self._beyond == 0, found=found, numbers=numbers)

    def _ends(self, eos: int) -> Check:
        found = f"{counted(self._documents, 'document')} checked: each ends with the EOS, {eos:,}"
        if self._without_eos:
            found = f"{self._without_eos:,} of {counted(self._documents, 'document')} not ending with the EOS, {eos:,}"
        numbers = {"documents": self._documents, "documents without EOS": self._without_eos}
        return Check(name=EOS, passed=self._without_eos == 0, found=found, numbers=numbers)
