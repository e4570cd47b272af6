"""Digests of the ids and document boundaries of contenders, which do not depend on the files that hold them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

_AT_ONCE = 1 << 22  # ids


def digests(told: Mapping[str, Any]) -> dict[str, str]:
    """Hash the ids that a contender wrote, and the ends of the documents if it keeps them; return no digest if it keeps no ids.

    Parameters
    ----------
    told
        The result that the contender printed: paths of its arrays (``arrays``) and of the ends of documents (``ends``), and ``dtype``.
    """
    if "arrays" not in told:
        return {}
    arrays = [_opened(path, told.get("dtype", "")) for path in told["arrays"]]
    found = {"ids": _digest((piece for array in arrays for piece in _pieces(array)), "<u4")}
    if "ends" in told:
        starts = np.cumsum([0, *(len(array) for array in arrays)])
        ends = (start + _opened(path, "<u8").astype(np.int64) for start, path in zip(starts[:-1], told["ends"], strict=True))
        found["ends"] = _digest(ends, "<i8")
    return found


def _opened(path: str, dtype: str) -> npt.NDArray[Any]:
    """Open a ``.npy`` file, or another file as bare numbers."""
    if not Path(path).stat().st_size:
        return np.empty(0, dtype)
    opened: npt.NDArray[Any] = np.load(path, mmap_mode="r") if Path(path).suffix == ".npy" else np.memmap(path, dtype, "r")
    return opened


def _pieces(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    return (array[start : start + _AT_ONCE] for start in range(0, len(array), _AT_ONCE))


def _digest(pieces: Iterator[npt.NDArray[Any]], dtype: str) -> str:
    state = xxhash.xxh3_128()
    for piece in pieces:
        state.update(np.ascontiguousarray(piece, dtype).data)
    return state.hexdigest()
