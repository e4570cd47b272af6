"""Listings of a store in a bucket, cached for some seconds."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.bucket_keys import PUBLISHED, VERSIONS, parsed_pointer, split_key, version_key

FRESH = 10.0
"""Time for which a listing is reused, in seconds."""
_SHARE_OF_LISTING = 0.1
"""Largest share of the time that listings take: a slow listing is reused for longer."""

Objects = Mapping[str, StoredObject]
"""Objects of one version, by path relative to its folder."""
Pointers = Mapping[tuple[int, str], StoredObject]
"""Pointers of one artifact, by their number and fingerprint."""


@dataclass(kw_only=True, slots=True)
class FolderListing:
    """Contents of one folder of artifacts, from a listing."""

    until: float
    """Time after which the folder is listed again."""
    versions: dict[str, dict[str, StoredObject]] = field(default_factory=lambda: defaultdict(dict))
    """Objects by name of the version and path in it."""
    pointers: dict[str, dict[tuple[int, str], StoredObject]] = field(default_factory=lambda: defaultdict(dict))
    """Pointers by key, and by their number and fingerprint."""
    alone: dict[str, float] = field(default_factory=dict)
    """Expiry times of separate listings of a version or of pointers, by name of the version or key of the pointers."""
    has_missed: bool = False
    """Whether a manifest of the folder had to be fetched."""

    def add(self, found: Iterable[tuple[str, StoredObject]]) -> None:
        """Add objects, given their paths in the folder."""
        for path, stored in found:
            kind, _, rest = path.partition("/")
            name, _, file = rest.partition("/")
            if kind == VERSIONS and file:
                self.versions[name][file] = stored
            elif kind == PUBLISHED and (pointer := parsed_pointer(file)):
                self.pointers[name][pointer] = stored

    def published(self, key: str) -> tuple[str, StoredObject | None]:
        """Return the fingerprint of the published version of an artifact and the pointer to it; an empty string and None without one."""
        if not (pointers := self.pointers.get(key)):
            return "", None
        newest = max(pointers)
        return newest[1], pointers[newest]


class Listings:
    """The latest listings of the folders of a store in a bucket."""

    def __init__(self, bucket: BucketFolder) -> None:
        self._bucket = bucket
        self._folders: dict[str, FolderListing] = {}
        self._all_until = 0.0
        """Time until which the listed folders count as complete."""
        self.lock = threading.RLock()
        """Held while listings change."""

    def folders(self) -> Mapping[str, FolderListing]:
        """Return all folders of artifacts; list the store unless it was listed recently."""
        with self.lock:
            return self._folders if self._all_until > time.monotonic() else self.all()[0]

    def all(self) -> tuple[Mapping[str, FolderListing], Sequence[str]]:
        """List the whole store. Return its folders of artifacts, and the keys of the objects that the store did not make."""
        folders: dict[str, FolderListing] = {}
        foreign = []
        with self.lock:
            began = time.monotonic()
            found = self._bucket.list()
            until = _used_until(began)
            for stored in found:
                if stored.key.startswith("."):
                    continue
                folder, path = split_key(stored.key)
                if folder:
                    folders.setdefault(folder, FolderListing(until=until)).add([(path, stored)])
                else:
                    foreign.append(stored.key)
            self._folders, self._all_until = folders, until
        return folders, foreign

    def folder(self, folder: str) -> FolderListing:
        """Return the listing of a folder of artifacts; list it if the listing is missing or too old."""
        with self.lock:
            known = self._folders.get(folder)
            if known is None or known.until < time.monotonic():
                began = time.monotonic()
                found = list(concurrently(lambda kind: self._bucket.list(f"{folder}/{kind}"), (VERSIONS, PUBLISHED)))
                known = self._folders[folder] = FolderListing(until=_used_until(began))
                known.add((stored.key.removeprefix(f"{folder}/"), stored) for part in found for stored in part)
            return known

    def version(self, version: Version) -> Objects:
        """List the objects of one version."""
        objects = {stored.key.removeprefix(f"{version_key(version)}/"): stored for stored in self._bucket.list(version_key(version))}
        self.note_version(version, objects)
        return objects

    def note_version(self, version: Version, objects: dict[str, StoredObject]) -> None:
        """Record the current objects of a version."""
        with self.lock:
            known = self._known(version.address.folder)
            known.versions[version.folder_name] = objects
            known.alone[version.folder_name] = time.monotonic() + FRESH

    def version_lately(self, version: Version) -> Objects:
        """Return the objects of one version from a recent listing; list them if there is none."""
        with self.lock:
            known, now = self._known(version.address.folder), time.monotonic()
            if max(known.until, known.alone.get(version.folder_name, 0.0)) > now:
                return known.versions.get(version.folder_name, {})
        return self.version(version)

    def pointers(self, address: Address) -> Pointers:
        """List the pointers of one artifact, by their number and fingerprint."""
        listed = self._bucket.list(f"{address.folder}/{PUBLISHED}/{address.key}")
        pointers = {found: stored for stored in listed if (found := parsed_pointer(stored.key.rpartition("/")[2]))}
        with self.lock:
            self._known(address.folder).pointers[address.key] = pointers
        return pointers

    def list_ahead(self, address: Address) -> None:
        """List the pointers of one artifact ahead, because it is about to be published."""
        self.pointers(address)
        with self.lock:
            self._known(address.folder).alone[address.key] = time.monotonic() + FRESH

    def pointers_ahead(self, address: Address) -> Pointers:
        """Return the pointers of one artifact as `list_ahead` found them; list them if it was not called recently."""
        with self.lock:
            known = self._known(address.folder)
            if known.alone.pop(address.key, 0.0) > time.monotonic():
                return known.pointers.get(address.key, {})
        return self.pointers(address)

    def _known(self, folder: str) -> FolderListing:
        """Return the cached listing of a folder of artifacts; an empty one if there is none."""
        return self._folders.setdefault(folder, FolderListing(until=0.0))

    def note_pointer(self, address: Address, newest: tuple[int, str], stored: StoredObject | None) -> None:
        """Record that a pointer is now the only one of its artifact; if `stored` is None, it was just created."""
        with self.lock:
            pointer = stored or StoredObject(key="", size=0, e_tag="", written=datetime.now(UTC))
            self._known(address.folder).pointers[address.key] = {newest: pointer}

    def forget(self, folder: str) -> None:
        """Forget a folder of artifacts."""
        with self.lock:
            self._folders.pop(folder, None)
            self._all_until = 0.0

    def forget_all(self) -> None:
        """Forget all listings, because other processes may have published since."""
        with self.lock:
            self._folders, self._all_until = {}, 0.0


def _used_until(began: float) -> float:
    """Return the time until which a listing that began at a time is reused."""
    now = time.monotonic()
    return now + max(FRESH, (now - began) / _SHARE_OF_LISTING)
