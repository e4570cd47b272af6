"""Survey of a local store: the versions of its artifacts, and files that the store did not make.

Apart from interrupted transfers, ``clean`` removes only versions found here, and none that is `StoredVersion.protected`.
"""

from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.store.addresses import VERSIONS, Address, Version, is_part, spare_of
from phyagi_assets.store.artifact import StoredVersion
from phyagi_assets.store.base import Foreign, Store, Survey
from phyagi_assets.store.disk import is_unreachable
from phyagi_assets.store.locks import LOCKS
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.store.ownership import foreign_folder, foreign_version, is_published

SET_ASIDE = ".damaged"
"""Folder for damaged versions whose manifest cannot be read, so that the files written by the store are unknown."""


def survey(store: Store) -> Survey:
    """List every version in a store, and every foreign entry. The store's own records, whose names begin with a dot, are skipped."""
    found, root = Survey(), store.root
    for top in entries(root):
        if not top.is_dir() or not is_part(top.name):
            found.foreign.append(_foreign(top))
            continue
        if top.is_symlink() and (why := foreign_folder(root, Address(f"{top.name}/any"))):
            found.foreign.append(Foreign(path=top, why=why))
        _survey_folder(store, top.name, found)
        for step in entries(top):
            if is_published(step):
                continue
            if not step.is_dir() or not is_part(step.name):
                found.foreign.append(_foreign(step))
                continue
            if step.is_symlink():
                found.foreign.append(_foreign(step))
            _survey_folder(store, f"{top.name}/{step.name}", found)
            found.foreign.extend(_foreign(path) for path in entries(step) if not is_published(path))
    return found


def _survey_folder(store: Store, prefix: str, found: Survey) -> None:
    """Add the versions of the artifacts in one folder of the store to `found`."""
    root = store.root
    folder = root / prefix / VERSIONS
    if folder.is_symlink():
        found.foreign.append(_foreign(folder))
    for path in entries(folder):
        version = _version(store, prefix, path)
        if isinstance(version, Foreign):
            found.foreign.append(version)
            continue
        if spare_of(path.name):
            found.spares.append(version)
            continue
        found.versions.append(version)
        if version.protected and not foreign_folder(root, version.address):  # a foreign folder is reported once, not per version
            found.foreign.append(Foreign(path=path, why=version.protected))
    set_aside = entries(root / prefix / SET_ASIDE)
    found.foreign.extend(Foreign(path=path, why="was set aside, because its manifest could not be read") for path in set_aside)


def _version(store: Store, prefix: str, path: Path) -> StoredVersion | Foreign:
    spare = spare_of(path.name)
    version = Version.of_folder(prefix, spare or path.name)
    if version is None or path.is_symlink() or not path.is_dir():
        return _foreign(path)
    try:
        manifest = Manifest.read(path)
        is_published = not spare and store.published_fingerprint(version.address) == version.fingerprint
    except StoreError as problem:
        return Foreign(path=path, why=f"cannot be accounted for ({problem})", version=None if spare else version)
    if manifest.fingerprint != version.fingerprint or manifest.step != version.address.step:
        return Foreign(path=path, why="has the manifest of another artifact", version=None if spare else version)
    was_made = (store.root / LOCKS / f"{version.address}.lock").is_file()  # every address that was built has a lock file
    why = foreign_version(store.root, version.address, path) or ("" if was_made else "the store has no record of having made it")
    return StoredVersion(address=version.address, path=path, manifest=manifest, is_published=is_published, protected=why)


def _foreign(path: Path) -> Foreign:
    if path.is_symlink():
        return Foreign(path=path, why=f"is a link to {path.readlink()}, which the store did not make")
    return Foreign(path=path, why="was not made by the store")


def entries(folder: Path) -> list[Path]:
    """Return the entries of a folder, sorted, without names that begin with a dot; nothing if it is not a folder.

    Raises
    ------
    OSError
        The folder cannot be listed now. It may contain plans, which name versions that must stay.
    """
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as problem:
        if is_unreachable(problem):
            raise
        return []
