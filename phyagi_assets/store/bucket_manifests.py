"""Manifests of versions in a bucket, cached in memory and on this machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.bucket_keys import file_key, version_key
from phyagi_assets.store.bucket_listing import FolderListing, Objects
from phyagi_assets.store.disk import replace_file
from phyagi_assets.store.manifest import MANIFEST, Manifest


class BucketManifests:
    """The manifests of the versions of a store in a bucket.

    Parameters
    ----------
    copies
        Folder of the copies on this machine.
    writing
        Context in which copies are written; see `Store.writing`.
    """

    def __init__(self, bucket: BucketFolder, copies: Path, writing: Callable[[], AbstractContextManager[None]]) -> None:
        self._bucket, self._copies, self._writing = bucket, copies, writing
        self._known: dict[tuple[str, str], Manifest | None] = {}
        """Manifests by the key of their version and their entity tag; None for those that cannot be read."""

    def recall(self, version: Version, objects: Objects) -> Manifest | None:
        """Return the manifest of a version if it is cached."""
        stored = objects[MANIFEST]
        known = (version_key(version), stored.e_tag)
        if known not in self._known:
            try:
                content = self._copy(version, stored).read_bytes()
            except OSError:
                return None
            if (manifest := self._parsed(content, version)) is None:  # the copy may be damaged, and the object intact
                return None
            self._known[known] = manifest
        return self._known[known]

    def read(self, version: Version, objects: Objects) -> Manifest | None:
        """Return the manifest of a version; None if it cannot be read, or is of another version."""
        known = (version_key(version), objects[MANIFEST].e_tag)
        if known not in self._known and self.recall(version, objects) is None:
            content = self._bucket.read(file_key(version, MANIFEST))
            if content is None:  # removed since the listing
                return None
            self._keep(version, objects[MANIFEST], content)
        return self._known[known]

    def write(self, version: Version, manifest: Manifest) -> StoredObject:
        """Upload the manifest of a version, and cache it."""
        content = manifest.to_json().encode()
        stored = self._bucket.write_verified(file_key(version, MANIFEST), content)
        self._keep(version, stored, content)
        return stored

    def _keep(self, version: Version, stored: StoredObject, content: bytes) -> None:
        with self._writing():
            replace_file(self._copy(version, stored), content)
        self._known[version_key(version), stored.e_tag] = self._parsed(content, version)

    def fetch(self, folder: str, listing: FolderListing) -> None:
        """Fetch the manifests of a folder that are not cached, several at once."""
        versions = ((Version.of_folder(folder, name), objects) for name, objects in listing.versions.items() if MANIFEST in objects)
        missing = [(version, objects) for version, objects in versions if version and self.recall(version, objects) is None]
        list(concurrently(lambda item: self.read(*item), missing))

    def _parsed(self, content: bytes, version: Version) -> Manifest | None:
        try:
            manifest = Manifest.parse(content, f"{self._bucket.address}/{file_key(version, MANIFEST)}")
        except StoreError:
            return None
        return manifest if manifest.fingerprint == version.fingerprint else None

    def _copy(self, version: Version, stored: StoredObject) -> Path:
        tag = "".join(letter for letter in stored.e_tag if letter.isalnum()) or "none"
        return self._copies / f"{version_key(version)}.{tag}-{stored.size}.json"
