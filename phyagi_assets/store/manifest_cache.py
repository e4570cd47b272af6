"""Manifests that a process has read, so that it parses each one once."""

from functools import lru_cache
from pathlib import Path

from phyagi_assets.store.disk import FileStamp, stamp_of
from phyagi_assets.store.manifest import MANIFEST, Manifest


def read_cached(folder: Path) -> Manifest:
    """Return the manifest of a version on a disk; see `Manifest.read`. A manifest whose file has changed is read again."""
    try:
        stamp = stamp_of(f"{folder}/{MANIFEST}")
    except OSError:
        return Manifest.read(folder)  # raises the error
    return _read(stamp)


@lru_cache(maxsize=1 << 13)  # of some 4 kB each
def _read(stamp: FileStamp) -> Manifest:
    return Manifest.read(Path(stamp[0]).parent)
