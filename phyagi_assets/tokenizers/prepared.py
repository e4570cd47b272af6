"""A prepared tokenizer: its forms in the store, and the facts that the steps need."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.formats.cache_tokenizer import BACKEND as SAVED_BACKEND
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.state import State

BACKEND = "backend.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedTokenizer:
    """A tokenizer in the forms that the steps use."""

    artifact: Artifact
    """Artifact with the ``tokenizers`` JSON file (`BACKEND`), the folder of ``save_pretrained`` (`SAVED`) and the pickle (`PICKLED`)."""
    name: str
    """Name of the tokenizer, as declared."""
    eos_token_id: int | None
    """Id of the EOS; None if the tokenizer has no EOS."""
    max_id: int
    """Largest token id, including added tokens."""
    vocab_size: int
    """Number of tokens, including added tokens."""
    special_tokens: tuple["SpecialToken", ...]
    """The added tokens that ``transformers`` marks as special, such as EOS, BOS and the tokens of chat templates."""
    behind: tuple[int, ...]
    """Ids that the tokenizer itself appends to every text."""

    def details(self) -> dict[str, object]:
        """Return the details of the tokenizer that manifests record."""
        return {"name": tokenizer_label(self.name), "eos_token_id": self.eos_token_id, "max_id": self.max_id, "vocab_size": self.vocab_size}

    @property
    def backend(self) -> Path:
        """The ``tokenizers`` JSON file."""
        return self.artifact.folder(BACKEND) / BACKEND

    @property
    def saved_backend(self) -> Path:
        """The same definition as in `backend`, in the folder of ``save_pretrained`` that caches carry."""
        return self.artifact.folder(SAVED_BACKEND) / SAVED_BACKEND

    def dtype(self, declared: str = "auto") -> np.dtype[Any]:
        """Return the dtype of token arrays: the declared one or, with ``auto``, uint16 if every id fits, else int32."""
        return np.dtype((np.uint16 if self.max_id <= 0xFFFF else np.int32) if declared == "auto" else declared)

    @property
    def ends_with_eos(self) -> bool:
        """Whether the tokenizer itself ends every text with the EOS, so that the steps must not append it."""
        return self.eos_token_id is not None and self.behind[-1:] == (self.eos_token_id,)

    @property
    def appends_token_after_eos(self) -> bool:
        """Whether the tokenizer appends the EOS to every text, and another token after the EOS."""
        return not self.ends_with_eos and self.eos_token_id in self.behind


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialToken:
    """A token that does not stand for text."""

    content: str
    """Spelling of the token."""
    normalized: bool
    """Whether the tokenizer searches for the token in the normalized text."""


def facts_of(artifact: Artifact, record: State) -> dict[str, Any]:
    """Return the `special_tokens` of a prepared tokenizer and the ids `behind`.

    They are read from its JSON file, which has several megabytes, unless the record has them.
    """
    with suppress(TypeError, ValueError, KeyError):  # there is no record, or it is damaged
        return _facts(record.recall())
    declared = json.loads((artifact.folder(BACKEND) / BACKEND).read_text(encoding="utf-8"))
    special = [(token["content"], token["normalized"]) for token in declared.get("added_tokens") or () if token["special"]]
    found = {"special_tokens": special, "behind": _appended_ids(declared.get("post_processor"))}
    record.remember(found)
    return _facts(found)


def _facts(known: Mapping[str, Any]) -> dict[str, Any]:
    """Convert facts from the form in which they are recorded."""
    special = tuple(SpecialToken(content=content, normalized=normalized) for content, normalized in known["special_tokens"])
    return {"special_tokens": special, "behind": tuple(map(int, known["behind"]))}


def _appended_ids(processor: Mapping[str, Any] | None) -> tuple[int, ...]:
    """Return the ids that a post-processor of a ``tokenizer.json`` adds after every text."""
    if processor is None or processor["type"] == "ByteLevel":
        return ()
    if processor["type"] == "Sequence":
        return tuple(id_ for part in reversed(processor["processors"]) for id_ in _appended_ids(part))
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
        return (processor["sep"][1],)
    single = processor["single"]  # of TemplateProcessing, the only other kind
    last = max(i for i, piece in enumerate(single) if "Sequence" in piece)
    added = (processor["special_tokens"][piece["SpecialToken"]["id"]]["ids"] for piece in single[last + 1 :])
    return tuple(id_ for ids in added for id_ in ids)


def tokenizer_label(name: str) -> str:
    """Return the name of a tokenizer as part of an address: without folder, revision and special characters."""
    return re.sub(r"\W+", "-", name.partition("@")[0].rstrip("/").rpartition("/")[2]).strip("-") or "tokenizer"
