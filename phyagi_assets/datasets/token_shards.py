"""Reading samples out of many token arrays, many at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets.readahead import DiskReads, MappedRows
from phyagi_assets.errors import StoreError
from phyagi_assets.order.permutation import Ints

_REMEDY = "bring the mixture up to date: phyagi-assets materialize"


class TokenShards:
    """Token arrays that are mapped when they are first read, in each loader worker anew.

    Parameters
    ----------
    paths
        Of the ``.npy`` files.
    seq_len
        Tokens in a sample.
    dtype
        Of every array.

    Examples
    --------
    >>> np.save("tokens.npy", np.arange(7, dtype=np.uint16))
    >>> shards = TokenShards([Path("tokens.npy")], seq_len=3, dtype="uint16")
    >>> shards.samples(np.array([0, 0]), np.array([1, 0]), ahead=1).tolist()
    [[3, 4, 5, 6], [0, 1, 2, 3]]
    """

    def __init__(self, paths: Sequence[Path], seq_len: int, dtype: str) -> None:
        self.paths = list(paths)
        self._seq_len = seq_len
        self._dtype = np.dtype(dtype)
        self._windows: dict[tuple[int, int], MappedRows] = {}
        self._disk = DiskReads()
        self._ends: dict[int, Ints] = {}

    def samples(self, shard: Ints, row: Ints, *, ahead: int) -> npt.NDArray[Any]:
        """The tokens of samples, and some after each.

        Parameters
        ----------
        shard, row
            Which array, and which of its samples; 1-D, parallel.
        ahead
            Tokens after each sample that are wanted too, 0 or 1.

        Returns
        -------
        array of shape (samples, seq_len + ahead), of the arrays' dtype

        Raises
        ------
        StoreError
            A file is gone, is shorter than the samples ask for, or holds ids of another dtype.
        """
        self.announce(shard, row, ahead=ahead)
        numbers = shard.tolist()
        opened = {number: self._opened(number, ahead) for number in set(numbers)}
        tokens = self._joined(opened, numbers, row.tolist(), self._seq_len + ahead)
        self._disk.observe()
        return tokens

    @property
    def on_disk(self) -> bool:
        """Whether samples come from the disk, as far as can be seen, and not from memory."""
        return self._disk.expected

    def announce(self, shard: Ints, row: Ints, *, ahead: int) -> None:
        """Have samples read from the disk, without waiting for them, if they lie there; the arguments are those of `samples`."""
        if self.on_disk:
            for number, chosen in _grouped(shard):
                self._opened(number, ahead).announce(row[chosen])

    def _joined(self, opened: Mapping[int, MappedRows], numbers: list[int], rows: list[int], tokens: int) -> npt.NDArray[Any]:
        """The bytes of rows, one after the other: a join copies them in two thirds of the time that numpy's concatenation takes."""
        stride, width = self._seq_len * self._dtype.itemsize, tokens * self._dtype.itemsize
        octets = {number: one.octets for number, one in opened.items()}
        joined = bytearray().join([octets[number][row * stride : row * stride + width] for number, row in zip(numbers, rows, strict=True)])
        if len(joined) != len(rows) * width:
            short = next(number for number, row in zip(numbers, rows, strict=True) if len(octets[number]) < row * stride + width)
            raise StoreError(f"{self.paths[short]}: is shorter than the mixture's plan has it; {_REMEDY}")
        return np.frombuffer(joined, self._dtype).reshape(-1, tokens)

    def document_starts(self, shard: Ints, row: Ints, *, ahead: int) -> npt.NDArray[np.bool_]:
        """Where documents begin in samples and the tokens after them, the first token of a sample aside.

        Returns
        -------
        bool array of shape (samples, seq_len + ahead)
        """
        starts = np.zeros((len(shard), self._seq_len + ahead), dtype=bool)
        for number, chosen in _grouped(shard):
            ends = self.document_ends(number)
            begin = row[chosen] * self._seq_len
            first, last = (np.searchsorted(ends, at, side="right") for at in (begin, begin + self._seq_len + ahead - 1))
            for sample, start, low, high in zip(chosen.tolist(), begin.tolist(), first.tolist(), last.tolist(), strict=True):
                starts[sample, ends[low:high] - start] = True
        return starts

    def document_ends(self, shard: int) -> Ints:
        """Where the documents of an array end."""
        if shard not in self._ends:
            self._ends[shard] = self.mapped(self.paths[shard].with_suffix(".documents.npy"))
        return self._ends[shard]

    def mapped(self, path: Path) -> npt.NDArray[Any]:
        """An array that lies beside the tokens, or the tokens.

        Raises
        ------
        StoreError
            The file is gone.
        """
        return np.asarray(np.load(_there(path), mmap_mode="r"))

    def _opened(self, shard: int, ahead: int) -> MappedRows:
        if (shard, ahead) not in self._windows:
            rows = MappedRows.of(_there(self.paths[shard]), self._seq_len, ahead)
            if rows.dtype != self._dtype:
                raise StoreError(f"{self.paths[shard]}: holds {rows.dtype}, and the mixture's plan says {self._dtype}; {_REMEDY}")
            self._windows[shard, ahead] = rows
        return self._windows[shard, ahead]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_windows": {}, "_ends": {}}


def _grouped(shard: Ints) -> Iterator[tuple[int, Ints]]:
    """Each shard that occurs, and where."""
    order = np.argsort(shard, kind="stable")
    cuts = np.flatnonzero(np.diff(shard[order])) + 1
    for chosen in np.split(order, cuts) if len(order) else ():
        yield int(shard[chosen[0]]), chosen


def _there(path: Path) -> Path:
    if not path.is_file():
        raise StoreError(f"{path}: is gone, and the mixture's plan names it; {_REMEDY}")
    return path
