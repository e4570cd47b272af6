"""Numbers of the rows in chunks of files whose lines were not counted before the chunks were encoded.

Such a chunk has provisional numbers: those of a span begin with the offset of the span in bytes, which is at least the number of lines
before it, so that the numbers of different spans of a file never meet. The lines of each chunk are counted as it is encoded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from phyagi_assets.sources.chunks import Spans
from phyagi_assets.sources.documents import RowTally

Offsets = Mapping[int, Sequence[tuple[int, int]]]
"""By index of a file: the provisional number with which each of its spans begins, and the difference to the number that the row has."""


class RowNumbers:
    """Number of the lines of each file in the chunks that were seen."""

    def __init__(self) -> None:
        self._lines: Counter[int] = Counter()

    def of_chunk(self, spans: Spans, tallies: Sequence[tuple[int, RowTally]]) -> tuple[Offsets, Sequence[tuple[int, RowTally]]]:
        """Return what has to be added to the row numbers of the next chunk, empty if they are right, and its tallies with right numbers.

        Parameters
        ----------
        tallies
            Index of the file and counts of the rows, for each span that is a part of a file, and some others, in the order of the spans.
        """
        offsets: dict[int, list[tuple[int, int]]] = {}
        left, named = list(tallies), list[tuple[int, RowTally]]()
        for span in spans:
            if not left or left[0][0] != span.index:
                continue
            index, tally = left.pop(0)
            if not span.is_numbered:
                difference = self._lines[index] - span.first
                offsets.setdefault(index, []).append((span.first, difference))
                tally = replace(tally, row=tally.row + difference) if tally.problem else tally
            self._lines[index] += tally.lines
            named.append((index, tally))
        return offsets, named
