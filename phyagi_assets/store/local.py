"""The store: artifacts that are published and never edited.

An artifact has an address, such as ``shakespeare/numpy_cache/hamlet``, and any number of versions, one per fingerprint::

    shakespeare/numpy_cache/.versions/hamlet@<fingerprint>/    a version: its files, and the manifest, which is written last
    shakespeare/numpy_cache/hamlet -> .versions/hamlet@…       the pointer, a link that is replaced in one rename

Each version is written in its own staging folder and renamed into place when it is complete. A reader follows the pointer and sees
either the old version or the new one. A running writer holds a lock on its staging folder, which the kernel releases when the writer
dies; the next writer then deletes the folder.

To remove a version, the store renames it into staging and deletes it there. The store removes or replaces only what it made: the folder
of a version whose manifest records every file in the folder, or a pointer to such a folder. The folder of a corpus or mixture may be a
link to another disk. The store never touches files that a readable manifest does not record, or files behind any other link.
"""

import errno
import logging
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.paths import real_path
from phyagi_assets.store.locks import create_lock, hold_until_exit, locked, locked_if_free, own_folder
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest
from phyagi_assets.store.state import Kind, State

VERSIONS = ".versions"
STAGING = ".staging"
LOCKS = ".locks"
SET_ASIDE = ".damaged"
"""Folder for damaged versions whose manifest cannot be read, so that the files written by the store are unknown."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Error numbers of a disk that is full or read-only. Such an error need not name a file."""
_REFUSED = {
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EXDEV,
    errno.ENAMETOOLONG,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ESTALE,
}
"""Error numbers that the user can correct, or that come from the disk, if the error names a file in the store."""

_PART = re.compile(r"[\w%][\w.%-]*")
_VERSION = re.compile(r"(?P<name>.+)@(?P<fingerprint>[0-9a-f]{32})")
_LONGEST = 222
"""Largest length of one part of an address, in bytes: file systems allow 255, of which a version's name needs 33 for the fingerprint."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One version of an artifact on disk."""

    address: str
    path: Path
    """Folder of the version. It stays the same when the pointer is replaced."""
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def holds(self, files: Collection[str]) -> bool:
        """Return whether the version has all of the given files, named by their paths relative to its folder."""
        return self.manifest.files.keys() >= set(files)


class Store:
    """A folder of published artifacts.

    Parameters
    ----------
    root
        The folder. It is created with the first artifact.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def pointer(self, address: str) -> Path:
        """Return the path of the pointer of an address.

        Raises
        ------
        StoreError
            The address has fewer than two parts, a part that is not a plain name (it could lead out of the store), or one that is too long.
        """
        parts = address.split("/")
        if len(parts) < 2 or not all(map(is_part, parts)):
            raise StoreError(f"{address!r} is no address in the store: its parts are plain names, as in corpus/stage/partition")
        if long := next((part for part in parts if len(part.encode()) > _LONGEST), ""):
            raise StoreError(f"{long!r} has {len(long.encode())} bytes and is too long for a name in the store; use at most {_LONGEST}")
        return self.root.joinpath(*parts)

    def version_path(self, address: str, fingerprint: str) -> Path:
        """Return the path of the folder of a version, whether or not the version exists."""
        pointer = self.pointer(address)
        return pointer.parent / VERSIONS / f"{pointer.name}@{fingerprint}"

    def open(self, address: str, *, intact: bool = False) -> Artifact | None:
        """Return the published version of an artifact. Only its manifest is read.

        Parameters
        ----------
        address
            Address of the artifact.
        intact
            Whether to look at every file of the version, for callers that build on it.

        Returns
        -------
        Artifact or None
            None if nothing is published, or if the manifest cannot be read or has another fingerprint than its folder's name. With
            `intact`, None also if a file is missing or has another size than was written.
        """
        version = real_path(self.pointer(address))
        artifact = self._version(address, version, intact=intact)
        named = version_named(version.name)
        return None if artifact and named and named[1] != artifact.fingerprint else artifact

    def find(self, address: str, fingerprint: str, holding: Collection[str] = ()) -> Artifact | None:
        """Return the intact version of an artifact with a given fingerprint, published or not.

        Parameters
        ----------
        address
            Address of the artifact.
        fingerprint
            Fingerprint of the version.
        holding
            Files that the version must have, by their paths relative to its folder.

        Returns
        -------
        Artifact or None
            None if the version does not exist, is damaged, or lacks one of the files.
        """
        artifact = self._version(address, self.version_path(address, fingerprint), intact=True)
        return artifact if artifact and artifact.fingerprint == fingerprint and artifact.holds(holding) else None

    def _version(self, address: str, path: Path, *, intact: bool) -> Artifact | None:
        try:
            manifest = Manifest.read(path)
        except StoreError:
            return None
        return None if intact and manifest.damage(path) else Artifact(address=address, path=path, manifest=manifest)

    def list(self) -> Iterator[str]:
        """Yield the address of every published artifact, folder by folder in the order of names.

        A folder with a manifest in the place of a pointer counts as published: a copy of a store that follows links has such folders.
        """
        for name in _names(self.root):
            for stage in _names(self.root / name):
                folder = self.root / name / stage
                if is_pointer(folder) or is_copy(folder):
                    yield f"{name}/{stage}"
                elif folder.is_dir():
                    yield from (f"{name}/{stage}/{part}" for part in _names(folder) if is_pointer(folder / part) or is_copy(folder / part))

    def restore(self, address: str) -> bool:
        """Restore the pointer of an artifact that was copied without links.

        The copy in the place of the pointer becomes the version that its manifest names. If that version is already in the store, the copy
        is kept beside it.

        Returns
        -------
        bool
            Whether there was a copy in the place of the pointer.

        Raises
        ------
        StoreError
            The copy is damaged, or the folder of the artifact is not the store's own.
        """
        pointer = self.pointer(address)
        if not is_copy(pointer):
            return False
        manifest = Manifest.read(pointer)
        if damage := manifest.damage(pointer, checksums=True):
            raise StoreError(f"{pointer}: is a damaged copy of a version: {damage[0]}; move it away, and materialize again")
        with self.writing():
            self.require_own_folder(address)
            version = self.version_path(address, manifest.fingerprint)
            version.parent.mkdir(exist_ok=True)
            if self.find(address, manifest.fingerprint):  # the versions were copied too; keep both, because a restore deletes nothing
                pointer.rename(_free(version.with_name(f"{version.name}.copy")))
            else:
                if os.path.lexists(version):
                    version.rename(_free(version.parent.parent / SET_ASIDE / version.name))
                pointer.rename(version)
            self._point(address, manifest.fingerprint)
        return True

    def restore_all(self) -> int:
        """Restore every pointer that was lost in a copy without links. Damaged copies are skipped; ``phyagi-assets check`` reports them.

        Returns
        -------
        int
            Number of pointers restored.
        """
        restored = 0
        for address in sorted(self.list()):
            if is_copy(self.pointer(address)):
                with self.turn(address), suppress(StoreError):
                    restored += self.restore(address)
        return restored

    def write(self, address: str, manifest: Manifest, fill: Callable[[Path], Manifest], holding: Collection[str] = ()) -> Artifact:
        """Write a version, completely or not at all.

        Parameters
        ----------
        address
            Address of the artifact.
        manifest
            Manifest without files or counts. Its fingerprint names the version.
        fill
            Function that writes the files into an empty folder and returns the completed manifest. The records of the files are added
            afterwards.
        holding
            Files that an existing version with this fingerprint must have to be kept; otherwise it is replaced.

        Returns
        -------
        Artifact
            The new version, or the existing one if another run wrote it in the meantime.

        Raises
        ------
        StoreError
            The store cannot be written to, the folder of the artifact is not the store's own, or the place of the version holds files
            that the store did not write.
        """
        final = self.version_path(address, manifest.fingerprint)
        with self._staging(final.parent.parent) as staging:
            self.require_own_folder(address)
            draft = staging / "version"
            draft.mkdir()
            filled = fill(draft)
            names = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
            with ThreadPoolExecutor() as pool:  # flush in parallel, while the checksums are computed
                flushed = pool.map(_flush, list(draft.rglob("*")))
                filled = replace(filled, files={name: FileRecord.of(draft / name) for name in names})
                list(flushed)
            (draft / MANIFEST).write_text(filled.to_json(), encoding="utf-8")
            _flush(draft / MANIFEST)
            _flush(draft)
            final.parent.mkdir(parents=True, exist_ok=True)
            if finished := self.find(address, manifest.fingerprint, holding):  # another run wrote it in the meantime
                return finished
            if os.path.lexists(final):
                with self.aside() as take:
                    take(final)
                    self._move(draft, final)
            else:
                self._move(draft, final)
            _flush(final.parent)
        return Artifact(address=address, path=final, manifest=filled)

    def _move(self, draft: Path, final: Path) -> None:
        try:
            draft.rename(final)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
            with own_folder(final.parent.parent / STAGING) as near:  # a bind mount has the same device number but refuses renames
                shutil.copytree(draft, near / "version")
                for path in (near / "version").rglob("*"):
                    _flush(path)
                (near / "version").rename(final)

    def publish(self, artifact: Artifact) -> None:
        """Make a version the published one: point the address of its artifact at it, in one rename.

        Raises
        ------
        StoreError
            The store cannot be written to, or the store did not make what is in the place of the pointer.
        """
        pointer = self.pointer(artifact.address)
        if self.leads_to(artifact.address) == artifact.fingerprint and pointer.is_symlink():
            return
        self.restore(artifact.address)
        before = self.leads_to(artifact.address)
        if os.path.lexists(pointer) and not is_pointer(pointer):
            found = f"a link to {pointer.readlink()}" if pointer.is_symlink() else "a folder" if pointer.is_dir() else "a file"
            raise StoreError(f"{pointer}: is {found} that the store did not make, where it keeps the pointer of an artifact; move it away")
        with self.writing():
            self._point(artifact.address, artifact.fingerprint)
            for fingerprint in {before, artifact.fingerprint} - {""}:
                with suppress(OSError):  # the folder of another user: its age then counts from when it was written
                    os.utime(self.version_path(artifact.address, fingerprint))

    def _point(self, address: str, fingerprint: str) -> None:
        pointer = self.pointer(address)
        for area in self._areas(pointer.parent):
            with own_folder(area) as staging:
                link = staging / "link"
                link.symlink_to(f"{VERSIONS}/{pointer.name}@{fingerprint}")
                with _unless_elsewhere():
                    link.replace(pointer)
                    _flush(pointer.parent)
                    return
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(pointer))

    def leads_to(self, address: str) -> str:
        """Return the fingerprint of the published version of an artifact, or an empty string if nothing is published."""
        pointer = self.pointer(address)
        if is_copy(pointer):
            with suppress(StoreError):
                return Manifest.read(pointer).fingerprint
        found = _VERSION.fullmatch(pointer.readlink().name) if is_pointer(pointer) else None
        return found["fingerprint"] if found and found["name"] == pointer.name else ""

    def clear_rubbish(self) -> None:
        """Delete the staging folders of dead writers, as the next writer would."""
        with self._staging():
            pass
        for area in (*self.root.glob(f"*/{STAGING}"), *self.root.glob(f"*/*/{STAGING}")):
            with self.writing(), own_folder(area):
                pass

    def discard(self, address: str, version: Path) -> None:
        """Take a damaged version out of the store, and then its pointer if it is the one that is published.

        In this order, because a kill in between has to leave something that the next check finds: a version without its pointer could
        be taken for one that lost it.

        Parameters
        ----------
        address
            Address of the artifact.
        version
            Folder of the version.

        Raises
        ------
        StoreError
            The store did not make the folder or something in it. Then nothing is removed.
        """
        with self.writing(), self.aside() as take:
            self._require_own(address, version)
            if version.exists():
                take(version)
            self._unpublish(address, version)

    def withdraw(self, address: str, version: Path, take: Callable[[Path], None]) -> None:
        """Move a version out of its place. If it is published, its pointer is removed first.

        The caller must hold the lock of the address (see `turn`).

        Parameters
        ----------
        address
            Address of the artifact.
        version
            Folder of the version.
        take
            Function from `aside` that moves the folder.

        Raises
        ------
        StoreError
            The store did not make the folder or something in it. Then nothing is removed.
        """
        self._require_own(address, version)
        self._unpublish(address, version)
        if version.exists():
            take(version)

    def _require_own(self, address: str, version: Path) -> None:
        if foreign := self.foreign(address, version):
            raise StoreError(f"{version}: {foreign}; it is left as it is")

    def _unpublish(self, address: str, version: Path) -> None:
        """Remove the pointer of an address if it points to a version."""
        pointer = self.pointer(address)
        if is_pointer(pointer) and real_path(pointer) == real_path(version):
            pointer.unlink()
            _flush(pointer.parent)

    def foreign(self, address: str, version: Path) -> str:
        """Return why a folder must not be removed as a version of an artifact, or an empty string if it may be removed."""
        if why := self.foreign_folder(address):
            return why
        pointer = self.pointer(address)
        place = self._own_folder(address) / VERSIONS / version.name
        named = _VERSION.fullmatch(version.name)
        if real_path(version) != place or not named or named["name"] != pointer.name:
            return "it is not in the place of a version, or is reached through a link"
        if not os.path.lexists(place):
            return ""
        if not place.is_dir():
            return "is not a folder"
        unknown = _unrecorded(place)
        return f"{unknown[0]} in it was not written by the store" if unknown else ""

    def foreign_folder(self, address: str) -> str:
        """Return why the folder of an artifact is not the store's own, or an empty string if it is.

        Only the folder of a corpus or mixture may be a link. It must lead out of this store, not into another store, and not to the same
        folder as another link.
        """
        top = self.root / address.partition("/")[0]
        home, root = real_path(top), real_path(self.root)
        if top.is_symlink():
            if home.is_relative_to(root):
                return f"{top} is a link into the store itself"
            if other := next((folder for folder in (home, *home.parents) if (folder / LOCKS).is_dir()), None):
                return f"{top} is a link into another store, {other}"
            if twin := next((path for path in self.root.iterdir() if path != top and path.is_symlink() and real_path(path) == home), None):
                return f"{top} and {twin} are links to one folder"
        folder = self.pointer(address).parent
        own = self._own_folder(address)
        if real_path(folder) != own:
            return f"{folder} is reached through a link"
        if (folder / VERSIONS).is_symlink():
            return f"{folder / VERSIONS} is a link"
        return ""

    def _own_folder(self, address: str) -> Path:
        name, *rest = address.split("/")
        return real_path(self.root / name).joinpath(*rest[:-1])

    def require_own_folder(self, address: str) -> None:
        """Refuse to write an artifact into a folder that is not the store's own.

        Raises
        ------
        StoreError
            The folder is not the store's own, see `foreign_folder`.
        """
        if why := self.foreign_folder(address):
            raise StoreError(
                f"{address}: cannot be written: {why}; only the folder of a corpus or mixture may be a link, and to another disk"
            )

    @contextmanager
    def aside(self) -> Iterator[Callable[[Path], None]]:
        """Move versions out of their places, and delete them when the context ends.

        Yields
        ------
        callable
            Function that renames the folder of a version into staging on the same disk. It keeps a folder whose manifest cannot be read,
            in ``.damaged`` beside the versions. It raises a `StoreError` if the folder holds files that the store did not write.
        """
        with ExitStack() as areas:
            folders: dict[Path, Path] = {}

            def take(version: Path) -> None:
                if version.is_symlink() or not version.is_dir():
                    raise StoreError(f"{version}: is not a folder that the store made; move it away")
                if unknown := _unrecorded(version):
                    raise StoreError(f"{version}: {unknown[0]} in it was not written by the store; move it away")
                if any(version.iterdir()) and not _is_readable(version):
                    kept = _free(version.parent.parent / SET_ASIDE / version.name)
                    version.rename(kept)
                    logger.warning("%s: its manifest cannot be read; kept as %s, for you to look at and remove", version, kept)
                    return
                for area in self._areas(version.parent.parent):
                    if area not in folders:
                        folders[area] = areas.enter_context(own_folder(area))
                    with _unless_elsewhere():
                        version.rename(folders[area] / f"{len(list(folders[area].iterdir()))}")
                        _flush(version.parent)
                        return
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(version))

            yield take

    def _areas(self, beside: Path) -> Iterator[Path]:
        """Yield the staging areas to try for renames into a folder: the store's own if it is on the same disk, then one in the folder."""
        there = next(folder for folder in (beside, *beside.parents) if folder.exists())
        here = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if there.stat().st_dev == here.stat().st_dev:
            yield self.root / STAGING
        yield beside / STAGING

    @contextmanager
    def turn(self, name: str, *, silent: bool = False) -> Iterator[None]:
        """Hold the lock of a name, waiting while another process holds it.

        The kernel holds the lock for the process and releases it when the process dies, however it dies.

        Parameters
        ----------
        name
            An address, or another name of that form.
        silent
            Whether to wait without a log message.
        """
        waiting = "" if silent else f"{name} is being built by another run; waiting for it"
        with locked(self._lock_file(name), waiting=waiting):
            yield

    @contextmanager
    def turn_if_free(self, name: str) -> Iterator[bool]:
        """Hold the lock of a name unless another process holds it. Yields whether the lock is held."""
        with locked_if_free(self._lock_file(name)) as free:
            yield free

    def keep_turn(self, name: str) -> int | None:
        """Hold the lock of a name until this process ends, even if it executes another program.

        Returns
        -------
        int or None
            Descriptor of the lock, or None if another process holds it. Closing the descriptor releases the lock.
        """
        return hold_until_exit(self._lock_file(name))

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Keep versions from being removed within the context, from looking up the versions of caches to publishing a plan of them."""
        with locked(self._lock_file(_REMOVAL), waiting="versions are being removed by another command; waiting for it", shared=True):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Keep plans from being made within the context, from reading which versions plans name to removing all other versions."""
        with locked(self._lock_file(_REMOVAL), waiting="a plan is being made by another command; waiting for it"):
            yield

    def state(self, kind: Kind, name: str) -> State:
        """Return a small record of disposable state, such as the digests of a partition's files.

        Parameters
        ----------
        kind
            Subject of the record.
        name
            Name of a corpus, or an address.
        """
        return State(self.root / f".{kind}" / f"{name}.json")

    def made(self, address: str) -> bool:
        """Return whether this store has ever built an artifact at an address. It keeps a lock file for each such address."""
        return (self.root / LOCKS / f"{self.pointer(address).relative_to(self.root)}.lock").is_file()

    def _lock_file(self, name: str) -> Path:
        path = self.root / LOCKS / f"{self.pointer(name).relative_to(self.root)}.lock"
        with self.writing():
            create_lock(path)
        return path

    @contextmanager
    def _staging(self, beside: Path | None = None) -> Iterator[Path]:
        """Create a staging folder for the caller and delete it afterwards. Folders of dead writers are deleted first."""
        with self.writing(), own_folder(next(self._areas(beside or self.root))) as folder:
            yield folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the operating system about writing to the store into errors that the user can act on.

        Raises
        ------
        StoreError
            The disk is full, the user's quota is used up, or the store is not writable.
        """
        try:
            yield
        except OSError as problem:
            inside = str(problem.filename2 or problem.filename or "").startswith((f"{self.root}", f"{real_path(self.root)}"))
            if problem.errno not in _FULL and not (problem.errno in _REFUSED and inside) and problem.errno != errno.EIO:
                raise
            said = os.strerror(problem.errno or 0)
            if inside and problem.errno in _REFUSED:
                said = f"{said}: {problem.filename2 or problem.filename}"
            raise StoreError(f"{self.root}: cannot be written to: {said}; what was published stands, and can be gone on with") from problem


_REMOVAL = "removal/versions"
"""Name of the lock that is shared by removing versions and making plans."""


def is_part(name: str) -> bool:
    """Return whether a name can be a part of an address."""
    return _PART.fullmatch(name) is not None


def version_named(name: str) -> tuple[str, str] | None:
    """Split the name of a version's folder.

    Returns
    -------
    tuple of (str, str) or None
        Last part of the address, and the fingerprint; None if the name is not that of a version's folder.
    """
    found = _VERSION.fullmatch(name)
    return (found["name"], found["fingerprint"]) if found and is_part(found["name"]) else None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if is_part(path.name)) if folder.is_dir() else []
    except PermissionError as problem:
        raise StoreError(f"{folder}: cannot be read: {problem.strerror}") from None


def is_pointer(path: Path) -> bool:
    """Return whether a path is a pointer: a link to a place for one of its own versions, whether or not that version exists."""
    if not path.is_symlink():
        return False
    target = path.parent / path.readlink()
    named = version_named(target.name)
    beside = path.parent / VERSIONS
    return named is not None and named[0] == path.name and (target.parent == beside or real_path(target.parent) == real_path(beside))


def is_copy(path: Path) -> bool:
    """Return whether a path is a folder with a manifest and not a link, as pointers become in a store that was copied without links."""
    return not path.is_symlink() and (path / MANIFEST).is_file()


def _is_readable(version: Path) -> bool:
    try:
        Manifest.read(version)
    except StoreError:
        return False
    return True


def _unrecorded(version: Path) -> list[str]:
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


def _free(path: Path) -> Path:
    """Return a path at which nothing exists: the given one, or one with a number added to its name."""
    path.parent.mkdir(exist_ok=True)
    number = 1
    while os.path.lexists(path if number == 1 else path.with_name(f"{path.name}-{number}")):
        number += 1
    return path if number == 1 else path.with_name(f"{path.name}-{number}")


@contextmanager
def _unless_elsewhere() -> Iterator[None]:
    """Ignore the error of a rename between two file systems."""
    try:
        yield
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
