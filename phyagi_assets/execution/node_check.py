"""Check that a node of a cluster has what the tasks need: the same package, the same folders, the same store.

The driver writes a marker, an empty file with a name that occurs nowhere else, into each folder that the tasks read or write. A node that
does not see the marker sees another folder, or none.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from phyagi_assets import __version__
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.store.parcels import StoreMarkers

_MARKER = ".phyagi-assets-nodes-"


@dataclass(frozen=True, kw_only=True, slots=True)
class NeededFolder:
    """A folder that the tasks of a run need on every node."""

    what: str
    """Purpose of the folder, for messages."""
    path: Path


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeCheck:
    """What every node of a cluster has to have. It can be pickled."""

    folders: tuple[NeededFolder, ...] = ()
    """Folders to see."""
    store: StoreMarkers | None = None
    """The store to reach, if it is not in one of the folders."""
    marker: str = field(default_factory=lambda: f"{_MARKER}{uuid.uuid4().hex}")
    version: str = __version__
    """Version of the package that the driver has."""
    unmarked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Inode and time of change of each folder that the driver cannot write to, by path."""

    @contextmanager
    def marked(self) -> Iterator[None]:
        """Mark the folders within the context."""
        try:
            for folder in self.folders:
                try:
                    (folder.path / self.marker).touch()
                except OSError:
                    self.unmarked[str(folder.path)] = _stamp(folder.path)
            if self.store:
                self.store.mark(self.marker)
            yield
        finally:
            if self.store:
                with suppress(PhyagiAssetsError):
                    self.store.unmark(self.marker)
            for folder in self.folders:
                with suppress(OSError):
                    (folder.path / self.marker).unlink()

    def problem(self) -> str:
        """Return what this process lacks, or an empty string."""
        if self.version != __version__:
            return f"has phyagi-assets {__version__}, and this command {self.version}; install the same version on all nodes"
        for folder in self.folders:
            if not self._sees(folder.path):
                return (
                    f"does not see the folder {folder.path} ({folder.what}) as this machine does; "
                    "mount it at the same path on all nodes, or move it to a bucket"
                )
        try:
            if self.store and not self.store.is_marked(self.marker):
                return f"reaches another store at {self.store} than this machine; set the same endpoint in the environment of all nodes"
        except PhyagiAssetsError as problem:
            return f"cannot use the store: {problem}; the processes of a node use the credentials and endpoints of their own environment"
        return ""

    def _sees(self, folder: Path) -> bool:
        try:
            known = self.unmarked.get(str(folder))
            return (folder / self.marker).exists() if known is None else _stamp(folder) == known
        except OSError:
            return False


def _stamp(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_ino, status.st_mtime_ns
