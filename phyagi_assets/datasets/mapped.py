"""Memory-mapped arrays on their way to another process: the file is named, and its content stays where it is.

NumPy pickles a memory map as all that is in it, so that every loader worker of the ``spawn`` and ``forkserver`` kinds would hold a copy
of the corpus.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedPart:
    """A stretch of a mapped file."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    """Bytes in the file before it."""
    length: int

    def open(self) -> npt.NDArray[Any]:
        """Map it again."""
        return np.memmap(self.path, self.dtype, "r", offset=self.offset, shape=(self.length,))


def packed(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | MappedPart | None:
    """What to pickle for a 1-D array: where it lies, if it is part of a mapped file."""
    if not isinstance(array, np.memmap) or array.filename is None or not array.flags.c_contiguous or not len(array):
        return array
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    before = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return MappedPart(path=Path(array.filename), dtype=array.dtype, offset=whole.offset + before, length=len(array))


def unpacked(array: npt.NDArray[Any] | MappedPart | None) -> npt.NDArray[Any] | None:
    """The array that was packed."""
    return array.open() if isinstance(array, MappedPart) else array
