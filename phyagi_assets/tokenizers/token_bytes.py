"""The bytes of text that each token stands for, which fast engines do not report.

With a byte-level tokenizer, the tokens of a document cover its bytes one after another, so that the offsets of tokens follow from their
lengths. This is verified for each document; it does not hold if the tokenizer changed the text or dropped blanks around a token.
"""

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.tokenizers.decoding import is_byte_level, is_lossless

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[Any]
Lengths = npt.NDArray[np.int64]


class TokenBytes:
    """The bytes of every token of a tokenizer.

    Attributes
    ----------
    is_known
        Whether the tokens are bytes. Otherwise no offsets can be derived.
    is_lossless
        Whether the bytes of the tokens are those of the text for any text.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self.is_known = is_byte_level(tokenizer)
        self.is_lossless = is_lossless(tokenizer)
        self._vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
        self._added = {id_: added.content.encode() for id_, added in tokenizer.get_added_tokens_decoder().items()}
        self._lengths = np.full(1 + max(self._vocabulary.values(), default=0), -1, np.int64)
        ids = np.fromiter(self._vocabulary.values(), np.int64, len(self._vocabulary))
        self._lengths[ids] = np.fromiter(map(len, self._vocabulary), np.int64, len(ids))  # a letter stands for a byte
        for id_, content in self._added.items():
            self._lengths[id_] = len(content)

    def lengths(self, ids: Ids) -> Lengths:
        """Return the number of bytes of each token, 1-D; -1 for a token that does not stand for bytes."""
        return self._lengths[ids]

    def restore(self, ids: Ids, content: memoryview) -> bool:
        """Return whether the bytes of a document's tokens are its text in UTF-8, given that their number is the same."""
        return self.is_lossless or b"".join(map(self._bytes.__getitem__, ids.tolist())) == content

    @cached_property
    def _bytes(self) -> list[bytes]:
        letters = _bytes_of_letters()
        found = [b""] * len(self._lengths)
        for token, id_ in self._vocabulary.items():
            if all(letter in letters for letter in token):
                found[id_] = bytes(map(letters.__getitem__, token))
        for id_, content in self._added.items():
            found[id_] = content
        return found


def _bytes_of_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for: printable bytes are themselves, the others follow at 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
