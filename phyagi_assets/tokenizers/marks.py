"""Marks in the pieces of a rendered conversation: around what the assistant writes, and between turns.

Templates are compiled so that they write the marks; see `generation_blocks` and `turn_marks`.
"""

from collections.abc import Iterable, Sequence
from typing import final

Part = tuple[int, int]
"""Start and end of a part of a text, in characters."""


@final
class Mark(str):
    """A piece of a rendered text that writes nothing, and is recognized by its identity."""

    __slots__ = ()

    def __str__(self) -> str:
        return self


BEGIN, END = Mark(), Mark()
"""The marks at the beginning and the end of a block."""
BEGIN_NAME, END_NAME = "generation_begins", "generation_ends"
"""Names of the attributes of the environment that hold the marks."""
TURN = Mark()
"""Mark before each iteration of the loop over the messages, and after the last iteration."""
TURN_NAME = "turn_begins"
"""Name of the attribute of the environment that holds the mark."""


def text_and_parts(pieces: Iterable[str]) -> tuple[str, list[Part]]:
    """Return the text of rendered pieces, and the parts between marks.

    A part within a part counts from the start of the outermost one, as in ``transformers``, which writes a block as a whole.

    Examples
    --------
    >>> text_and_parts(["Hi. ", BEGIN, "One", " two", END, "."])
    ('Hi. One two.', [(4, 11)])
    """
    texts: list[str] = []
    parts: list[Part] = []
    opened: list[int] = []
    written = 0
    for piece in pieces:
        if piece is BEGIN:
            opened.append(written)
        elif piece is END:
            begin = opened.pop()
            start = opened[0] if opened else begin
            parts.append((start, start + written - begin))
        else:
            texts.append(piece)
            written += len(piece)
    return "".join(texts), parts


def ends_of_turns(pieces: Sequence[str], turns: int) -> list[int] | None:
    """Return the length of the text of the first n turns, without the text after the loop, for n from 0.

    Parameters
    ----------
    pieces
        Text of a whole conversation, in pieces, with marks.
    turns
        Number of turns of the conversation. A template may render a system message outside the loop.

    Examples
    --------
    >>> ends_of_turns([TURN, "Hi. ", TURN, "Hello.", TURN, "<end>"], 2), ends_of_turns(["System. ", TURN, "Hi.", TURN], 2)
    ([0, 4, 10], [8, 8, 11])
    """
    marks, written = [], 0
    for piece in pieces:
        if piece is TURN:
            marks.append(written)
        written += len(piece)
    outside = turns - (len(marks) - 1)
    return [marks[max(0, turn - outside)] for turn in range(turns + 1)] if outside >= 0 else None
