"""Manifests that a process has read, so that it parses each one once."""

import os
from pathlib import Path

from phyagi_assets.store.manifest import MANIFEST, Manifest

_KEPT = 1 << 13
"""Largest number of manifests that are kept, of some 4 kB each."""

_Stamp = tuple[int, int, int, int]
"""Inode, size in bytes, and times of modification and change in nanoseconds of a file."""


class ManifestCache:
    """Cache of the manifests of versions on a disk. A manifest whose file has changed is read again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Stamp, Manifest]] = {}

    def __reduce__(self) -> tuple[type["ManifestCache"], tuple[()]]:
        """Reduce to an empty cache: another process reads its own."""
        return ManifestCache, ()

    def read(self, folder: Path) -> Manifest:
        """Return the manifest of a version.

        Raises
        ------
        StoreError
            The manifest is missing or is not valid.
        """
        path = f"{folder}/{MANIFEST}"
        try:
            seen = os.stat(path)  # noqa: PTH116 (called for every artifact)
        except OSError:
            return Manifest.read(folder)  # raises the error
        stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
        kept = self._kept.get(path)
        if kept and kept[0] == stamp:
            return kept[1]
        manifest = Manifest.read(folder)
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[path] = (stamp, manifest)
        return manifest
