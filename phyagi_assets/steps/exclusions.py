"""Find the excluded documents that occur in a partition; only these enter its fingerprint.

They are found by the text hashes in the partition's tokenized rows, or by reading the source if the partition was never tokenized. The
result is kept in the store.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.token_rows import row_batches
from phyagi_assets.sources.documents import Documents
from phyagi_assets.steps.raw import RAW
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import canonical_json, text_digest
from phyagi_assets.store.state import State

REMOVED = "removed"
"""Setting of a tokenized artifact that lists the ids of the excluded documents that occur in the partition."""
_TEXT = ("format", "sample_by", "columns", "separator", "on_invalid", "delimiter", "irregular", "messages")
"""Settings that determine the text of the documents; some are only present if they differ from the default."""


class ExcludedDocuments:
    """The excluded documents of one partition, given the settings of its tokenized artifact except for `REMOVED`."""

    def __init__(self, corpus: Corpus, address: str, raw_fingerprint: str, settings: Mapping[str, Any], store: Store) -> None:
        self._removals = read_removals(corpus)
        self._address, self._store = address, store
        self._raw_fingerprint, self._settings = raw_fingerprint, settings

    def known(self) -> list[str] | None:
        """Return the ids of the partition's excluded documents, sorted; None if the partition has to be read to find them."""
        if not self._removals:
            return []
        known = self._recall()
        return self._published() if known is None else known

    def find(self, documents: Iterable[Documents]) -> list[str]:
        """Read the documents of the partition, and return the ids of the excluded ones, sorted."""
        found: set[str] = set()
        for batch in documents:
            found |= self._excluded_among(text_hashes(batch.texts))
        return self._remember(found)

    def _published(self) -> list[str] | None:
        artifact = self._store.open(self._address, intact=True)
        if artifact is None or _content(artifact.manifest.inputs[RAW.name], artifact.manifest.settings) != self._content:
            return None
        found = self._removals.keys() & set(artifact.manifest.settings.get(REMOVED, ()))
        try:
            for batch in row_batches(artifact, ["hash"]):
                found |= self._excluded_among(batch.column("hash").to_numpy())
        except StoreError:
            return None
        return self._remember(found)

    def _excluded_among(self, hashes: npt.NDArray[np.uint64]) -> set[str]:
        excluded = hashes_of(self._removals)
        return set(map(document_id, hashes[np.isin(hashes, excluded)].tolist()))

    def _recall(self) -> list[str] | None:
        with suppress(ValueError, KeyError, TypeError):
            known = self._state.recall()
            if known["content"] == self._content and known["looked_for"] == self._removals_digest:
                return list(known["found"])
        return None

    def _remember(self, found: set[str]) -> list[str]:
        in_order = sorted(found)
        self._state.remember({"content": self._content, "looked_for": self._removals_digest, "found": in_order})
        return in_order

    @cached_property
    def _state(self) -> State:
        return self._store.state("removals", self._address)

    @cached_property
    def _content(self) -> str:
        return _content(self._raw_fingerprint, self._settings)

    @property
    def _removals_digest(self) -> str:
        return text_digest(canonical_json(sorted(self._removals)))


def hashes_of(ids: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Return the text hashes from which the ids of documents are formed."""
    return np.array([int(id_, 16) for id_ in ids], dtype=np.uint64)


def without(documents: Documents, removed: npt.NDArray[np.uint64]) -> Documents:
    """Return a batch without the documents whose text hashes are in `removed`."""
    return documents.without(np.isin(text_hashes(documents.texts), removed)) if len(removed) else documents


def _content(raw_fingerprint: str, settings: Mapping[str, Any]) -> str:
    return text_digest(canonical_json([raw_fingerprint, {name: settings[name] for name in _TEXT if name in settings}]))
