"""The bytes of text that each token stands for, which fast engines do not report.

With a byte-level tokenizer, the tokens of a document cover its bytes one after the other, so that the places of tokens follow from their
lengths. This is verified for each document; it does not hold where the tokenizer changed the text or dropped blanks around a token.
"""

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

    Parameters
    ----------
    tokenizer
        The tokenizer.

    Attributes
    ----------
    is_known
        Whether the tokens are bytes. Otherwise no place can be derived.
    """

    def __init__(self, tokenizer: "Tokenizer") -> None:
        self.is_known = is_byte_level(tokenizer)
        self._is_lossless = is_lossless(tokenizer)
        letters = _bytes_of_letters() if self.is_known else {}
        size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        self._bytes: list[bytes | None] = [None] * size
        for token, id_ in tokenizer.get_vocab(with_added_tokens=False).items():
            if all(letter in letters for letter in token):
                self._bytes[id_] = bytes(map(letters.__getitem__, token))
        for id_, added in tokenizer.get_added_tokens_decoder().items():
            self._bytes[id_] = added.content.encode()
        self._lengths = np.array([-1 if of is None else len(of) for of in self._bytes], dtype=np.int64)

    def lengths(self, ids: Ids) -> Lengths:
        """Return the number of bytes of each token, 1-D; -1 for a token that does not stand for bytes."""
        return self._lengths[ids]

    def restore(self, ids: Ids, content: memoryview) -> bool:
        """Return whether the bytes of a document's tokens, as many as its text has, are the text in UTF-8."""
        return self._is_lossless or b"".join(self._bytes[id_] or b"" for id_ in ids.tolist()) == content


def _bytes_of_letters() -> dict[str, int]:
    """Return the byte that each letter of a byte-level vocabulary stands for: printable bytes are themselves, the others follow at 256."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
