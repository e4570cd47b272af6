"""Check that a node of a cluster has what the tasks need: the same packages, the same folders, the same store, and scratch space.

The driver writes a marker, an empty file with a name that occurs nowhere else, into each folder that the tasks read or write. A node that
does not see the marker sees another folder, or none.
"""

import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from phyagi_assets.errors import EXTRAS, PhyagiAssetsError
from phyagi_assets.store.markers import StoreMarkers

_MARKER = ".phyagi-assets-nodes-"
_GONE = (0, 0)
"""Inode and time of change of a deleted folder. No folder on a node has them, so only the tasks that need the folder fail."""
_OUTPUT_PACKAGES = ("jinja2", "pyarrow", "tokenizers")
"""Packages whose version can change the ids or the bytes of a file."""
_PRESENT = "installed"


def installed_packages() -> dict[str, str]:
    """Return the versions of the packages that affect the output of tasks, and the presence of the other packages that tasks need.

    The value of a missing package is empty. Dagster is not included, because tasks do not need it.
    """
    needed = [name for name, extra in EXTRAS.items() if extra == "pipeline" and not name.startswith("dagster")]
    found = {name: _PRESENT if find_spec(name) else "" for name in needed}
    for name in _OUTPUT_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class NeededFolder:
    """A folder that the tasks of a run need on every node."""

    what: str
    """Purpose of the folder, for messages."""
    path: Path
    by_all: bool = True
    """Whether all tasks need it."""

    @property
    def named(self) -> str:
        """Return the end of a message about nodes that do not see the folder."""
        return f"the folder {self.path} ({self.what}) as this machine does; mount it at the same path on all nodes, or move it to a bucket"


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """Requirements that a node does not meet."""

    problem: str = ""
    """Message about a requirement of all tasks; empty if the node meets all of these."""
    unseen: frozenset[NeededFolder] = frozenset()
    """Folders that only some tasks need, and that the node does not see."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeCheck:
    """Requirements that every node of a cluster has to meet. It can be pickled."""

    folders: tuple[NeededFolder, ...] = ()
    store: StoreMarkers | None = None
    """The store to reach, if it is not in one of the folders."""
    marker: str = field(default_factory=lambda: f"{_MARKER}{uuid.uuid4().hex}")
    packages: Mapping[str, str] = field(default_factory=installed_packages)
    """The packages of the driver; see `installed_packages`."""
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
                    self.unmarked[str(folder.path)] = _GONE
                    with suppress(FileNotFoundError):
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
        """Return a requirement that this process does not meet, or an empty string."""
        return self._first(self.findings())

    def findings(self) -> Findings:
        """Return the requirements that this process does not meet: those of all tasks, and those of some."""
        unseen = [folder for folder in self.folders if not self._sees(folder.path)]
        problem = (
            self._other_package()
            or next((f"does not see {folder.named}" for folder in unseen if folder.by_all), "")
            or self._unusable_store()
        )
        return Findings(problem=problem, unseen=frozenset(folder for folder in unseen if not folder.by_all))

    def problems_of(self, nodes: Mapping[str, Findings]) -> dict[str, str]:
        """Return a message about each node that does not meet a requirement, by node id."""
        return {node: problem for node, findings in nodes.items() if (problem := self._first(findings))}

    def _first(self, findings: Findings) -> str:
        return findings.problem or next((f"does not see {folder.named}" for folder in self.folders if folder in findings.unseen), "")

    def needing(self, folders: Collection[Path]) -> "NodeCheck":
        """Return the check for tasks that need some of the folders that not all tasks need."""
        return replace(self, folders=tuple(folder for folder in self.folders if folder.by_all or folder.path in folders))

    def _other_package(self) -> str:
        for name, found in installed_packages().items():
            if not found and self.packages[name]:
                return f"has no {name}; pip install 'phyagi-assets[ray]' on all nodes, in the environment that Ray runs in"
            if name in _OUTPUT_PACKAGES and found != self.packages[name]:
                return (
                    f"has {name} {found}, and this machine {self.packages[name] or 'none'}; other versions could write other bytes; "
                    "install the same version on all nodes"
                )
        return ""

    def _unusable_store(self) -> str:
        if self.store is None:
            return ""
        try:
            if not self.store.is_marked(self.marker):
                return f"reaches another store at {self.store} than this machine; set the same endpoint in the environment of all nodes"
        except PhyagiAssetsError as problem:
            return f"cannot use the store: {problem}; the processes of a node use the credentials and endpoints of their own environment"
        try:
            self.store.try_scratch(self.marker)
        except PhyagiAssetsError as problem:
            return f"cannot use its scratch space: {problem} in the environment in which Ray was started there"
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
