"""Memory maps of ``.npy`` files, with a bound on the number of maps that are open at once.

Python keeps a file descriptor for each mapping, so a mixture of thousands of partitions would use up the descriptors of the process. When
the bound is reached, the least recently used files are unmapped.
"""

import errno
import math
import mmap
import resource
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.npy import read_header

REMEDY = "bring the mixture up to date: phyagi-assets materialize"
_RESERVED = 256
"""Number of descriptors to leave for the rest of the process, if the limit allows it."""
_DIVISOR = 4
"""Divisor of the free descriptors: where not all files fit, one dataset uses at most 1/_DIVISOR of them."""
_MIN_MAPS = 4
"""Smallest useful number of maps: tokens and documents of two partitions."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayMap:
    """One mapped ``.npy`` file."""

    path: Path
    mapping: mmap.mmap
    offset: int
    """Offset of the first entry in the file, in bytes."""
    array: npt.NDArray[Any]
    octets: memoryview
    """The bytes of the array."""

    @classmethod
    def open(cls, path: Path) -> "ArrayMap":
        """Map a file.

        Raises
        ------
        StoreError
            The file does not exist, is not an array, or is shorter than its header says.
        OSError
            It cannot be opened or mapped.
        """
        try:
            with path.open("rb") as file:
                shape, dtype = read_header(file)
                if dtype.kind not in "iu":
                    raise ValueError(f"its dtype is {dtype}")
                offset = file.tell()
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise StoreError(f"{path}: does not exist, but the mixture's plan needs it; {REMEDY}") from None
        except OSError:
            raise
        except Exception as problem:  # NumPy documents no exception types for damaged headers
            raise StoreError(f"{path}: is not a valid .npy array of integers: {problem}; {REMEDY}") from None
        wanted = offset + math.prod(shape) * dtype.itemsize
        if len(mapping) < wanted:
            raise StoreError(f"{path}: has {len(mapping):,} bytes, but its header requires {wanted:,}; {REMEDY}")
        mapping.madvise(mmap.MADV_RANDOM)
        octets = memoryview(mapping)[offset:wanted]
        return cls(path=path, mapping=mapping, offset=offset, array=np.frombuffer(octets, dtype).reshape(shape), octets=octets)

    def require_whole(self) -> None:
        """Check that the file has not shrunk since it was mapped; reading beyond its end would kill the process."""
        if self.mapping.size() < len(self.mapping):
            raise StoreError(
                f"{self.path}: was truncated from {len(self.mapping):,} to {self.mapping.size():,} bytes while in use; {REMEDY}"
            )


class ArrayMaps:
    """A collection of file maps, of which at most `most` are open. Several threads may use it, and may each open one map more.

    Examples
    --------
    >>> np.save("tokens.npy", np.arange(7, dtype=np.uint16))
    >>> ArrayMaps(most=16).opened("tokens", Path("tokens.npy")).array.tolist()
    [0, 1, 2, 3, 4, 5, 6]
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._maps: OrderedDict[Hashable, ArrayMap] = OrderedDict()

    def opened(self, key: Hashable, path: Path) -> ArrayMap:
        """Return the map of a file, opening the file if needed.

        Parameters
        ----------
        key
            Key of the file among the maps; faster to look up than a path.
        """
        found = self._maps.get(key)
        if found is None:
            self._close_down_to(self.most - 1)
            found = self._maps[key] = self._open(path)
        else:
            with suppress(KeyError):  # another thread has closed it
                self._maps.move_to_end(key)
        found.require_whole()
        return found

    def _close_down_to(self, count: int) -> None:
        """Close the least recently used maps until `count` are open; those in use are unmapped later."""
        with suppress(KeyError):  # another thread has closed the last one
            while len(self._maps) > max(count, 0):
                self._maps.popitem(last=False)

    def _open(self, path: Path) -> ArrayMap:
        while True:
            try:
                return ArrayMap.open(path)
            except OSError as problem:
                if problem.errno == errno.EMFILE and self._maps:  # the rest of the process has opened more files
                    self.most = max(_MIN_MAPS, len(self._maps) // 2)
                    self._close_down_to(self.most - 1)
                    if len(self._maps) < _MIN_MAPS:
                        self._maps.clear()
                    continue
                raise StoreError(f"{path}: cannot be mapped: {problem.strerror}{_limit_hint(problem)}") from None

    def __len__(self) -> int:
        return len(self._maps)

    def __getstate__(self) -> dict[str, Any]:
        return {"most": self.most, "_maps": OrderedDict()}


def maps_allowed(files: int) -> int:
    """Return the number of files that may be mapped at once; raise the process's limit on open files if needed.

    Raises
    ------
    StoreError
        The limit is too low to read a mixture.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return files
    used = _descriptors()
    needed = used + files + _RESERVED
    if soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    if soft >= needed:
        return files
    allowed = min(files, (soft - used) // _DIVISOR)
    if allowed < min(files, _MIN_MAPS):
        raise StoreError(
            f"open files: this process has {used:,} open files and a limit of {soft:,}, which is too low to read a mixture; "
            f"raise the limit: ulimit -n {used + _RESERVED:,}"
        )
    return allowed


def _descriptors() -> int:
    """Return the number of open descriptors, or a guess if the system does not report it."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir())
    return 64


def _limit_hint(problem: OSError) -> str:
    if problem.errno not in (errno.EMFILE, errno.ENFILE):
        return ""
    return f"; the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]:,}; raise it with ulimit -n"
