"""Cached digests of source files, so that a file is read again only if it may have changed.

The cache in the store keeps the stamp of each file (size, times and inode of a local file; ETag or object id of a remote one) beside its
digest. As long as the stamp is the same, the content is not read. A local file that changes moments after it was read can keep its stamp
(git knows this problem from its index), so a digest is cached only if the file had not changed for a while before it was read.
"""

from contextlib import suppress
from pathlib import Path

from phyagi_assets.sources.files import SourceFile
from phyagi_assets.sources.readable import Stamp
from phyagi_assets.store.disk import changed_recently, stamp_of
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.state import State


class DigestCache:
    """Cache of the digests of one partition's files.

    Parameters
    ----------
    state
        Record of the cache. If it is lost, local files are read and remote files are fetched once more.
    quiet
        Seconds for which a local file must not have changed before it is read, for its digest to be cached.
    """

    def __init__(self, state: State, *, quiet: float = 2.0) -> None:
        self._state = state
        self._quiet_ns = int(quiet * 1e9)
        self._known: dict[str, tuple[Stamp, str]] = {}
        self._changed = False
        with suppress(ValueError, TypeError, AttributeError):  # no cache yet, or a damaged one: start with an empty one
            self._known = {name: (tuple(stamp), digest) for name, (stamp, digest) in state.recall().items()}

    def recall(self, file: SourceFile) -> str | None:
        """Return the cached XXH3-128 of a file's content, or None if it is not cached for the file's present stamp."""
        stamp, digest = self._known.get(file.name, ((), None))
        return digest if stamp == file.stamp else None

    def differs_from(self, file: SourceFile, content: str) -> bool:
        """Return whether the cached stamp or digest of a remote file shows that it differs from a content, given as XXH3-128."""
        stamp, digest = self._known.get(file.name, (file.stamp, content))
        return stamp != file.stamp or digest != content

    def read(self, file: SourceFile, path: Path) -> str:
        """Return the XXH3-128 of a local file's content, which is read from a path unless its digest is cached."""
        stamp = stamp_of(path)
        known, digest = self._known.get(file.name, ((), ""))
        if known == stamp:
            return digest
        has_settled = not changed_recently(stamp, self._quiet_ns)
        digest = file_digest(path)
        if has_settled and stamp_of(path) == stamp:
            self.add(file, digest, stamp)
        return digest

    def add(self, file: SourceFile, digest: str, stamp: Stamp | None = None) -> None:
        """Cache the digest of a file for a stamp; by default, for the stamp in the listing, as for remote files."""
        self._known[file.name] = (file.stamp if stamp is None else stamp, digest)
        self._changed = True

    def save(self) -> None:
        """Write the cache to disk if it has changed."""
        if self._changed:
            self._state.remember(self._known)
            self._changed = False
