"""Files that many versions in a bucket have in common, such as those of a tokenizer: one object each, named by content."""

import os
import shutil
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from phyagi_assets.objects.bucket import BucketFolder, StoredObject
from phyagi_assets.store.bucket_keys import shared_name
from phyagi_assets.store.bucket_listing import FRESH
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
        self._listed, self._until = dict[str, StoredObject](), 0.0
        """The latest listing of the objects, and the time until which it is used."""
        self._sound: dict[str, str] = {}
        """ETags of the objects whose content is that of a local file, by name."""
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedFiles, (self.folder, self._copies)

    def objects(self, *, refresh: bool = False) -> Mapping[str, StoredObject]:
        """Return the objects by name, from a listing that is at most some seconds old; if `refresh` is set, from a new listing."""
        with self._lock:
            if refresh or self._until < time.monotonic():
                self._listed = {stored.key: stored for stored in self.folder.list()}
                self._until = time.monotonic() + FRESH
            return self._listed

    def missing(self, wanted: Collection[FileRecord]) -> set[str]:
        """Return the names of the objects that do not exist or have another size."""
        if not wanted:
            return set()
        for refresh in (False, True):
            sizes = {name: stored.size for name, stored in self.objects(refresh=refresh).items()}
            missing = {shared_name(record) for record in wanted if sizes.get(shared_name(record)) != record.bytes}
            if not missing:
                break
        return missing

    def upload(self, path: Path, record: FileRecord) -> None:
        """Upload a file unless its object exists; a damaged object is replaced."""
        name = shared_name(record)
        there = self.objects().get(name)
        if there is None or there.size != record.bytes or (there.has_checksum and self._sound.get(name) != there.e_tag):
            stored = self.folder.upload(path, name, record.xxh3_128, there)
            with self._lock:
                self._listed[name], self._sound[name] = stored, stored.e_tag

    def fetch(self, record: FileRecord, path: Path) -> None:
        """Fetch a file, and link it to a path, unless another thread or process has done so."""
        copy = self._copies / shared_name(record)
        if not record.is_size_of(copy):
            self.folder.download(shared_name(record), copy, record.bytes, record.xxh3_128)
        if record.is_size_of(path):
            return
        if os.path.lexists(path):
            path.unlink(missing_ok=True)
        with suppress(shutil.SameFileError):  # another thread created it
            link(copy, path)
