"""Exchange of unfinished files between the machines of a run, through the bucket of the store.

The files of `BucketStore.scratch` are on one machine. If the tasks of a run are spread over machines, such files are also objects under
``.unfinished/``, with their paths in the scratch space. The server copies those that become files of a version to their place, and they
are deleted when the artifact is written.
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the client takes long to import
    from phyagi_assets.objects.bucket import BucketFolder

UNFINISHED = ".unfinished"


@dataclass(frozen=True, kw_only=True, slots=True)
class Exchange:
    """Exchange of unfinished files between the machines of a run.

    Parameters
    ----------
    root
        The scratch space of this machine.
    """

    bucket: "BucketFolder"
    root: Path

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def send(self, path: Path, checksum: str) -> None:
        """Upload a file of the scratch space, given the XXH3-128 of its content."""
        self.bucket.upload(path, self._key(path), checksum)

    def send_record(self, path: Path, record: Any) -> None:
        """Write a record of another file as an object, given the path that its own file would have."""
        self.bucket.write(self._key(path), json.dumps(record).encode())

    def receive(self, path: Path, size: int, checksum: str) -> None:
        """Download the object with the path of a file to that file."""
        self.bucket.download(self._key(path), path, size, checksum)

    def copy(self, path: Path, target: "BucketFolder", key: str, size: int, checksum: str) -> None:
        """Copy the object with the path of a file to another object of the bucket, if possible without fetching the content."""
        if not self.bucket.copy(self._key(path), target, key, size):
            self.receive(path, size, checksum)
            target.upload(path, key, checksum)
            path.unlink()

    def sizes(self, folder: Path) -> dict[Path, int]:
        """Return the sizes of the objects with the paths of files in a folder, in bytes, by these paths."""
        return {self.root / stored.key: stored.size for stored in self.bucket.list(self._key(folder))}

    def record(self, path: Path) -> Any:
        """Return a record that was sent, or None if it is missing or damaged."""
        with suppress(ValueError, RecursionError):
            return json.loads(self.bucket.read(self._key(path)) or b"null")
        return None

    def forget(self, folder: Path) -> None:
        """Delete the objects with the paths of files in a folder."""
        self.bucket.delete(stored.key for stored in self.bucket.list(self._key(folder)))

    def forget_abandoned(self, before: datetime) -> None:
        """Delete the objects of partitions without a new object since a time by the clock of the server."""
        by_partition: dict[str, list[tuple[datetime, str]]] = {}
        for stored in self.bucket.list():
            by_partition.setdefault("/".join(stored.key.split("/")[:3]), []).append((stored.written, stored.key))
        self.bucket.delete(key for objects in by_partition.values() if max(objects)[0] < before for _, key in objects)
