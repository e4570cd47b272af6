"""Digests of source files, each file read again only when it may have changed.

What was seen of a file (of a local one size, times, inode; of a remote one its ETag or object id) is kept in the store beside its
digest. While it looks the same, its content is not read. A local file that changed within moments of being read could look the same
afterwards, as git found with its index, so a digest is only trusted when the file had been quiet for a while by then.
"""

import time
from contextlib import suppress
from pathlib import Path

from phyagi_assets.sources.files import SourceFile, Stamp
from phyagi_assets.sources.local import stamp_of
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.state import recall, remember


class DigestCache:
    """Digests of the files of one partition.

    Parameters
    ----------
    path
        The JSON file that remembers them. Losing it costs one reading of the files, and one transfer of remote ones.
    quiet
        Seconds for which a local file must not have changed before its digest is remembered.
    """

    def __init__(self, path: Path, *, quiet: float = 2.0) -> None:
        self._path = path
        self._quiet_ns = int(quiet * 1e9)
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._changed = False
        with suppress(ValueError, TypeError, AttributeError):  # none yet, or not one of digests: start anew
            self._known = {name: (tuple(stamp), digest) for name, (stamp, digest) in recall(path).items()}

    def recall(self, file: SourceFile) -> str | None:
        """The XXH3-128 of a file's content, if it is known of a file that looks like this one."""
        stamp, digest = self._known.get(file.name, ((), None))
        return digest if stamp == file.stamp else None

    def read(self, file: SourceFile, path: Path) -> str:
        """The XXH3-128 of a local file's content, which is read unless it is known.

        Raises
        ------
        OSError
            It cannot be read.
        """
        stamp = stamp_of(path)
        known, digest = self._known.get(file.name, ((), ""))
        if known == stamp:
            return digest
        started = time.time_ns()
        digest = file_digest(path)
        if max(path.stat().st_mtime_ns, path.stat().st_ctime_ns) + self._quiet_ns < started and stamp_of(path) == stamp:
            self._learn(file.name, stamp, digest)
        return digest

    def learn(self, file: SourceFile, digest: str) -> None:
        """Remember the digest of a remote file, whose stamp belongs to its content."""
        self._learn(file.name, file.stamp, digest)

    def _learn(self, name: str, stamp: Stamp, digest: str) -> None:
        self._known[name] = (stamp, digest)
        self._changed = True

    def save(self) -> None:
        """Keep what was learnt, if anything was."""
        if self._changed:
            remember(self._path, self._known)
            self._changed = False
