"""Numbers of the rows in chunks of files whose lines were not counted before the chunks were encoded.

Such a chunk has provisional numbers: those of a span begin with the offset of the span in bytes, which is at least the number of lines
before it, so that the numbers of different spans never overlap. The lines of each chunk are counted as it is encoded.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from phyagi_assets.sources.chunks import Spans
from phyagi_assets.sources.row_tally import FileTally

Offsets = Mapping[int, Sequence[tuple[int, int]]]
"""By index of a file: the first provisional number of each of its spans, and the difference to the final number."""


class RowNumbers:
    """Number of lines of each file in the chunks so far."""

    def __init__(self) -> None:
        self._lines: Counter[int] = Counter()

    def of_chunk(self, spans: Spans, tallies: Sequence[FileTally]) -> tuple[Offsets, Sequence[FileTally]]:
        """Add the next chunk. Return the offsets to add to its row numbers, empty if they are final, and its tallies with final numbers.

        Parameters
        ----------
        tallies
            Counts of each span that is a part of a file, and of some others, in the order of the spans.
        """
        offsets: dict[int, list[tuple[int, int]]] = {}
        left, named = list(tallies), list[FileTally]()
        for span in spans:
            if not left or left[0].file != span.index:
                continue
            index, rows = span.index, left.pop(0).rows
            if not span.is_numbered:
                difference = self._lines[index] - span.first
                offsets.setdefault(index, []).append((span.first, difference))
                rows = replace(rows, row=rows.row + difference) if rows.problem else rows
            self._lines[index] += rows.lines
            named.append(FileTally(file=index, rows=rows))
        return offsets, named
