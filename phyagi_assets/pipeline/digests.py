"""Digests of source files, each file read again only when it may have changed.

What was seen of a file (size, times, inode) is kept in the store beside its digest. While it looks the same, its content is not
read. A file that changed within moments of being read could look the same afterwards, as git found with its index, so a digest
is only trusted when the file had been quiet for a while by then.
"""

import json
import os
import time
from contextlib import suppress
from pathlib import Path

from phyagi_assets.pipeline.fingerprint import file_digest

_QUIET_NS = 2_000_000_000

Look = list[int]


class DigestCache:
    """Digests of the files of one partition.

    Parameters
    ----------
    path
        The JSON file that remembers them. Losing it costs one reading of the files.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, tuple[Look, str]] = {}
        self._changed = False
        with suppress(OSError, ValueError, TypeError, AttributeError):  # none yet, or not readable: start anew
            self._known = {name: (look, digest) for name, (look, digest) in json.loads(path.read_text(encoding="utf-8")).items()}

    def digest(self, file: Path) -> str:
        """The XXH3-128 of a file's content."""
        name, look = str(file), _look(file)
        if name in self._known and self._known[name][0] == look:
            return self._known[name][1]
        started = time.time_ns()
        digest = file_digest(file)
        if max(look[1], look[2]) + _QUIET_NS < started and _look(file) == look:
            self._known[name] = (look, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learnt, if anything was."""
        if self._changed:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
            draft.write_text(json.dumps(self._known), encoding="utf-8")
            draft.replace(self._path)
            self._changed = False


def _look(file: Path) -> Look:
    seen = file.stat()
    return [seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino]
