"""Markers by which the processes of a run check that they use the same store in a bucket."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phyagi_assets.store.pickling import Pickling

if TYPE_CHECKING:
    from phyagi_assets.objects.bucket import BucketFolder

_TRIED = 1 << 20
"""Size of the file that is written to try the scratch space, in bytes."""


@dataclass(frozen=True, slots=True)
class StoreMarkers:
    """Markers in a store in a bucket, by which processes check that they use the same one. It can be pickled."""

    pickling: Pickling

    def __str__(self) -> str:
        return str(self.pickling.place)

    @property
    def _folder(self) -> "BucketFolder":
        from phyagi_assets.objects.bucket import BucketFolder

        return BucketFolder(str(self.pickling.place)).folder(".nodes")

    def mark(self, name: str) -> None:
        """Write a marker."""
        self._folder.write(name, b"")

    def unmark(self, name: str) -> None:
        """Remove a marker."""
        self._folder.delete([name])

    def is_marked(self, name: str) -> bool:
        """Return whether this process sees a marker."""
        return self._folder.read(name) is not None

    def try_scratch(self, name: str) -> None:
        """Try the scratch space of this process: write a file to it, and remove the file.

        Raises
        ------
        StoreError
            The scratch folder cannot be created or written to, or its disk is full.
        """
        store = self.pickling.store
        with store.writing():
            store.root.mkdir(parents=True, exist_ok=True)
            path = store.root / name
            try:
                path.write_bytes(bytes(_TRIED))
            finally:
                path.unlink(missing_ok=True)
