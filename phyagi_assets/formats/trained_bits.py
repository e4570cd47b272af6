"""Masks of token arrays, with one bit per token: whether the token is trained on.

The mask of ``train.npy`` is ``train.trained.npy``, an array of bytes in which the first token is the lowest bit of the first byte. Labels
in the format of the reference library would take 4 bytes per token, while the ids themselves take 2.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.formats.npy import ArrayWriter
from phyagi_assets.formatting import counted

MASK = ".trained.npy"
"""Ending of the name of a mask."""

_IGNORED = -100
"""Label of a token without a loss, as in torch."""

Mask = npt.NDArray[np.bool_]


class MaskWriter(AbstractContextManager["MaskWriter"]):
    """Writer that appends to a mask."""

    def __init__(self, path: Path) -> None:
        self._writer = ArrayWriter(path, np.uint8)
        self._rest: Mask = np.zeros(0, dtype=bool)
        self.trained = 0
        """Number of trained tokens so far."""

    def append(self, trained: Mask) -> None:
        """Append whether each of the next tokens is trained on, 1-D."""
        self.trained += int(np.count_nonzero(trained))
        waiting = np.concatenate([self._rest, trained])
        complete = len(waiting) // 8 * 8
        self._writer.append(np.packbits(waiting[:complete], bitorder="little"))
        self._rest = waiting[complete:]

    def close(self) -> None:
        """Write the bits of the last byte, and close the file."""
        self._writer.append(np.packbits(self._rest, bitorder="little"))
        self._rest = self._rest[:0]
        self._writer.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def mask_bytes(tokens: int) -> int:
    """Return the size in bytes of the mask of a number of tokens."""
    return -(-tokens // 8)


def mask_between(octets: npt.NDArray[Any], start: int, stop: int) -> Mask:
    """Return whether each token from `start` to before `stop` is trained on, given a mask.

    Examples
    --------
    >>> mask_between(np.array([0b00000110, 0b00000001], np.uint8), 1, 9).tolist()
    [True, True, False, False, False, False, False, True]
    """
    first = start // 8
    bits = np.unpackbits(octets[first : -(-stop // 8)], bitorder="little")
    return bits[start - 8 * first : stop - 8 * first].view(bool)


class SplitMask:
    """The mask of a split's token array, in one or more pieces.

    Parameters
    ----------
    tokens
        Number of tokens of each piece.

    Examples
    --------
    >>> mask = SplitMask([np.array([0b001], np.uint8), np.array([0b10], np.uint8)], [3, 2])
    >>> mask.between(0, 5).tolist()
    [True, False, False, False, True]
    """

    def __init__(self, octets: Sequence[npt.NDArray[Any]], tokens: Sequence[int]) -> None:
        self.octets = list(octets)
        self._ends = np.cumsum([0, *tokens])

    def between(self, start: int, stop: int) -> Mask:
        """Return whether each token from `start` to before `stop` is trained on."""
        parts = []
        for number, octets in enumerate(self.octets):
            begin, end = max(start, int(self._ends[number])), min(stop, int(self._ends[number + 1]))
            if begin < end:
                parts.append(mask_between(octets, begin - int(self._ends[number]), end - int(self._ends[number])))
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def mark_trained(ids: npt.NDArray[Any], trained: Mask | None, decode: Callable[[npt.NDArray[Any]], str]) -> str:
    """Return the text of ids, with ⟦ and ⟧ around each part that is trained on.

    Parameters
    ----------
    ids
        Token ids, 1-D.
    trained
        Whether each token is trained on, 1-D. If None, all are, and no part is marked.
    """
    if trained is None or not len(ids):
        return decode(ids)
    cuts = np.flatnonzero(np.diff(trained)) + 1
    pieces = zip(np.split(ids, cuts), np.split(trained, cuts), strict=True)
    return "".join(f"⟦{decode(piece)}⟧" if on[0] else decode(piece) for piece, on in pieces)


def shown_share(trained: int, tokens: int) -> str:
    """Return the share of the tokens that are trained on, for display.

    Examples
    --------
    >>> shown_share(300, 1200)
    '300 of 1,200 tokens (25.0 %)'
    """
    return f"{trained:,} of {counted(tokens, 'token')} ({100 * trained / max(tokens, 1):.1f} %)"


def with_ignored(ids: npt.NDArray[Any], octets: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return the labels of a token array, int32: its ids, with `_IGNORED` for each token that is not trained on."""
    return np.where(mask_between(octets, 0, len(ids)), ids.astype(np.int32), np.int32(_IGNORED))
