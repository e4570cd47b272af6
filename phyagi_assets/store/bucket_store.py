"""The store in a bucket of an object store.

::

    shakespeare/numpy_cache/.artifacts/hamlet@<fingerprint>/   a version: its files, and the manifest, which is uploaded last
    shakespeare/numpy_cache/.published/hamlet/0000000007@…     the pointer: an empty object that names the fingerprint of a version
    .shared/<checksum>-<size>                                  a file of a tokenizer, once for all versions that have it

A version without a manifest does not exist. Its objects are never edited. Publishing creates one object, whose key has the next number of
its address. Readers take the highest number, and delete none. The keys in a listing tell readers all that they need about a folder.

Steps work in `Scratch`, a local store: versions built there are uploaded, and files are fetched to it to be read.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phyagi_assets.errors import ForeignFilesError, StoreError
from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.store.addresses import Address, Version, split_version_name
from phyagi_assets.store.artifact import Artifact, Assembled, Fill, FinishedFile, StoredVersion
from phyagi_assets.store.base import Foreign, Store, Survey
from phyagi_assets.store.bucket_files import BucketFiles
from phyagi_assets.store.bucket_keys import SHARED, VERSIONS, file_key, pointer_key, version_key
from phyagi_assets.store.bucket_listing import FolderListing, Listings, Objects
from phyagi_assets.store.bucket_manifests import BucketManifests
from phyagi_assets.store.bucket_shared import SharedFiles
from phyagi_assets.store.disk import size_of_files
from phyagi_assets.store.exchange import UNFINISHED, Exchange
from phyagi_assets.store.leases import Leases
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest, is_shared
from phyagi_assets.store.scratch import Scratch

_MANIFESTS = ".manifests"
_BUILDING, _REMOVALS = "building", "removals"
"""Folders of leases."""
_RUNS = "runs"
"""First part of the names of the locks of runs."""
_BROKEN_OFF = timedelta(days=1)
"""Age after which the last object of a version without a manifest, or a file of a process, counts as abandoned."""
logger = logging.getLogger(__name__)


class BucketStore(Store):
    """A store of published artifacts in a bucket. It can be pickled.

    Parameters
    ----------
    bucket
        Folder of the store.
    local
        Scratch space on this machine.
    shared
        Files that the versions of several stores have in common; by default, those of this store alone.
    holder
        Name of a run whose processes on several machines share leases and exchange unfinished files. If a machine dies, another process of
        the run can take over its work without waiting for its lease to expire.
    """

    def __init__(self, bucket: BucketFolder, local: Scratch, shared: SharedFiles | None = None, holder: str = "") -> None:
        self.bucket, self.local, self.root = bucket, local, local.root
        self.shared = shared or SharedFiles(bucket.folder(SHARED), local.root / SHARED)
        self.manifests = BucketManifests(bucket, local.root / _MANIFESTS, local.writing)
        self._holder = holder
        self._listings = Listings(bucket)
        self._inner: dict[str, BucketStore] = {}
        self._locked: dict[str, tuple[int, int]] = {}
        """Process and thread that hold each lock, by its name."""

    @cached_property
    def _leases(self) -> Leases:
        machine = self._holder or f"{socket.gethostname()}:{self.local.root}:{self.local.identity()}"
        return Leases(folder=self.bucket.folder(".leases"), machine=machine)

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketStore, (self.bucket, self.local, self.shared, self._holder)

    def __str__(self) -> str:
        return self.bucket.address

    @property
    def is_remote(self) -> bool:
        return True

    def names(self) -> Sequence[str]:
        return sorted({folder.partition("/")[0] for folder in self._listings.all()[0]})

    def place(self, name: str) -> str:
        return f"{self.bucket.address}/{name}"

    def open(self, address: str, *, intact: bool = False) -> Artifact | None:
        parsed = Address(address)
        with self._listings.lock:
            known = self._listings.folder(parsed.folder)
            fingerprint, pointer = known.published(parsed.key)
            if not fingerprint:
                return None
            version = Version(parsed, fingerprint)
            objects = known.versions.get(version.folder_name, {})
            if MANIFEST in objects and self.manifests.recall(version, objects) is None:
                if known.has_missed:  # probably, all are needed
                    self.manifests.fetch(parsed.folder, known)
                known.has_missed = True
        return self._artifact(version, objects, pointer, intact=intact)

    def find(self, address: str, fingerprint: str, holding: Collection[str] = (), *, lately: bool = False) -> Artifact | None:
        version = Version(Address(address), fingerprint)
        objects = self._listings.version_lately(version) if lately else self._listings.version(version)
        artifact = self._artifact(version, objects, None, intact=True)
        return artifact if artifact and artifact.holds(holding) else None

    def list(self) -> Iterator[Address]:
        for prefix, folder in sorted(self._listings.folders().items()):
            yield from (Address(f"{prefix}/{key}") for key in sorted(folder.pointers) if folder.pointers[key])

    def versions(self) -> Iterator[Artifact]:
        for prefix, folder in sorted(self._listings.all()[0].items()):
            self.manifests.fetch(prefix, folder)
            for name, objects in sorted(folder.versions.items()):
                if (version := Version.of_folder(prefix, name)) and (found := self._artifact(version, objects, None, intact=False)):
                    yield found

    def survey(self) -> Survey:
        folders, foreign = self._listings.all()
        found = Survey(foreign=[Foreign(path=self.place(key), why="was not made by the store") for key in foreign])
        for prefix, folder in sorted(folders.items()):
            self.manifests.fetch(prefix, folder)
            for name, objects in sorted(folder.versions.items()):
                version = Version.of_folder(prefix, name)
                if version is None:
                    found.foreign.append(Foreign(path=self.place(f"{prefix}/{VERSIONS}/{name}"), why="was not made by the store"))
                elif MANIFEST in objects:  # otherwise, its upload has not ended
                    self._survey_version(version, objects, folder, found)
        return found

    def _survey_version(self, version: Version, objects: Objects, folder: FolderListing, found: Survey) -> None:
        published, pointer = folder.published(version.address.key)
        artifact = self._artifact(version, objects, pointer, intact=False)
        if artifact is None:
            place = self.place(version_key(version))
            found.foreign.append(Foreign(path=place, why="has no manifest that can be read, or that of another version", version=version))
            return
        unknown = sorted(objects.keys() - {MANIFEST, *artifact.manifest.files})
        protected = f"{unknown[0]} in it was not written by the store" if unknown else ""
        if protected:
            found.foreign.append(Foreign(path=self.place(version_key(version)), why=protected))
        found.versions.append(
            StoredVersion(
                address=version.address,
                path=artifact.path,
                manifest=artifact.manifest,
                remote=artifact.remote,
                is_published=published == version.fingerprint,
                protected=protected,
            )
        )

    def published_fingerprint(self, address: str) -> str:
        pointers = self._listings.pointers(Address(address))
        return max(pointers)[1] if pointers else ""

    def write(self, address: str, manifest: Manifest, fill: Fill, holding: Collection[str] = ()) -> Artifact:
        version = Version(Address(address), manifest.fingerprint)
        owner = _Owner()  # the version is held until it is uploaded
        self.local.hold(version, owner)
        self.local.forget_unfinished(version)
        built = self.local.find(address, manifest.fingerprint, holding)  # the upload was interrupted, or its result is damaged
        if built and built.damage(checksums=True):
            self.local.forget(version)
            built = None
        finished: dict[str, FinishedFile] = {}

        def filled(folder: Path) -> Manifest | Assembled:
            content = fill(folder)
            if isinstance(content, Assembled):
                finished.update(content.finished)
            return content

        built = built or self.local.write(address, manifest, filled, holding)
        self.local.make_room(size_of_files(built.path))
        return self._upload(version, built, holding, finished)

    def put(self, artifact: Artifact) -> Artifact:
        if not artifact.remote and (damage := artifact.damage()):
            raise StoreError("\n".join(damage))
        artifact.folder()
        return self._upload(artifact.version, artifact, artifact.manifest.files)

    def _upload(
        self, version: Version, built: Artifact, holding: Collection[str], finished: Mapping[str, FinishedFile] = MappingProxyType({})
    ) -> Artifact:
        """Upload a built version, unless another machine has done so in the meantime. The manifest is uploaded last."""
        objects = self._listings.version_lately(version)
        there = self._artifact(version, objects, None, intact=True)
        if there and there.holds(holding):
            return there
        if MANIFEST in objects:  # of a damaged version
            self.bucket.delete([file_key(version, MANIFEST)])
        uploaded: dict[str, StoredObject] = {}
        is_known = not objects  # whether the version consists of what is uploaded here

        def upload(item: tuple[str, FileRecord]) -> None:
            nonlocal is_known
            name, record = item
            if name in finished and not (built.path / name).exists():
                self._exchange().copy(finished[name].path, self.bucket, file_key(version, name), record.bytes, record.xxh3_128)
                is_known = False
            elif is_shared(name):
                self.shared.upload(built.path / name, record)
            else:
                uploaded[name] = self.bucket.upload(built.path / name, file_key(version, name), record.xxh3_128, objects.get(name))

        def upload_manifest() -> None:
            uploaded[MANIFEST] = self.manifests.write(version, built.manifest)

        list(concurrently(upload, sorted(built.manifest.files.items())))
        last: Sequence[Callable[[], None]] = (upload_manifest, partial(self._listings.list_ahead, version.address))
        list(concurrently(lambda request: request(), last))
        if is_known:
            self._listings.note_version(version, uploaded)
        outdated = there.manifest.files.keys() - built.manifest.files.keys() if there else ()
        self.bucket.delete(file_key(version, name) for name in outdated if name in objects)
        written = self.find(version.address, version.fingerprint, lately=is_known)
        if written is None:
            place = self.place(version_key(version))
            raise StoreError(f"{place}: is not what was uploaded; another command changes it; run the command again")
        return written

    def publish(self, artifact: Artifact) -> None:
        address = artifact.version.address
        pointers = self._listings.pointers_ahead(address)
        newest = max(pointers, default=(0, ""))
        if newest[1] != artifact.fingerprint:
            newest = newest[0] + 1, artifact.fingerprint
            self.bucket.create(pointer_key(address, newest), b"")
        self.bucket.delete(pointer_key(address, older) for older in pointers if older < newest)
        self._listings.note_pointer(address, newest, pointers.get(newest))

    def published_path(self, address: str) -> Path:
        parsed = Address(address)
        return self.version_path(parsed, self._listings.folder(parsed.folder).published(parsed.key)[0])

    def damage(self, address: str, version: Path) -> Sequence[str]:
        checked = Version(Address(address), split_version_name(version.name)[1])
        artifact = self._artifact(checked, self._listings.version(checked), None, intact=False)
        if artifact is None:
            return [f"{self.place(file_key(checked, MANIFEST))}: is missing, or is not a manifest of this version"]
        with self.local.writing():
            copies = ((artifact.path / name, record) for name, record in artifact.manifest.files.items())
            if any(path.is_file() and FileRecord.of(path) != record for path, record in copies):
                self.local.forget(checked)  # it is fetched again; the objects may be intact
        return artifact.damage(checksums=True)

    def discard(self, address: str, version: Path) -> None:
        discarded = Version(Address(address), split_version_name(version.name)[1])
        objects = self._listings.version(discarded)
        manifest = self.manifests.read(discarded, objects) if MANIFEST in objects else None
        if manifest and (unknown := sorted(objects.keys() - {MANIFEST, *manifest.files})):
            raise ForeignFilesError(
                f"{self.place(version_key(discarded))}: {unknown[0]} in it was not written by the store; the version is left as it is"
            )
        if MANIFEST in objects:
            self.bucket.delete([file_key(discarded, MANIFEST)])
        recorded = objects.keys() & set(manifest.files) if manifest else set()
        self.bucket.delete(file_key(discarded, name) for name in recorded)
        pointers = self._listings.pointers(discarded.address)
        if pointers and max(pointers)[1] == discarded.fingerprint:
            for pointer in sorted(pointers):  # the newest last: an older one must not become the published one
                self.bucket.delete([pointer_key(discarded.address, pointer)])
        self.local.forget(discarded)
        self._listings.forget(discarded.address.folder)

    @contextmanager
    def removing(self) -> Iterator[Callable[[str, Path], None]]:
        with self.local.removing(), self._leases.held(f"{_REMOVALS}/{uuid.uuid4().hex}") as is_held:

            def remove(address: str, version: Path) -> None:
                if not is_held():
                    raise StoreError(f"{self}: was not reached for some time; nothing more is removed; run the command again")
                self.discard(address, version)

            yield remove

    @contextmanager
    def planning(self) -> Iterator[None]:
        # A remover takes its lease before it reads the plans, and a planner looks for leases after it has published its plan: one of them
        # sees the other.
        with self.local.planning():
            self._wait_for_removals()
            yield
            if self._wait_for_removals():
                raise StoreError(f"{self}: another machine removed versions while a plan was made; run the command again")

    def _wait_for_removals(self) -> int:
        """Wait until no other machine removes versions, and return how many did."""
        names = self._leases.names(_REMOVALS)
        for name in names:
            logger.info("versions are being removed by another machine; waiting for it")
            self._leases.wait(name)
        return len(names)

    @contextmanager
    def lock(self, name: str, *, silent: bool = False) -> Iterator[None]:
        lock = _lock_name(name)
        if self._locked.get(lock) == _this_thread():
            yield
            return
        waiting = "" if silent else f"{name} is being built"
        with self.local.lock(lock, silent=silent), self._leases.held(_lease_key(lock), waiting), self._holding(lock):
            yield

    @contextmanager
    def lock_if_free(self, name: str) -> Iterator[bool]:
        lock = _lock_name(name)
        if self._locked.get(lock) == _this_thread():
            yield True
            return
        with self.local.lock_if_free(lock) as free:
            if not free:
                yield False
                return
            with self._leases.held_if_free(_lease_key(lock)) as held, self._holding(lock) if held else nullcontext():
                yield held

    @contextmanager
    def _holding(self, lock: str) -> Iterator[None]:
        """Record that this thread holds a lock, so that it can take it again."""
        self._locked[lock] = _this_thread()
        try:
            yield
        finally:
            del self._locked[lock]

    def inner(self, name: str) -> "BucketStore":
        return self._inner.setdefault(name, BucketStore(self.bucket.folder(f".{name}"), self.local.inner(name), self.shared, self._holder))

    def now(self) -> float:
        try:
            return self._leases.now().timestamp()
        except StoreError:  # the user has no right to write
            return super().now()

    def refresh(self) -> None:
        self._listings.forget_all()

    @property
    def exchange(self) -> Exchange | None:
        return self._exchange() if self._holder else None

    def _exchange(self) -> Exchange:
        return Exchange(bucket=self.bucket.folder(UNFINISHED), root=self.local.root)

    def writing(self) -> AbstractContextManager[None]:
        return self.local.writing()

    def remove_abandoned_files(self, *, everywhere: bool = False) -> None:
        self.local.remove_abandoned_files()
        if everywhere:
            uploads = (uploaded for folder in self._listings.all()[0].values() for uploaded in folder.versions.values())
            broken_off = [uploaded.values() for uploaded in uploads if uploaded and MANIFEST not in uploaded]
            before = datetime.fromtimestamp(self.now(), UTC) - _BROKEN_OFF
            old = (stored for uploaded in broken_off if max(each.written for each in uploaded) < before for stored in uploaded)
            self.bucket.delete(stored.key for stored in old)
            self._exchange().forget_abandoned(before)
            self._leases.forget_abandoned(before)

    def _artifact(self, version: Version, objects: Objects, published: StoredObject | None, *, intact: bool) -> Artifact | None:
        if MANIFEST not in objects:
            return None
        manifest = self.manifests.read(version, objects)
        if manifest is None:
            return None
        files = BucketFiles(self, version, manifest, dict(objects), published)
        if intact and files.damage(checksums=False):
            return None
        return Artifact(address=version.address, path=self.local.root / version.path, manifest=manifest, remote=files)


def _lock_name(name: str) -> str:
    """Return the name of the lock to take for a name. All steps of a partition share the lock of its run, which saves requests."""
    address = Address(name)
    return f"{_RUNS}/{address.name}/{address.key}" if address.is_of_partition and address.name != _RUNS else name


def _lease_key(name: str) -> str:
    """Return the key of the lease of an address. Some servers store objects as files: no key may be a folder of another one."""
    return f"{_BUILDING}/{Address(name)}/.lease"


def _this_thread() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


class _Owner:
    """Owner of a held version."""
