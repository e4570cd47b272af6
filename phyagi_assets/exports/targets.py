"""Places outside of stores that copies of artifacts are written to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.settings import BucketAddress
from phyagi_assets.store.manifest import MANIFEST, Manifest
from phyagi_assets.store.scratch import scratch_folder


class Target(Protocol):
    """The place that caches are copied to."""

    def manifest(self, name: str) -> Manifest | None:
        """Return the manifest of a folder if all files that it names are there with their sizes, else None."""

    def work_folder(self) -> Path:
        """Return a folder on this machine for the files that are being written."""

    def place(self, draft: Path, name: str) -> None:
        """Put the content of a folder, which is deleted afterwards, in the place of another one."""


@dataclass(frozen=True, slots=True)
class DiskTarget:
    """A folder on a disk."""

    root: Path

    def __str__(self) -> str:
        return str(self.root)

    def manifest(self, name: str) -> Manifest | None:
        try:
            manifest = Manifest.read(self.root / name)
        except StoreError:
            return None
        return None if manifest.damage(self.root / name) else manifest

    def work_folder(self) -> Path:
        return self.root

    def place(self, draft: Path, name: str) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if not (target / MANIFEST).is_file():
                raise StoreError(f"{target}: already exists, and is not a copy of a cache; move it away, or name another folder")
            target.rename(draft.with_name("before"))
        draft.rename(target)


class BucketTarget:
    """A folder in a bucket."""

    def __init__(self, address: BucketAddress) -> None:
        from phyagi_assets.objects.bucket import BucketFolder  # its client takes long to import

        self._address = str(address)
        self._bucket = BucketFolder(self._address.rstrip("/"))

    def __str__(self) -> str:
        return self._address

    def manifest(self, name: str) -> Manifest | None:
        content = self._bucket.read(f"{name}/{MANIFEST}")
        try:
            manifest = None if content is None else Manifest.parse(content, f"{self._address}/{name}/{MANIFEST}")
        except StoreError:
            return None
        sizes = {stored.key.removeprefix(f"{name}/"): stored.size for stored in self._bucket.list(name)}
        is_complete = manifest is not None and all(sizes.get(file) == record.bytes for file, record in manifest.files.items())
        return manifest if is_complete else None

    def work_folder(self) -> Path:
        return scratch_folder(self._address)

    def place(self, draft: Path, name: str) -> None:
        manifest = Manifest.read(draft)
        self._bucket.delete([f"{name}/{MANIFEST}"])
        digests = {file: record.xxh3_128 for file, record in sorted(manifest.files.items())}
        list(concurrently(lambda file: self._bucket.upload(draft / file, f"{name}/{file}", digests[file]), digests))
        self._bucket.write(f"{name}/{MANIFEST}", manifest.to_json().encode())


def open_target(place: Path | BucketAddress) -> Target:
    """Return the target at a path or an address."""
    return DiskTarget(place) if isinstance(place, Path) else BucketTarget(place)
