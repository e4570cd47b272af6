"""``.npy`` files that grow, and that are read piece by piece."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formatting import counted


class ArrayWriter:
    """Appends rows to a ``.npy`` file whose length is known only at the end.

    NumPy leaves room in a header for the first axis to grow, so that the header can be written again in place.

    Parameters
    ----------
    path
        The file.
    dtype
        Of the array.
    row
        Shape of a row; () for a 1-D array.
    """

    def __init__(self, path: Path, dtype: npt.DTypeLike, row: tuple[int, ...] = ()) -> None:
        self._dtype = np.dtype(dtype)
        self._row = row
        self._file = path.open("wb")
        self.length = 0
        self._write_header()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add rows at the end."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.length += len(rows)

    def _write_header(self) -> None:
        shape = (self.length, *self._row)
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)

    def close(self) -> None:
        """Write the header again, with the length."""
        if not self._file.closed:
            self._file.seek(0)
            self._write_header()
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_array(path: Path, *, mapped: bool = False) -> npt.NDArray[Any]:
    """The array of a file of the store, or a view of the file that is mapped into memory.

    Raises
    ------
    StoreError
        The file is missing or damaged.
    """
    try:
        array_length(path)
        return np.load(path, mmap_mode="r" if mapped else None)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise StoreError(f"{path}: is missing; {_REMEDY}") from None
    except (OSError, ValueError) as problem:  # it changes while it is read
        raise StoreError(f"{path}: cannot be read: {problem}; {_REMEDY}") from None


def array_blocks(path: Path, size: int = 1 << 20) -> Iterator[npt.NDArray[Any]]:
    """The pieces of a 1-D array, read and not mapped: mapped pages would count as the memory of this process.

    Each piece lies where the one before it did.

    Parameters
    ----------
    size
        Bytes of a piece; by default, what the processor's cache holds.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    array_length(path)
    with path.open("rb", buffering=0) as file:
        _, dtype = _header(file, path)
        piece = np.empty(size // dtype.itemsize, dtype)
        while read := file.readinto(piece.data):
            yield piece[: read // dtype.itemsize]


def array_length(path: Path) -> int:
    """The rows of an array, by its header.

    Raises
    ------
    OSError
        The file is missing, or cannot be read.
    StoreError
        It does not hold an array, or not all of it.
    """
    with path.open("rb") as file:
        shape, dtype = _header(file, path)
        wanted = file.tell() + math.prod(shape) * dtype.itemsize
        found = file.seek(0, os.SEEK_END)
    if found != wanted:
        raise StoreError(f"{path}: has {counted(found, 'byte')}, and its header says {wanted}; {_REMEDY}")
    return int(shape[0])


_REMEDY = "phyagi-assets check --discard removes what is damaged, and materialize builds it again"


def _header(file: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype, with the file behind the header."""
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.hasobject or not dtype.itemsize or not shape or any(length < 0 for length in shape):
            raise ValueError(f"it describes an array of shape {shape} and dtype {dtype}")
    except Exception as problem:  # NumPy parses the header as Python, and fails as that does
        raise StoreError(f"{path}: is not a whole array: {' '.join(str(problem).split())[:200]}; {_REMEDY}") from None
    return shape, dtype
