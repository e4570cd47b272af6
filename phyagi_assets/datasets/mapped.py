"""Pickling of memory-mapped arrays by file name, without their content.

NumPy pickles the content of a memory map, so every loader worker started by ``spawn`` or ``forkserver`` would have a copy of the corpus.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.joined_array import JoinedArray

_PROBE_LENGTH = 512
"""Number of entries at each end of a part that its checksum covers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MappedPart:
    """A part of a mapped file."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    """Offset of the part in the file, in bytes."""
    length: int
    """Number of entries."""
    probe: int
    """Checksum of both ends of the part, to detect that the file has changed."""

    def open(self) -> npt.NDArray[Any]:
        """Map the part again.

        Raises
        ------
        StoreError
            The file was deleted or has changed.
        """
        try:
            array = np.memmap(self.path, self.dtype, "r", offset=self.offset, shape=(self.length,))
        except (OSError, ValueError) as problem:
            raise StoreError(f"{self.path}: cannot be mapped again: {problem}; keep the files of a dataset that is in use") from None
        if _probe(array) != self.probe:
            raise StoreError(f"{self.path}: has changed since it was mapped; open the dataset again")
        return array


Array = npt.NDArray[Any] | JoinedArray


def packed(array: Array | None) -> Array | MappedPart | None:
    """Return the object to pickle for a 1-D array: the location of a part of a mapped file, else the array itself."""
    if not isinstance(array, np.memmap) or array.filename is None or not array.flags.c_contiguous or not len(array):
        return array
    if array.mode == "c":  # copy-on-write: changes exist in memory only
        return array
    mapped = array
    while isinstance(mapped.base, np.memmap):
        mapped = mapped.base
    before = array.__array_interface__["data"][0] - mapped.__array_interface__["data"][0]
    return MappedPart(path=Path(array.filename), dtype=array.dtype, offset=mapped.offset + before, length=len(array), probe=_probe(array))


def unpacked(array: Array | MappedPart | None) -> Array | None:
    """Return the array that `packed` converted to an object."""
    return array.open() if isinstance(array, MappedPart) else array


def _probe(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(array[-_PROBE_LENGTH:].tobytes(), zlib.crc32(array[:_PROBE_LENGTH].tobytes()))
