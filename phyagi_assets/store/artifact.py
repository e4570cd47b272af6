"""Artifacts: versions on a disk or in a bucket, and the content that a version is written from."""

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from phyagi_assets.errors import StoreError
from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.disk import size_of_files
from phyagi_assets.store.manifest import FileRecord, Manifest


class RemoteFiles(Protocol):
    """The files of a version in a remote store. It can be pickled."""

    @property
    def place(self) -> str:
        """Address of the version, for messages."""

    @property
    def bytes(self) -> int:
        """Size of the version in the store, in bytes."""

    @property
    def written(self) -> float:
        """Time at which the version was written or last published, in seconds since the epoch."""

    def fetch(self, only: Collection[str]) -> None:
        """Fetch files, or all of them if `only` is empty, to the path of the artifact, where they stay as long as this object exists."""

    def copy_to(self, folder: Path) -> None:
        """Fetch all files to a folder on this machine, except those that it has with the right size."""

    def damage(self, *, checksums: bool) -> Sequence[str]:
        """Find the files that are missing or differ from their records, as `Manifest.damage` does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One version of an artifact."""

    address: str
    path: Path
    """Folder of the version on this machine. It stays the same when the pointer is replaced. Use `folder` to read files in it."""
    manifest: Manifest
    remote: RemoteFiles | None = field(default=None, compare=False, repr=False)
    """The files in a remote store; None for a local one."""

    def folder(self, *only: str) -> Path:
        """Return the folder of the version with its files, which are first fetched from a remote store.

        Parameters
        ----------
        *only
            Paths of the needed files and folders, relative to the folder; by default, all.

        Raises
        ------
        StoreError
            A file is missing or damaged, or cannot be fetched.
        """
        if self.remote:
            self.remote.fetch(only)
        return self.path

    def copy_to(self, folder: Path) -> None:
        """Copy the recorded files of the version to a folder, except those that it has with the right size.

        Raises
        ------
        StoreError
            A file is missing, or cannot be fetched.
        """
        if self.remote:
            self.remote.copy_to(folder)
            return
        if damage := self.damage():
            raise StoreError("\n".join(damage))
        for name, record in self.manifest.files.items():
            if not record.is_size_of(folder / name):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.path / name, folder / name)

    @property
    def place(self) -> str:
        """Path or address of the version, for messages."""
        return self.remote.place if self.remote else str(self.path)

    @property
    def bytes(self) -> int:
        """Size of the version in the store, in bytes, including files that other versions share."""
        return self.remote.bytes if self.remote else size_of_files(self.path)

    @property
    def written(self) -> float:
        """Time at which the version was written or last published, in seconds since the epoch."""
        return self.remote.written if self.remote else self.path.stat().st_mtime

    def damage(self, *, checksums: bool = False) -> Sequence[str]:
        """Find the files that are missing or differ from their records; see `Manifest.damage`."""
        return self.remote.damage(checksums=checksums) if self.remote else self.manifest.damage(self.path, checksums=checksums)

    def altered(self, name: str) -> StoreError:
        """Return the error for a file whose content differs from its record, given its path in the version."""
        found = f"{self.place}/{name}: its content is not what was written (checksum differs)"
        return StoreError(f"{found}; remove it with: phyagi-assets check --discard")

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def version(self) -> Version:
        """Name of the version."""
        return Version(Address(self.address), self.fingerprint)

    def holds(self, files: Collection[str]) -> bool:
        """Return whether the version has all of the given files, named by their paths relative to its folder."""
        return self.manifest.files.keys() >= set(files)


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredVersion(Artifact):
    """One version of an artifact in a survey, published or not."""

    address: Address
    is_published: bool
    protected: str
    """Reason why the version must never be removed; empty if the store made all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinishedFile:
    """A file of a version that a task wrote earlier, in the local scratch space or on another machine of the run."""

    path: Path
    """Path in `Store.scratch`."""
    record: FileRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class Assembled:
    """The content of a version whose large files were written by tasks."""

    manifest: Manifest
    """The completed manifest, without the records of the files."""
    finished: Mapping[str, FinishedFile]
    """The files that tasks wrote, by path relative to the version. They are linked or copied into the version, and not read."""


Fill = Callable[[Path], Manifest | Assembled]
"""Writes the files of a version into an empty folder, except for finished ones, and returns the completed manifest."""
