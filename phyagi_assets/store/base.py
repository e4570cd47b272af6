"""The operations of every kind of store. At most one version of an artifact is published, and a published version is never edited."""

import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.artifact import Artifact, Fill, StoredVersion
from phyagi_assets.store.disk import folders_in, size_of_files
from phyagi_assets.store.exchange import Exchange
from phyagi_assets.store.locks import LOCKS, create_lock, is_held, locked
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.store.state import State, StateKind

_AT_WORK = "at_work"
"""Folder of the locks of runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreign:
    """A file, link or folder in a store that the store did not make, or cannot account for."""

    path: Path | str
    """Path, or address of an object."""
    why: str
    """Reason why the store leaves it alone."""
    version: Version | None = None
    """Version in whose place it is, if the manifest there cannot be read or belongs to another version."""

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The contents of a store."""

    versions: list[StoredVersion] = field(default_factory=list)
    spares: list[StoredVersion] = field(default_factory=list)
    """Second copies of versions, which `Store.restore` keeps beside them."""
    foreign: list[Foreign] = field(default_factory=list)


ScratchKind = Literal["transfers", "chunks"]
"""Kinds of files that are kept until an artifact is written: fetched files, and encoded chunks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UnfinishedWork:
    """The unfinished transfers, or the chunks of an unfinished artifact, of one partition."""

    address: Address
    """Name of their lock, ``corpus/transfers/partition`` or ``corpus/chunks/partition``."""
    name: str
    """Path of their folder, relative to the root of the store."""
    path: Path

    @property
    def bytes(self) -> int:
        """Size of the files, in bytes."""
        return size_of_files(self.path)


class Store(Protocol):
    """A store of published artifacts. ``str(store)`` is its path or address, for messages.

    Addresses are `Address` objects, or strings of the same form. Methods raise a `StoreError` for a string that is not an address. Every
    store has a folder on this machine, in which steps work, with the locks and the records of this machine.
    """

    root: Path
    """Folder on this machine: the store itself, or the scratch space of a store in a bucket. It is created when something is written."""

    @property
    def is_remote(self) -> bool:
        """Whether the store is in a bucket, so that its records and locks are not shared with other machines."""

    def names(self) -> Sequence[str]:
        """Return the names of the corpora and mixtures in the store, sorted."""

    def place(self, name: str) -> Path | str:
        """Return the path or address of a corpus or mixture."""

    def open(self, address: str, *, intact: bool = False) -> Artifact | None:
        """Return the published version of an artifact. Only its manifest is read, unless `intact` is set.

        Returns
        -------
        Artifact or None
            None if nothing is published, or if the manifest cannot be read or has another fingerprint than its folder's name. With
            `intact`, for callers that build on it, also None if a file is missing or has another size than was written.
        """

    def find(self, address: str, fingerprint: str, holding: Collection[str] = (), *, lately: bool = False) -> Artifact | None:
        """Return the intact version of an artifact with a fingerprint, published or not.

        Parameters
        ----------
        lately
            Whether a listing of a bucket that is some seconds old is recent enough.

        Returns
        -------
        Artifact or None
            None if the version does not exist, is damaged, or lacks one of the files `holding`, which are paths relative to its folder.
        """

    def list(self) -> Iterator[Address]:
        """Yield the address of every published artifact, folder by folder in the order of names."""

    def versions(self) -> Iterator[Artifact]:
        """Yield every version whose manifest can be read, published or not."""

    def survey(self) -> Survey:
        """List every version, and every entry that the store did not make."""

    def pointer(self, address: str) -> Path:
        """Return the path at which readers find the published version of an artifact."""
        return self.root / Address(address)

    def is_read_only(self, address: str) -> bool:
        """Return whether the user has no right to publish an artifact. False for a bucket, whose rights are unknown."""
        folder = self.pointer(address).parent
        return not self.is_remote and not os.access(folder if folder.exists() else self.root, os.W_OK)

    def version_path(self, address: str, fingerprint: str) -> Path:
        """Return the path of the folder of a version, whether or not the version exists."""
        return self.root / Version(Address(address), fingerprint).path

    def published_fingerprint(self, address: str) -> str:
        """Return the fingerprint of the published version of an artifact, or an empty string if nothing is published."""

    def write(self, address: str, manifest: Manifest, fill: Fill, holding: Collection[str] = ()) -> Artifact:
        """Write a version, completely or not at all.

        Parameters
        ----------
        manifest
            Manifest without files or counts. Its fingerprint names the version.
        fill
            Function that writes the files into an empty folder and returns the completed manifest, or an `Assembled`. The records of the
            files are added afterwards.
        holding
            Files that an existing version with this fingerprint must have to be kept; otherwise it is replaced.

        Returns
        -------
        Artifact
            The new version, or the existing one if another run wrote it in the meantime.

        Raises
        ------
        StoreError
            The store cannot be written to, the folder of the artifact is not the store's own, or the place of the version holds files
            that the store did not write.
        """

    def put(self, artifact: Artifact) -> Artifact:
        """Copy a version of another store into this one, completely or not at all.

        Raises
        ------
        StoreError
            The version is damaged, or the store cannot be written to.
        """

    def publish(self, artifact: Artifact) -> None:
        """Make a version the published one: point the address of its artifact at it, in one step.

        Raises
        ------
        StoreError
            The store cannot be written to, or the store did not make what is in the place of the pointer.
        """

    def published_path(self, address: str) -> Path:
        """Return the path of the folder of the published version of an artifact, without links in it."""

    def damage(self, address: str, version: Path) -> Sequence[str]:
        """Compare a version with its checksums, given its folder, and return one message per damaged file.

        Raises
        ------
        StoreAccessError
            A file may not be read.
        """

    def is_copy(self, address: str) -> bool:
        """Return whether the pointer of an artifact was replaced by a copy of a version, as in a store copied without links.

        Only a store on a disk can have such copies, so only its class overrides this method, `restore` and `restore_all`.
        """
        del address
        return False

    def restore(self, address: str) -> bool:
        """Restore the pointer of an artifact that was copied without links, and return whether there was a copy in its place.

        The copy becomes the version that its manifest names. If that version is already in the store, the copy is kept beside it.

        Raises
        ------
        StoreError
            The copy is damaged, or the folder of the artifact is not the store's own.
        """
        del address
        return False

    def restore_all(self) -> int:
        """Restore every pointer that was lost in a copy without links, and return their number. Damaged copies are skipped."""
        return 0

    def discard(self, address: str, version: Path) -> None:
        """Remove a damaged version from the store, given its folder, and then its pointer if it is the published version.

        Raises
        ------
        StoreError
            The store did not make the folder or something in it. Then nothing is removed.
        """

    def removing(self) -> AbstractContextManager[Callable[[str, Path], None]]:
        """Prevent new plans within the context, in which the versions that plans name are read and all others are removed.

        Yields
        ------
        callable
            Function that removes a version, given its address and its folder. If the version is published, its pointer is removed first.
            The caller must hold the lock of the address (see `lock_if_free`). The function raises a `ForeignFilesError`, and removes
            nothing, if the store did not make the folder or something in it.
        """

    def planning(self) -> AbstractContextManager[None]:
        """Prevent the removal of versions within the context, in which caches are looked up and a plan of them is published."""

    def lock(self, name: str, *, silent: bool = False) -> AbstractContextManager[None]:
        """Hold the lock of an address or another name of that form. Wait while another process holds it, with a message unless `silent`.

        The lock is released when the process ends, however it ends.
        """

    def lock_if_free(self, name: str) -> AbstractContextManager[bool]:
        """Hold the lock of a name unless another process holds it. Yields whether the lock is held."""

    @contextmanager
    def hold_run_lock(self, run_id: str) -> Iterator[None]:
        """Hold the lock of a run while one of its steps runs."""
        path = self.root / LOCKS / _AT_WORK / run_id
        with self.writing():
            create_lock(path)
        with locked(path):
            yield
            path.unlink(missing_ok=True)

    def is_run_active(self, run_id: str) -> bool:
        """Return whether a process holds the lock of a run."""
        return is_held(self.root / LOCKS / _AT_WORK / run_id)

    def state(self, kind: StateKind, name: str) -> State:
        """Return a small record that can be lost, such as the digests of a partition's files, by the name of a corpus or an address."""
        return State(Path(f"{self.root}/.{kind}/{name}.json"))

    def inner(self, name: str) -> "Store":
        """Return a store inside this one, whose artifacts are kept apart from those of corpora and mixtures."""

    def scratch(self, kind: ScratchKind, name: str) -> Path:
        """Return a folder, ``corpus/partition`` or one inside it, for files with which an interrupted run can continue."""
        return self.root / f".{kind}" / name

    def now(self) -> float:
        """Return the time by the clock of the store, as in `Artifact.written`, in seconds since 1970."""
        return time.time()

    def refresh(self) -> None:
        """Forget earlier listings, because other processes may have published since. A store on a disk keeps none."""
        return

    @property
    def exchange(self) -> Exchange | None:
        """The exchange of files in `scratch` between the machines of a run; None if all processes of the run see the same files."""
        return None

    def unfinished(self) -> Iterator[UnfinishedWork]:
        """Yield the partitions that have unfinished transfers or chunks."""
        for kind in ("transfers", "chunks"):
            for corpus in folders_in(self.root / f".{kind}"):
                for folder in folders_in(corpus):
                    address = Address(f"{corpus.name}/{kind}/{folder.name}")
                    yield UnfinishedWork(address=address, name=folder.relative_to(self.root).as_posix(), path=folder)

    def writing(self) -> AbstractContextManager[None]:
        """Turn errors about writing to the store, such as a full disk, into a `StoreError` that the user can act on."""

    def remove_abandoned_files(self, *, everywhere: bool = False) -> None:
        """Delete the files of dead writers, as the next writer would.

        Parameters
        ----------
        everywhere
            Whether to list a whole store in a bucket to find interrupted uploads.
        """


def find_version(version: Version, store: Store) -> Artifact | None:
    """Return an intact version, published or not; None if the store does not have it.

    Plans mostly name published versions, which a store in a bucket finds in the listing of their folder.
    """
    published = store.open(version.address, intact=True)
    return published if published and published.fingerprint == version.fingerprint else store.find(version.address, version.fingerprint)
