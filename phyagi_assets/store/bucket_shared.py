"""Files that many versions in a bucket have in common, such as those of a tokenizer: one object each, named by content."""

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.store.bucket_keys import shared_name
from phyagi_assets.store.disk import link
from phyagi_assets.store.manifest import FileRecord


class SharedFiles:
    """The shared files of a store in a bucket. It can be pickled.

    Parameters
    ----------
    copies
        Folder of the copies on this machine, to which versions have hard links.
    """

    def __init__(self, folder: BucketFolder, copies: Path) -> None:
        self.folder, self._copies = folder, copies
        self._listed: dict[str, StoredObject] | None = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedFiles, (self.folder, self._copies)

    def objects(self, *, anew: bool = False) -> Mapping[str, StoredObject]:
        """Return the objects by name, listed before unless `anew` is set."""
        with self._lock:
            if self._listed is None or anew:
                self._listed = {stored.key: stored for stored in self.folder.list()}
            return self._listed

    def forget(self) -> None:
        """Forget what was listed."""
        with self._lock:
            self._listed = None

    def missing(self, wanted: Collection[FileRecord]) -> set[str]:
        """Return the names of the objects that do not exist or have another size."""
        if not wanted:
            return set()
        for anew in (False, True):
            sizes = {name: stored.size for name, stored in self.objects(anew=anew).items()}
            missing = {shared_name(record) for record in wanted if sizes.get(shared_name(record)) != record.bytes}
            if not missing:
                break
        return missing

    def upload(self, path: Path, record: FileRecord, listed: Mapping[str, StoredObject]) -> None:
        """Upload a file unless it is among the listed objects; a damaged object is replaced."""
        there = listed.get(shared_name(record))
        if there is None or there.size != record.bytes or there.tells_content:
            self.folder.upload(path, shared_name(record), record.xxh3_128, there)

    def fetch(self, record: FileRecord, path: Path) -> None:
        """Fetch a file, and link it to a path."""
        copy = self._copies / shared_name(record)
        if not record.is_size_of(copy):
            self.folder.download(shared_name(record), copy, record.bytes, record.xxh3_128)
        with suppress(FileNotFoundError):
            path.unlink()
        link(copy, path)
