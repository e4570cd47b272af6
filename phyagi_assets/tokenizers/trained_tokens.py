"""The tokens of rendered conversations that are trained on, given the parts of the texts.

They are the tokens that overlap a part, in its bytes. Where the template itself marks the parts, they are those that ``transformers`` finds
from the offsets of the tokens. These are the same tokens, unless the tokenizer leaves blanks out of the offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from phyagi_assets.tokenizers.engines import Encoded, ReferenceEngine
from phyagi_assets.tokenizers.exact import EngineMismatch
from phyagi_assets.tokenizers.token_bytes import TokenBytes
from phyagi_assets.tokenizers.trained_parts import Rendered

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Mask = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPlaces:
    """Finder of the tokens of parts of texts, by the bytes of the tokens or, if these are unknown, with the reference tokenizer."""

    token_bytes: TokenBytes
    reference: "Tokenizer"
    """The reference tokenizer, with its post-processor, on which the offsets of its tokens depend."""
    trims: bool
    """Whether the post-processor leaves blanks out of the offsets of tokens."""

    def trained(self, rendered: Sequence[Rendered], texts: pa.Array, encoded: Encoded) -> Mask:
        """Return whether each token is trained on.

        Parameters
        ----------
        texts
            Texts of the conversations, a string array that does not share its buffers.
        encoded
            The ids of the texts, encoded without added tokens.

        Raises
        ------
        EngineMismatch
            The reference tokenizer gives other ids.
        """
        text_ends = np.frombuffer(texts.buffers()[1] or b"", np.int32)[1 : len(texts) + 1].astype(np.int64)
        token_ends, places_known = self._token_ends(rendered, texts, encoded, text_ends)
        mask = _mask(rendered, encoded, text_ends, token_ends, places_known)
        unknown = np.flatnonzero(~places_known).tolist()
        encodings = self.reference.encode_batch([rendered[i].text for i in unknown], add_special_tokens=False)
        for i, encoding in zip(unknown, encodings, strict=True):
            if not np.array_equal(encoding.ids, encoded.ids_of(i)):
                raise EngineMismatch(
                    f"the engine and {ReferenceEngine.name} differ on a conversation that begins {rendered[i].text[:60]!r}"
                )
            end = int(encoded.ends[i])
            mask[end - len(encoding.ids) : end] = _by_reference(encoding, rendered[i])
        return mask

    def _token_ends(self, rendered: Sequence[Rendered], texts: pa.Array, encoded: Encoded, text_ends: Ints) -> tuple[Ints, Mask]:
        """Return the end of each token in the bytes of all texts, and whether they are known, for each text.

        The ends never decrease, even where they are not known.
        """
        starts = np.concatenate([np.zeros(1, np.int64), text_ends[:-1]]) if len(text_ends) else text_ends
        known = np.array([not (conversation.is_marked and self.trims) for conversation in rendered], dtype=bool)
        if not self.token_bytes.is_known or not known.any():
            return np.zeros(len(encoded.ids), np.int64), np.zeros(len(rendered), dtype=bool)
        sizes = self.token_bytes.lengths(encoded.ids)
        if known.all() and self.token_bytes.is_lossless and sizes.min(initial=0) >= 0:
            ends = np.cumsum(sizes)
            found_ends = np.where(encoded.ends > 0, ends.take(encoded.ends - 1, mode="clip"), 0) if len(ends) else np.zeros_like(text_ends)
            if np.array_equal(found_ends, text_ends):
                return ends, known
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        before = np.concatenate([np.zeros(1, np.int64), sums[encoded.ends[:-1]]]) if len(rendered) else np.zeros(0, np.int64)
        known &= sums[encoded.ends] - before == text_ends - starts
        document = np.repeat(np.arange(len(rendered)), encoded.lengths)
        known[document[sizes < 0]] = False
        content = memoryview(texts.buffers()[2] or b"")
        for i in np.flatnonzero(known).tolist():
            known[i] = self.token_bytes.restore(encoded.ids_of(i), content[int(starts[i]) : int(text_ends[i])])
        ends = sums[1:] + (starts - before)[document]
        unknown = ~known[document]
        ends[unknown] = text_ends[document[unknown]]
        return ends, known


def _mask(rendered: Sequence[Rendered], encoded: Encoded, text_ends: Ints, token_ends: Ints, known: Mask) -> Mask:
    """Return the mask for the texts whose token ends are known."""
    firsts: list[int] = []
    lasts: list[int] = []
    start = 0
    for conversation, end, is_known in zip(rendered, text_ends.tolist(), known.tolist(), strict=True):
        if is_known:
            for first, last in _byte_ranges(conversation, end - start):
                firsts.append(start + first)
                lasts.append(start + last)
        start = end
    first_token, last_token = (np.searchsorted(token_ends, np.array(at, np.int64), side="right") for at in (firsts, lasts))
    mask = np.zeros(len(encoded.ids), dtype=bool)
    for first, end in zip(first_token.tolist(), (last_token + 1).tolist(), strict=True):
        mask[first:end] = True
    return mask


def _byte_ranges(conversation: Rendered, size: int) -> list[tuple[int, int]]:
    """Return the first and the last byte of each part. Those of an empty part are the bytes after and before it."""
    text, found = conversation.text, []
    is_ascii = len(text) == size
    for start, end in conversation.parts:
        if end > 0:
            first = start if is_ascii else len(text[:start].encode())
            found.append((first, first + (end - start if is_ascii else len(text[start:end].encode())) - 1))
    return found


def _by_reference(encoding: "Encoding", conversation: Rendered) -> Mask:
    mask = np.zeros(len(encoding.ids), dtype=bool)
    offsets: Any = np.array(encoding.offsets, np.int64).reshape(-1, 2)
    for start, end in conversation.parts:
        mask |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return mask
