"""Distinguish files that a local store created, and may therefore replace or remove, from files of users.

The store removes or replaces only the folder of a version whose manifest records every file in the folder, or a pointer to such a folder.
The folder of a corpus or mixture may be a link to another disk. The store never touches files that a readable manifest does not record, or
files behind any other link.
"""

import os
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.paths import real_path
from phyagi_assets.store.addresses import VERSIONS, Address, spare_of, split_version_name
from phyagi_assets.store.disk import is_unreachable
from phyagi_assets.store.locks import LOCKS
from phyagi_assets.store.manifest import MANIFEST, Manifest


def foreign_version(root: Path, address: Address, version: Path) -> str:
    """Return why a folder must not be removed as a version of an artifact, or an empty string if it may be removed."""
    if why := foreign_folder(root, address):
        return why
    place = _own_folder(root, address) / VERSIONS / version.name
    name = spare_of(version.name) or version.name
    if real_path(version) != place or split_version_name(name)[0] != address.key:
        return "it is not in the place of a version, or is reached through a link"
    if not os.path.lexists(place):
        return ""
    if not place.is_dir():
        return "is not a folder"
    unknown = unrecorded(place)
    return f"{unknown[0]} in it was not written by the store" if unknown else ""


def foreign_folder(root: Path, address: Address) -> str:
    """Return why the folder of an artifact is not the store's own, or an empty string if it is.

    Only the folder of a corpus or mixture may be a link. It must lead out of this store, not into another store, and not to the same
    folder as another link.
    """
    top = root / address.name
    home, inside = real_path(top), real_path(root)
    if top.is_symlink():
        if home.is_relative_to(inside):
            return f"{top} is a link into the store itself"
        if other := next((folder for folder in (home, *home.parents) if (folder / LOCKS).is_dir()), None):
            return f"{top} is a link into another store, {other}"
        if twin := next((path for path in root.iterdir() if path != top and path.is_symlink() and real_path(path) == home), None):
            return f"{top} and {twin} are links to one folder"
    folder = (root / address).parent
    own = _own_folder(root, address)
    if real_path(folder) != own:
        return f"{folder} is reached through a link"
    if (folder / VERSIONS).is_symlink():
        return f"{folder / VERSIONS} is a link"
    return ""


def _own_folder(root: Path, address: Address) -> Path:
    return real_path(root / address.name).joinpath(*address.split("/")[1:-1])


def require_own_folder(root: Path, address: Address) -> None:
    """Refuse to write an artifact into a folder that is not the store's own."""
    if why := foreign_folder(root, address):
        raise StoreError(f"{address}: cannot be written: {why}; only the folder of a corpus or mixture may be a link, and to another disk")


def is_pointer(path: Path) -> bool:
    """Return whether a path is a pointer: a link to a place for one of its own versions, whether or not that version exists.

    Raises
    ------
    OSError
        The path cannot be read now. It may be the pointer of a version that is in use.
    """
    try:
        folder, _, name = str(path.readlink()).rpartition("/")
    except OSError as problem:
        if is_unreachable(problem):
            raise
        return False  # not a link
    if split_version_name(name)[0] != path.name:
        return False
    return folder == VERSIONS or real_path(path.parent / folder) == real_path(path.parent / VERSIONS)


def twin_of(path: Path) -> str:
    """Return the key whose pointer is at the path of another key's, because the two differ only in case; else an empty string."""
    key = split_version_name(path.readlink().name)[0] if path.is_symlink() else ""
    return key if key.casefold() == path.name.casefold() else ""


def is_copy(path: Path) -> bool:
    """Return whether a path is a folder with a manifest and not a link, as pointers become in a store that was copied without links."""
    return not path.is_symlink() and (path / MANIFEST).is_file()


def is_published(path: Path) -> bool:
    """Return whether a path is a pointer, or a copy in the place of one."""
    return is_pointer(path) or is_copy(path)


def is_readable(version: Path) -> bool:
    """Return whether the manifest of a version can be read."""
    try:
        Manifest.read(version)
    except StoreError:
        return False
    return True


def unrecorded(version: Path) -> list[str]:
    """Return the files and links in a version's folder that its manifest does not record; none if the manifest cannot be read."""
    try:
        recorded = {MANIFEST, *Manifest.read(version).files}
    except StoreError:
        return []
    found = []
    for folder, folders, files in os.walk(version):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        found += [(Path(folder) / name).relative_to(version).as_posix() for name in (*files, *links)]
    return sorted(name for name in found if name not in recorded or (version / name).is_symlink())
