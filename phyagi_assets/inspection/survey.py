"""Survey of a store: the versions of its artifacts, and files that the store did not make.

Apart from interrupted transfers, ``clean`` removes only versions found here, and none that is `Version.protected`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.store.local import SET_ASIDE, VERSIONS, Store, is_copy, is_part, is_pointer, version_named
from phyagi_assets.store.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """One version of an artifact, published or not."""

    address: str
    fingerprint: str
    path: Path
    """Folder of the version, as a path in the store."""
    manifest: Manifest
    is_published: bool
    protected: str
    """Reason why the version must never be removed; empty if the store made all of it."""

    @property
    def name(self) -> str:
        """Name of the corpus or mixture."""
        return self.address.partition("/")[0]

    @property
    def partition(self) -> str:
        """Key of the partition; for an artifact without partitions, such as a plan, the name of its step."""
        return self.address.rpartition("/")[2]

    @property
    def is_plan(self) -> bool:
        """Whether this is the plan of a mixture."""
        return self.address.partition("/")[2] == MIXTURE.name

    @property
    def is_of_corpus(self) -> bool:
        """Whether this belongs to a whole corpus, and not to one of its partitions."""
        return self.address.count("/") == 1 and not self.is_plan


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreign:
    """A file, link or folder in a store that the store did not make, or cannot account for."""

    path: Path
    why: str
    """Reason why the store leaves it alone."""

    def __str__(self) -> str:
        return f"{self.path}: {self.why}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The contents of a store."""

    versions: list[Version] = field(default_factory=list)
    foreign: list[Foreign] = field(default_factory=list)


def survey(store: Store) -> Survey:
    """List every version in a store, and every foreign entry. The store's own records, whose names begin with a dot, are skipped."""
    found = Survey()
    for top in _entries(store.root):
        if not top.is_dir() or not is_part(top.name):
            found.foreign.append(_foreign(top))
            continue
        if top.is_symlink() and (why := store.foreign_folder(f"{top.name}/any")):
            found.foreign.append(Foreign(path=top, why=why))
        _look_into(store, top.name, found)
        for stage in _entries(top):
            if is_pointer(stage) or is_copy(stage):
                continue
            if not stage.is_dir() or not is_part(stage.name):
                found.foreign.append(_foreign(stage))
                continue
            if stage.is_symlink():
                found.foreign.append(_foreign(stage))
            _look_into(store, f"{top.name}/{stage.name}", found)
            found.foreign.extend(_foreign(path) for path in _entries(stage) if not is_pointer(path) and not is_copy(path))
    return found


def plans_in(store: Store) -> Iterator[Version]:
    """Return all versions of the plans of all mixtures."""
    return (version for version in survey(store).versions if version.is_plan)


def _look_into(store: Store, prefix: str, found: Survey) -> None:
    """Add the versions of the artifacts in one folder of the store to `found`."""
    folder = store.root / prefix / VERSIONS
    if folder.is_symlink():
        found.foreign.append(_foreign(folder))
    for path in _entries(folder):
        version = _version(store, prefix, path)
        if isinstance(version, Foreign):
            found.foreign.append(version)
            continue
        found.versions.append(version)
        if version.protected and not store.foreign_folder(version.address):  # a foreign folder is reported once, not per version
            found.foreign.append(Foreign(path=path, why=version.protected))
    set_aside = _entries(store.root / prefix / SET_ASIDE)
    found.foreign.extend(Foreign(path=path, why="was set aside, because its manifest could not be read") for path in set_aside)


def _version(store: Store, prefix: str, path: Path) -> Version | Foreign:
    named = version_named(path.name)
    if named is None or path.is_symlink() or not path.is_dir():
        return _foreign(path)
    address, fingerprint = f"{prefix}/{named[0]}", named[1]
    try:
        manifest = Manifest.read(path)
        is_published = store.leads_to(address) == fingerprint
    except StoreError as problem:
        return Foreign(path=path, why=f"cannot be accounted for ({problem})")
    if manifest.fingerprint != fingerprint or manifest.step != address.split("/")[1]:
        return Foreign(path=path, why="has the manifest of another artifact")
    return Version(
        address=address,
        fingerprint=fingerprint,
        path=path,
        manifest=manifest,
        is_published=is_published,
        protected=store.foreign(address, path) or ("" if store.made(address) else "the store has no record of having made it"),
    )


def _foreign(path: Path) -> Foreign:
    if path.is_symlink():
        return Foreign(path=path, why=f"is a link to {path.readlink()}, which the store did not make")
    return Foreign(path=path, why="was not made by the store")


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    except OSError:
        return []
