"""The files of one version in a bucket, which are fetched to the scratch folder."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import RemoteFiles
from phyagi_assets.store.bucket_keys import file_key, shared_name, version_key
from phyagi_assets.store.bucket_listing import Objects
from phyagi_assets.store.bucket_shared import SharedFiles
from phyagi_assets.store.disk import replace_file
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest, is_shared
from phyagi_assets.store.scratch import Scratch


class FileSource(Protocol):
    """The parts of a store in a bucket that its files need."""

    bucket: BucketFolder
    shared: SharedFiles
    local: Scratch

    def place(self, name: str) -> str:
        """Return the address of an object, for messages."""


@dataclass(eq=False)
class BucketFiles(RemoteFiles):
    """The files of one version in a bucket."""

    store: FileSource
    version: Version
    manifest: Manifest
    objects: Objects
    published: StoredObject | None
    """The newest pointer of the artifact, if it is known."""
    fetched: set[str] = field(default_factory=set)
    """Files on this machine, which stay while this object holds the version."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "fetched": set()}

    @property
    def place(self) -> str:
        return self.store.place(version_key(self.version))

    @property
    def bytes(self) -> int:
        return sum(record.bytes for record in self.manifest.files.values())

    @property
    def written(self) -> float:
        times = [self.objects[MANIFEST].written, *([self.published.written] if self.published else [])]
        return max(times).timestamp()

    def fetch(self, only: Collection[str]) -> None:
        files = self.manifest.files
        chosen = {name for name in (*files, MANIFEST) if not only or any(name == one or name.startswith(f"{one}/") for one in only)}
        if not (wanted := chosen - self.fetched):
            return
        local, folder = self.store.local, self.store.local.root / self.version.path
        if not self.fetched:
            local.hold(self.version, self)
        missing = [name for name in sorted(wanted - {MANIFEST}) if not files[name].is_size_of(folder / name)]
        if missing:
            local.make_room(sum(files[name].bytes for name in missing))
            with local.writing():
                list(concurrently(lambda name: self._fetch(folder / name, name, files[name]), missing))
        if MANIFEST in wanted and not (folder / MANIFEST).exists():
            with local.writing():
                replace_file(folder / MANIFEST, self.manifest.to_json().encode())
        self.fetched |= wanted

    def copy_to(self, folder: Path) -> None:
        files = self.manifest.files
        missing = [name for name in sorted(files) if not files[name].is_size_of(folder / name)]
        list(concurrently(lambda name: self._fetch(folder / name, name, files[name]), missing))

    def _fetch(self, path: Path, name: str, record: FileRecord) -> None:
        if is_shared(name):
            self.store.shared.fetch(record, path)
        else:
            self.store.bucket.download(file_key(self.version, name), path, record.bytes, record.xxh3_128)

    def damage(self, *, checksums: bool) -> Sequence[str]:
        files = self.manifest.files
        missing = self.store.shared.missing([record for name, record in files.items() if is_shared(name)])
        found, sound = [], []
        for name, record in files.items():
            stored = self.objects.get(name)
            is_missing = shared_name(record) in missing if is_shared(name) else stored is None
            if is_missing:
                found.append(f"{self.place}/{name}: is missing")
            elif stored and stored.size != record.bytes:
                found.append(f"{self.place}/{name}: has {stored.size} bytes where {record.bytes} were written")
            else:
                sound.append(name)
        if checksums:
            digests = concurrently(self._digest, sound)
            differing = [name for name, digest in zip(sound, digests, strict=True) if digest != files[name].xxh3_128]
            found += [f"{self.place}/{name}: its content is not what was written (checksum differs)" for name in differing]
        return found

    def _digest(self, name: str) -> str:
        if is_shared(name):
            return self.store.shared.folder.digest(shared_name(self.manifest.files[name]))
        return self.store.bucket.digest(file_key(self.version, name))
