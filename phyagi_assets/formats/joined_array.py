"""Arrays whose pieces are read as one array."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.npy import REMEDY, open_array


class JoinedArray:
    """Concatenation of the pieces of an array. Each piece is mapped into memory on first use.

    Parameters
    ----------
    lengths
        Number of rows of each piece.
    row
        Shape of one row; () for a 1-D array.

    Examples
    --------
    >>> for name, ids in (("a.npy", [5, 6, 7]), ("b.npy", [8, 9])):
    ...     np.save(name, np.array(ids, np.uint16))
    >>> joined = JoinedArray([Path("a.npy"), Path("b.npy")], [3, 2], np.dtype(np.uint16))
    >>> len(joined), joined[2:4].tolist(), int(joined[-1])
    (5, [7, 8], 9)
    """

    def __init__(self, paths: Sequence[Path], lengths: Sequence[int], dtype: np.dtype[Any], row: tuple[int, ...] = ()) -> None:
        self.paths = list(paths)
        self.dtype = dtype
        self._lengths = list(lengths)
        self._ends = np.cumsum([0, *lengths], dtype=np.int64)[1:]
        self._row = row
        self._pieces: dict[int, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._row)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def piece(self, number: int) -> npt.NDArray[Any]:
        """Return a piece, mapped into memory.

        Raises
        ------
        StoreError
            The file is missing, or has another shape or dtype than the manifest records.
        """
        found = self._pieces.get(number)
        if found is None:
            found = open_array(self.paths[number], mapped=True)
            if found.dtype != self.dtype or found.shape != (self._lengths[number], *self._row):
                raise StoreError(
                    f"{self.paths[number]}: has shape {found.shape} and dtype {found.dtype}, but its manifest says "
                    f"{(self._lengths[number], *self._row)} and {self.dtype}; {REMEDY}"
                )
            self._pieces[number] = found
        return found

    def __getitem__(self, chosen: SupportsIndex | slice) -> npt.NDArray[Any]:
        """Return one row, or a slice of rows. A slice that spans several pieces is copied; any other is a view."""
        if not isinstance(chosen, slice):
            place = range(len(self))[chosen]
            return self[place : place + 1][0]  # type: ignore[no-any-return]
        start, stop, step = chosen.indices(len(self))
        if step != 1:
            raise ValueError(f"step: is {step}; arrays in pieces only support a step of 1")
        first, last = np.searchsorted(self._ends, [start, max(stop - 1, start)], side="right").tolist()
        parts = []
        for number in range(first, min(last + 1, len(self.paths))):
            begin = int(self._ends[number]) - self._lengths[number]
            parts.append(self.piece(number)[max(start - begin, 0) : max(stop - begin, 0)])
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts) if parts else np.zeros((0, *self._row), self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        del copy
        return np.asarray(self[:], dtype=dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pieces": {}}
