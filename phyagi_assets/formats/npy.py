"""``.npy`` files that are written by appending and read block by block."""

import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.formatting import counted, one_line
from phyagi_assets.store.disk import is_unreachable

HEADER_BYTES = 128
"""Size of the header of a 1-D array that an `ArrayWriter` wrote."""
REMEDY = "phyagi-assets check --discard removes damaged files, and materialize builds them again"
"""End of a message about a damaged file of the store."""
_ATTEMPTS = 3
"""Number of times that a header is read again after a SystemError: Python 3.11's parser can fail on valid text while threads use it."""


class ArrayWriter(AbstractContextManager["ArrayWriter"]):
    """Writer that appends rows to a ``.npy`` file whose length is known only at the end.

    NumPy reserves space in the header for the first axis to grow, so that the header can be rewritten in place.

    Parameters
    ----------
    row
        Shape of one row; () for a 1-D array.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, row: tuple[int, ...] = ()) -> None:
        self._dtype = np.dtype(dtype)
        self._row = row
        self._file = path.open("wb")
        self.length = 0
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Append rows, converted to the dtype of the array."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.length += len(rows)

    def _write_header(self) -> None:
        shape = (self.length, *self._row)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Rewrite the header with the final length, and close the file."""
        if not self._file.closed:
            self._file.seek(0)
            self._write_header()
            self._file.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_array(path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """Open an array of the store.

    Parameters
    ----------
    mapped
        Whether to map the file into memory, read-only, instead of reading it.

    Raises
    ------
    StoreError
        The file is missing or damaged, or may not be read.
    """
    try:
        shape, dtype, start = _layout(path)
        if mapped:
            return np.memmap(path, dtype, "r", start, shape)
        return np.fromfile(path, dtype, math.prod(shape), offset=start).reshape(shape)
    except FileNotFoundError:
        raise StoreError(f"{path}: is missing; {REMEDY}") from None
    except (OSError, ValueError) as problem:  # a ValueError if the file changed after its header was checked
        if is_unreachable(problem):
            raise StoreAccessError.of(path, problem) from None
        raise StoreError(f"{path}: cannot be read: {problem}; {REMEDY}") from None


def array_blocks(path: Path, size: int = 1 << 20) -> Iterator[npt.NDArray[Any]]:
    """Read an array block by block. The file is not mapped, because mapped pages would count as memory of this process.

    Parameters
    ----------
    size
        Size of a block in bytes. The default fits the processor's cache.

    Yields
    ------
    numpy.ndarray
        The next rows, of the dtype of the file. The next block overwrites them.

    Raises
    ------
    OSError
        The file is missing or cannot be read.
    StoreError
        The file is damaged.
    """
    shape, dtype, start = _layout(path)
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        piece = np.empty((size // row_bytes, *shape[1:]), dtype)
        while read := file.readinto(piece.data):
            yield piece[: read // row_bytes]


def array_length(path: Path) -> int:
    """Return the number of rows of an array according to its header, after checking the size of the file.

    Raises
    ------
    OSError
        The file is missing or cannot be read.
    StoreError
        The file does not hold an array, or has more or fewer bytes than its header says.
    """
    return _layout(path)[0][0]


def _layout(path: Path) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Return the shape and dtype of an array and its first byte in the file, after checking the size of the file."""
    with path.open("rb") as file:
        try:
            shape, dtype = read_header(file)
        except Exception as problem:
            raise StoreError(f"{path}: is not a valid array: {one_line(problem, 200)}; {REMEDY}") from None
        start = file.tell()
        expected, found = start + math.prod(shape) * dtype.itemsize, file.seek(0, os.SEEK_END)
    if found != expected:
        raise StoreError(f"{path}: has {counted(found, 'byte')}, but its header says {expected}; {REMEDY}")
    return shape, dtype, start


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and dtype in the header of a ``.npy`` file, and leave the file at the first byte of the array.

    Raises
    ------
    Exception
        The header is damaged: NumPy parses it as Python, which can raise many kinds of exceptions.
    """
    start = file.tell()
    for _ in range(_ATTEMPTS):
        try:
            return _parse_header(file)
        except SystemError:
            file.seek(start)
    return _parse_header(file)


def _parse_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    if dtype.hasobject or not dtype.itemsize or not shape or (is_fortran and len(shape) > 1) or any(length < 0 for length in shape):
        raise ValueError(f"it describes an array of shape {shape} and dtype {dtype}")
    return shape, dtype
