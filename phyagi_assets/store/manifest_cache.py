"""Manifests that a process has read, so that it parses each one once."""

from pathlib import Path

from phyagi_assets.store.disk import FileStamp, stamp_of
from phyagi_assets.store.manifest import MANIFEST, Manifest

_KEPT = 1 << 13
"""Largest number of manifests that are kept, of some 4 kB each."""


class ManifestCache:
    """Cache of the manifests of versions on a disk. A manifest whose file has changed is read again."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[FileStamp, Manifest]] = {}

    def __reduce__(self) -> tuple[type["ManifestCache"], tuple[()]]:
        """Reduce to an empty cache: another process reads its own."""
        return ManifestCache, ()

    def read(self, folder: Path) -> Manifest:
        """Return the manifest of a version; see `Manifest.read`."""
        path = f"{folder}/{MANIFEST}"
        try:
            stamp = stamp_of(path)
        except OSError:
            return Manifest.read(folder)  # raises the error
        kept = self._kept.get(path)
        if kept and kept[0] == stamp:
            return kept[1]
        manifest = Manifest.read(folder)
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[path] = (stamp, manifest)
        return manifest
