"""The tokens from which the samples of a segment are cut, as one stream that concatenates the pieces of all groups.

A group that crosses partitions contributes all of its tokens. In any other group, each piece contributes only the tokens of its samples.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from phyagi_assets.formats.plan import Group, samples_in
from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.runs import Piece


class TokenStream:
    """The stream of a segment.

    Parameters
    ----------
    groups, pieces
        Groups of the segment, and the pieces of each.
    """

    def __init__(self, groups: Sequence[Group], pieces: Sequence[Sequence[Piece]], seq_len: int) -> None:
        self._seq_len, self._groups = seq_len, groups
        self._pieces = [piece for own in pieces for piece in own]
        self._group_of_piece = [number for number, own in enumerate(pieces) for _ in own]
        counted = np.array(
            [self._counted(piece, group) for group, own in zip(groups, pieces, strict=True) for piece in own], dtype=np.int64
        )
        self._shard = np.array([piece.shard for piece in self._pieces], dtype=np.int64)
        self._end = np.cumsum(counted, dtype=np.int64)
        """End of each piece in the stream."""
        self._to_array = np.array([piece.start for piece in self._pieces], dtype=np.int64) - (self._end - counted)
        """Offset from the stream to the token array of each piece, in tokens."""
        first_piece = np.cumsum([0, *map(len, pieces)])[:-1]
        self._begin = np.concatenate([[0], self._end])[first_piece]
        """Start of each group in the stream."""

    def _counted(self, piece: Piece, group: Group) -> int:
        """Return the number of tokens that a piece contributes to the stream."""
        tokens = piece.stop - piece.start
        return tokens if group.crosses or group.packed else samples_in(tokens, self._seq_len) * self._seq_len

    def locate(self, group: Ints, sample: Ints) -> tuple[Ints, Ints]:
        """Return the pieces in which samples of groups begin, and the indices of their first tokens in the pieces' token arrays."""
        place = self._begin[group] + sample * self._seq_len
        piece = np.searchsorted(self._end, place, side="right")
        return piece, place + self._to_array[piece]

    def samples_with(self, shard: int, start: int, stop: int, packed: Ints | None) -> dict[int, set[int]]:
        """Return the samples that contain tokens of a token array, by group.

        Parameters
        ----------
        packed
            The packed samples of the array that contain the tokens.
        """
        found: dict[int, set[int]] = {}
        for number in np.flatnonzero(self._shard == shard).tolist():
            found.setdefault(self._group_of_piece[number], set()).update(self._samples_of_piece(number, start, stop, packed))
        return found

    def _samples_of_piece(self, number: int, start: int, stop: int, packed: Ints | None) -> Iterable[int]:
        piece, group = self._pieces[number], self._group_of_piece[number]
        to_group = -self._group_start(number)
        if piece.packed:
            return () if packed is None else (to_group // self._seq_len + packed).tolist()
        start, stop = max(start, piece.start), min(stop, piece.stop)
        if start >= stop:
            return ()
        if self._groups[group].crosses:
            low, high = 0, self._groups[group].samples - 1
        else:  # the piece also contains the last label of its last sample
            low = (piece.start + to_group) // self._seq_len
            high = (int(self._end[number]) - int(self._begin[group])) // self._seq_len - 1
        first, last = start + to_group, stop - 1 + to_group
        return range(max((first - 1) // self._seq_len, low), min(last // self._seq_len, high) + 1)

    def pieces(self) -> Iterator[tuple[Piece, int, int]]:
        """Yield each piece with the number of its group, and the index in its token array at which the tokens of the group would begin."""
        for number, piece in enumerate(self._pieces):
            yield piece, self._group_of_piece[number], self._group_start(number)

    def _group_start(self, number: int) -> int:
        return int(self._begin[self._group_of_piece[number]] + self._to_array[number])
