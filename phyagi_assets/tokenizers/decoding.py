"""Decoding of ids to text and back to ids with the reference tokenizer, for the round-trip check."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROBES = ("All the world is a stage, and all the men and women merely players.", "They have 7 exits and 12 entrances: see page 30.")


class Decoder:
    """Decoder of the ids of documents, and encoder of the decoded texts.

    Ids that the tokenizer adds around every text, such as a BOS, are not part of the text: `decode_all` leaves them out, and `encode_all`
    adds them again.

    Attributes
    ----------
    is_lossless
        Whether decoding restores every text byte for byte, because the tokens are bytes, and nothing is normalized, stripped or prepended.
    round_trips
        Whether ordinary text has the same ids after decoding and encoding again.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self._tokenizer = tokenizer
        around = tokenizer.encode(_PROBES[0]).special_tokens_mask
        self._prefix, self._suffix = _leading_ones(around), _leading_ones(around[::-1])
        self.is_lossless = is_lossless(tokenizer)
        ids = self.encode_all(_PROBES)
        self.round_trips = self.encode_all(self.decode_all(ids)) == ids

    def decode(self, ids: npt.NDArray[Any]) -> str:
        """Return the text of a document's ids (1-D), including special tokens."""
        return str(self._tokenizer.decode(ids.tolist(), skip_special_tokens=False))

    def decode_all(self, documents: Sequence[Sequence[int]]) -> list[str]:
        """Return the texts of documents, given their ids, without the tokens that the tokenizer adds around every text."""
        bodies = [ids[self._prefix : len(ids) - self._suffix] for ids in documents]
        return list(self._tokenizer.decode_batch(bodies, skip_special_tokens=False))

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of texts, including those that the tokenizer adds around every text, but without the corpus's `append_eos`."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=True)]


def _leading_ones(mask: Sequence[int]) -> int:
    return next((i for i, special in enumerate(mask) if not special), len(mask))


def is_byte_level(tokenizer: "Tokenizer") -> bool:
    """Return whether every token of a tokenizer, added ones apart, is a sequence of bytes, and every byte has a token."""
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    return (
        isinstance(tokenizer.model, BPE)
        and all(tokenizer.token_to_id(letter) is not None for letter in ByteLevel.alphabet())
        and any(step["type"] == "ByteLevel" for step in _flat(tokenizer.pre_tokenizer))
    )


def is_lossless(tokenizer: "Tokenizer") -> bool:
    """Return whether decoding restores every text byte for byte: the tokens are bytes, and nothing is normalized, stripped or prepended."""
    steps = _flat(tokenizer.pre_tokenizer)
    added = tokenizer.get_added_tokens_decoder()
    return (
        tokenizer.normalizer is None
        and is_byte_level(tokenizer)
        and all(not step.get("add_prefix_space") and step["type"] in ("ByteLevel", "Split", "Digits") for step in steps)
        and all(step.get("behavior", "Isolated") != "Removed" for step in steps)
        and [step["type"] for step in _flat(tokenizer.decoder)] == ["ByteLevel"]
        and not any(token.lstrip or token.rstrip for token in added.values())
        and all(tokenizer.decode([id_], skip_special_tokens=False) == token.content for id_, token in added.items())
    )


def _flat(step: Any) -> list[dict[str, Any]]:
    """Return the settings of a pre-tokenizer or decoder, or of each of its steps if it is a sequence."""

    def inner(settings: dict[str, Any]) -> list[dict[str, Any]]:
        parts = settings.get("pretokenizers") or settings.get("decoders")
        return [found for part in parts for found in inner(part)] if parts else [settings]

    return inner(json.loads(step.__getstate__())) if step is not None else []
