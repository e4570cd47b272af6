"""Pickle memory-mapped arrays by the name of their file, without its content.

NumPy pickles the whole content of a memory map, so every loader worker started by ``spawn`` or ``forkserver`` would hold a copy of the
corpus.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError

_PROBED = 512
"""Entries at either end that tell whether a file is still the one that was mapped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedPart:
    """A stretch of a mapped file."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    """Bytes in the file before it."""
    length: int
    probe: int
    """Checksum of its two ends."""

    def open(self) -> npt.NDArray[Any]:
        """Map it again.

        Raises
        ------
        StoreError
            The file is gone, or another one has taken its place.
        """
        try:
            array = np.memmap(self.path, self.dtype, "r", offset=self.offset, shape=(self.length,))
        except (OSError, ValueError) as problem:
            raise StoreError(f"{self.path}: cannot be mapped again: {problem}; a dataset that is in use needs its files") from None
        if _probe(array) != self.probe:
            raise StoreError(f"{self.path}: has changed since it was mapped; open the dataset anew")
        return array


def packed(array: npt.NDArray[Any] | None) -> npt.NDArray[Any] | MappedPart | None:
    """Return what to pickle for a 1-D array: its place in the file if it is part of a mapped file, else the array."""
    if not isinstance(array, np.memmap) or array.filename is None or not array.flags.c_contiguous or not len(array):
        return array
    if array.mode == "c":  # what was written to it is in memory alone
        return array
    whole = array
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    before = array.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return MappedPart(path=Path(array.filename), dtype=array.dtype, offset=whole.offset + before, length=len(array), probe=_probe(array))


def unpacked(array: npt.NDArray[Any] | MappedPart | None) -> npt.NDArray[Any] | None:
    """Return the array that was packed."""
    return array.open() if isinstance(array, MappedPart) else array


def _probe(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(array[-_PROBED:].tobytes(), zlib.crc32(array[:_PROBED].tobytes()))
