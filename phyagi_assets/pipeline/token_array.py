"""A 1-D ``.npy`` file that grows."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt


class TokenArrayWriter:
    """Appends ids to a ``.npy`` file whose length is known only at the end.

    NumPy leaves room in a header for the first axis to grow, so that the header can be written again in place.

    Parameters
    ----------
    path
        The file.
    dtype
        Of the array.
    """

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._dtype = dtype
        self._file = path.open("wb")
        self.length = 0
        self._write_header()

    def append(self, ids: npt.NDArray[Any]) -> None:
        """Add ids at the end."""
        self._file.write(np.ascontiguousarray(ids, dtype=self._dtype).data)
        self.length += len(ids)

    def _write_header(self) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": (self.length,)}
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
