"""Encoding of conversations: JSON → text by the chat template → ids, and which of the ids are trained on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import TrainOn
from phyagi_assets.sources.documents import Documents
from phyagi_assets.sources.rows import RowProblem
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.tokenizers.engines import Encoded, ReferenceEngine
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.prepare_chat import PreparedChat, prepare_chat
from phyagi_assets.tokenizers.prepared import PreparedTokenizer
from phyagi_assets.tokenizers.token_bytes import TokenBytes
from phyagi_assets.tokenizers.trained_parts import NOTHING_TRAINED, Rendered, RenderingError, renderer_of
from phyagi_assets.tokenizers.trained_tokens import TokenPlaces


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedConversations:
    """The conversations of a batch that have something to train on."""

    documents: Documents
    """The conversations; those left out are counted as invalid."""
    encoded: Encoded
    trained: npt.NDArray[np.bool_]
    """Whether each token is trained on, 1-D."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConversationRecipe:
    """Everything that a process needs, apart from the engines, to encode conversations."""

    prepared: PreparedChat
    declared: PreparedTokenizer
    """The tokenizer as declared, which may add tokens around every text."""
    train_on: TrainOn

    def encode(self, documents: Documents, removed: npt.NDArray[np.uint64], tokenizer: ExactTokenizer, batch: int) -> EncodedConversations:
        """Render and encode the conversations of a batch.

        Parameters
        ----------
        removed
            Hashes of the documents to leave out, 1-D.
        tokenizer
            Tokenizer that adds no tokens of its own.
        """
        part = np.repeat(np.arange(len(documents.parts)), [each.tally.valid for each in documents.parts])
        is_removed = np.isin(text_hashes(documents.texts), removed)
        documents, part = documents.without(is_removed), part[~is_removed]
        rendered, problems = self._render(documents.texts)
        documents, part = documents.without_invalid(problems, part), np.delete(part, list(problems))
        texts = pa.array([each.text for each in rendered], pa.string())
        encoded = tokenizer.encode(texts, batch)
        if self.train_on == "all":
            trained = np.ones(len(encoded.ids), dtype=bool)
        else:
            trained = self._places(tokenizer).trained(rendered, texts, encoded)
        return _only_trainable(EncodedConversations(documents=documents, encoded=encoded, trained=trained), part)

    def _places(self, tokenizer: ExactTokenizer) -> TokenPlaces:
        if not self.prepared.trims_offsets:
            return TokenPlaces(token_bytes=_token_bytes(tokenizer.reference), reference=tokenizer.reference.tokenizer, trims=False)
        reference = _reference(self.declared.saved_backend)
        return TokenPlaces(token_bytes=_token_bytes(reference), reference=reference.tokenizer, trims=True)

    def _render(self, conversations: pa.Array) -> tuple[list[Rendered], dict[int, RowProblem]]:
        """Return the conversations that can be rendered, and the problems of the others by index."""
        renderer = renderer_of(self.prepared.chat, self.train_on)
        rendered: list[Rendered] = []
        problems: dict[int, RowProblem] = {}
        for i, text in enumerate(conversations.to_pylist()):
            conversation: Mapping[str, Any] = json.loads(text)
            try:
                rendered.append(renderer.render(conversation["messages"], conversation.get("tools")))
            except RenderingError as problem:
                problems[i] = RowProblem(str(problem))
        return rendered, problems


def _only_trainable(found: EncodedConversations, part: npt.NDArray[np.int64]) -> EncodedConversations:
    """Return a batch without the conversations that have no token to train on."""
    sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(found.trained)])
    lengths = found.encoded.lengths
    kept = sums[found.encoded.ends] > sums[found.encoded.ends - lengths]
    if kept.all():
        return found
    tokens = np.repeat(kept, lengths)
    return EncodedConversations(
        documents=found.documents.without_invalid(dict.fromkeys(np.flatnonzero(~kept).tolist(), RowProblem(NOTHING_TRAINED)), part),
        encoded=Encoded(ids=found.encoded.ids[tokens], ends=np.cumsum(lengths[kept])),
        trained=found.trained[tokens],
    )


def conversation_recipe(corpus: Corpus, prepared: PreparedTokenizer, workspace: Workspace) -> ConversationRecipe | None:
    """Return the recipe for encoding a corpus's conversations; None if its documents are text."""
    if corpus.config.messages is None:
        return None
    chat = prepare_chat(corpus, prepared, workspace.data, workspace.store)
    return ConversationRecipe(prepared=chat, declared=prepared, train_on=corpus.config.train_on)


@lru_cache(maxsize=4)
def _reference(backend: Path) -> ReferenceEngine:
    return ReferenceEngine(backend)


@lru_cache(maxsize=4)
def _token_bytes(reference: ReferenceEngine) -> TokenBytes:
    return TokenBytes(reference.tokenizer)
