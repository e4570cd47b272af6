"""The store: artifacts that are published, never edited.

An artifact has an address, such as ``shakespeare/numpy_cache/hamlet``, and any number of versions, one per fingerprint::

    shakespeare/numpy_cache/.versions/hamlet@<fingerprint>/    a version: files, and the manifest that was written last
    shakespeare/numpy_cache/hamlet -> .versions/hamlet@…       the pointer, flipped in one rename

A version is written in a staging folder of its own and moved into place whole. A reader follows the pointer and sees the old
version or the new one. What a killed writer leaves in staging is removed by the next one: a living writer holds a lock on its
folder, and the kernel releases it when the writer dies.

A version leaves the store the way it came: renamed into staging, then deleted there. Only what the store made is removed or replaced: a
folder at the place of a version whose manifest records everything in it, or a pointer to such a place. A corpus's folder may be a link
to another disk. What lies behind any other link, and files that no manifest records, are never touched.
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

VERSIONS = ".versions"
STAGING = ".staging"
LOCKS = ".locks"
SET_ASIDE = ".damaged"
"""Folder beside the versions for damaged ones whose manifest cannot be read: nothing tells what in them the store wrote."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""Errors of a disk that is full, or read-only; they need not name a file."""
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
"""Errors that the user can put right, or the disk's own, if they name a file in the store."""

_PART = re.compile(r"[\w%][\w.%-]*")
_VERSION = re.compile(r"(?P<name>.+)@(?P<fingerprint>[0-9a-f]{32})")
_LONGEST = 222
"""Bytes of a part of an address: file systems allow 255 for a name, and a version's name has a fingerprint besides."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Artifact:
    """One version of an artifact, on disk."""

    address: str
    path: Path
    """The version's own folder; it does not change when the pointer is flipped."""
    manifest: Manifest

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    def holds(self, files: Collection[str]) -> bool:
        """Whether files are among its own, by their paths in it."""
        return self.manifest.files.keys() >= set(files)


class Store:
    """A folder of published artifacts.

    Parameters
    ----------
    root
        The folder; it comes into being with the first artifact.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def pointer(self, address: str) -> Path:
        """Where an address points from.

        Raises
        ------
        StoreError
            The address has a part that is not a plain name and would lead out of the store, or one that is too long.
        """
        parts = address.split("/")
        if len(parts) < 2 or not all(map(is_part, parts)):
            raise StoreError(f"{address!r} is no address in the store: its parts are plain names, as in corpus/stage/partition")
        if long := next((part for part in parts if len(part.encode()) > _LONGEST), ""):
            raise StoreError(f"{long!r} has {len(long.encode())} bytes and is too long for a name in the store; use at most {_LONGEST}")
        return self.root.joinpath(*parts)

    def version_path(self, address: str, fingerprint: str) -> Path:
        """The place of a version, through the store's own folders."""
        pointer = self.pointer(address)
        return pointer.parent / VERSIONS / f"{pointer.name}@{fingerprint}"

    def open(self, address: str) -> Artifact | None:
        """The published version of an artifact, or None if nothing is published, or it is damaged or has another manifest."""
        pointer = self.pointer(address)
        version = real_path(pointer)
        artifact = self._intact(address, version) if version.exists() else None
        named = version_named(version.name)
        return None if artifact and named and named[1] != artifact.fingerprint else artifact

    def find(self, address: str, fingerprint: str, holding: Collection[str] = ()) -> Artifact | None:
        """The version with a fingerprint if it is there, its files are, and some are among them, whether published or not."""
        artifact = self._intact(address, self.version_path(address, fingerprint))
        return artifact if artifact and artifact.fingerprint == fingerprint and artifact.holds(holding) else None

    def _intact(self, address: str, path: Path) -> Artifact | None:
        try:
            manifest = Manifest.read(path)
        except StoreError:
            return None
        return None if manifest.damage(path) else Artifact(address=address, path=path, manifest=manifest)

    def list(self) -> Iterator[str]:
        """The addresses of everything published, sorted.

        A folder with a manifest in the place of a pointer is listed too: that is what copying a store without its links makes of one.
        """
        for name in _names(self.root):
            for stage in _names(self.root / name):
                folder = self.root / name / stage
                if is_pointer(folder) or is_copy(folder):
                    yield f"{name}/{stage}"
                elif folder.is_dir():
                    yield from (f"{name}/{stage}/{part}" for part in _names(folder) if is_pointer(folder / part) or is_copy(folder / part))

    def restore(self, address: str) -> bool:
        """Put back the pointer of an artifact whose store was copied without links, and keep the copy as the version that it is.

        Returns
        -------
        bool
            Whether there was a copy in the place of the pointer.

        Raises
        ------
        StoreError
            The copy is not whole.
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
            if self.find(address, manifest.fingerprint):  # the versions were copied too: one of the two is too many, and none is deleted
                pointer.rename(_free(version.with_name(f"{version.name}.copy")))
            else:
                if os.path.lexists(version):
                    version.rename(_free(version.parent.parent / SET_ASIDE / version.name))
                pointer.rename(version)
            self._point(address, manifest.fingerprint)
        return True

    def restore_all(self) -> int:
        """Put back every pointer that a copy without links has lost; how many. What is damaged is left for `check` to name."""
        restored = 0
        for address in sorted(self.list()):
            if is_copy(self.pointer(address)):
                with self.turn(address), suppress(StoreError):
                    restored += self.restore(address)
        return restored

    def write(self, address: str, manifest: Manifest, fill: Callable[[Path], Manifest], holding: Collection[str] = ()) -> Artifact:
        """Write a version: all of it, or nothing.

        Parameters
        ----------
        address
            The artifact's address.
        manifest
            What it is made from; its fingerprint names the version.
        fill
            Given an empty folder, writes the files and returns the manifest completed with what it wrote. The records of the
            files are added here.
        holding
            The files that a version which is there already has to hold to be left in place.
        """
        final = self.version_path(address, manifest.fingerprint)
        with self._staging(final.parent.parent) as staging:
            self.require_own_folder(address)
            draft = staging / "version"
            draft.mkdir()
            filled = fill(draft)
            names = sorted(path.relative_to(draft).as_posix() for path in draft.rglob("*") if path.is_file())
            with ThreadPoolExecutor() as pool:  # the disk takes them together, and while their checksums are made
                flushed = pool.map(_flush, list(draft.rglob("*")))
                filled = replace(filled, files={name: FileRecord.of(draft / name) for name in names})
                list(flushed)
            (draft / MANIFEST).write_text(filled.to_json(), encoding="utf-8")
            _flush(draft / MANIFEST)
            _flush(draft)
            final.parent.mkdir(parents=True, exist_ok=True)
            if finished := self.find(address, manifest.fingerprint, holding):  # by another run, meanwhile
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
            with own_folder(final.parent.parent / STAGING) as near:  # a bind mount, which looks like the same disk and is another
                shutil.copytree(draft, near / "version")
                for path in (near / "version").rglob("*"):
                    _flush(path)
                (near / "version").rename(final)

    def publish(self, artifact: Artifact) -> None:
        """Point an artifact's address at this version, in one rename.

        Raises
        ------
        StoreError
            Something that the store did not make is in the place of the pointer.
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
                with suppress(OSError):  # of another user; its age is then that of its last writing
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
        """The fingerprint of the version that an address points at; empty where nothing is published."""
        pointer = self.pointer(address)
        if is_copy(pointer):
            with suppress(StoreError):
                return Manifest.read(pointer).fingerprint
        found = _VERSION.fullmatch(pointer.readlink().name) if is_pointer(pointer) else None
        return found["fingerprint"] if found and found["name"] == pointer.name else ""

    def clear_rubbish(self) -> None:
        """Remove what dead writers have left, as the next writer would."""
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
        version
            Its folder.

        Raises
        ------
        StoreError
            The store did not make the folder, or not all that is in it. Nothing is removed then.
        """
        with self.writing(), self.aside() as take:
            self._require_own(address, version)
            if version.exists():
                take(version)
            self._unpublish(address, version)

    def withdraw(self, address: str, version: Path, take: Callable[[Path], None]) -> None:
        """Take a version out of its place, its pointer first; `take` comes from `aside`, and the caller has the address's turn.

        Raises
        ------
        StoreError
            The store did not make the folder, or not all that is in it. Nothing is removed then.
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
        """Why a folder must not be removed as a version of an artifact; empty where the store made all of it."""
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
        """Why the folder of an artifact is not the store's own; empty where it is.

        Only the folder of a corpus or mixture may be a link, to a place outside of this and of any other store, and a link of its own.
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
        """Refuse to write into a folder that is not the store's own.

        Raises
        ------
        StoreError
            It is not.
        """
        if why := self.foreign_folder(address):
            raise StoreError(
                f"{address}: cannot be written: {why}; only the folder of a corpus or mixture may be a link, and to another disk"
            )

    @contextmanager
    def aside(self) -> Iterator[Callable[[Path], None]]:
        """Take versions out of their places, and delete them at the end.

        Yields
        ------
        callable
            Renames the folder of a version into staging, on the same disk. A damaged one whose manifest cannot be read is kept, in
            ``.damaged`` beside the versions.

        Raises
        ------
        StoreError
            The folder holds what the store did not write.
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
        """Staging areas from which a rename leads into a folder: the store's own, unless the folder is on another disk, then one beside."""
        there = next(folder for folder in (beside, *beside.parents) if folder.exists())
        here = next(folder for folder in (self.root, *self.root.parents) if folder.exists())
        if there.stat().st_dev == here.stat().st_dev:
            yield self.root / STAGING
        yield beside / STAGING

    @contextmanager
    def turn(self, name: str, *, silent: bool = False) -> Iterator[None]:
        """Do something of a name while no other process does: whoever comes second waits, and finds it done.

        The kernel holds the lock for the process and releases it when the process dies, however it dies.

        Parameters
        ----------
        name
            An address, or another name of that form.
        silent
            Whether to say nothing of waiting.
        """
        waiting = "" if silent else f"{name} is being built by another run; waiting for it"
        with locked(self._lock_file(name), waiting=waiting):
            yield

    @contextmanager
    def turn_if_free(self, name: str) -> Iterator[bool]:
        """Take the turn of a name unless another process has it; whether it was taken."""
        with locked_if_free(self._lock_file(name)) as free:
            yield free

    def keep_turn(self, name: str) -> int | None:
        """Take the turn of a name until this process ends, even if it executes another program; None if another process has it.

        The result is the descriptor of the lock; closing it gives the turn back.
        """
        return hold_until_exit(self._lock_file(name))

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Keep every version in place while inside: between looking up the versions of caches and publishing a plan that names them."""
        with locked(self._lock_file(_REMOVAL), waiting="versions are being removed by another command; waiting for it", shared=True):
            yield

    @contextmanager
    def removing(self) -> Iterator[None]:
        """Keep plans from being made while inside: between reading what plans name and removing what none does."""
        with locked(self._lock_file(_REMOVAL), waiting="a plan is being made by another command; waiting for it"):
            yield

    def made(self, address: str) -> bool:
        """Whether this store has built anything at an address: it has a lock file for every address that it ever built."""
        return (self.root / LOCKS / f"{self.pointer(address).relative_to(self.root)}.lock").is_file()

    def _lock_file(self, name: str) -> Path:
        path = self.root / LOCKS / f"{self.pointer(name).relative_to(self.root)}.lock"
        with self.writing():
            create_lock(path)
        return path

    @contextmanager
    def _staging(self, beside: Path | None = None) -> Iterator[Path]:
        """A folder of the caller's own, gone afterwards; whatever dead writers left is cleared first."""
        with self.writing(), own_folder(next(self._areas(beside or self.root))) as folder:
            yield folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn the disk's refusals to write into errors that say what the user can put right.

        Raises
        ------
        StoreError
            The disk is full, too full for its user, or may not be written to.
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
"""Name of the lock that removing versions and making plans have in common."""


def is_part(name: str) -> bool:
    """Whether a name can be part of an address."""
    return _PART.fullmatch(name) is not None


def version_named(name: str) -> tuple[str, str] | None:
    """The last part of the address and the fingerprint that the name of a version's folder tells; None where it is not one."""
    found = _VERSION.fullmatch(name)
    return (found["name"], found["fingerprint"]) if found and is_part(found["name"]) else None


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir() if is_part(path.name)) if folder.is_dir() else []
    except PermissionError as problem:
        raise StoreError(f"{folder}: cannot be read: {problem.strerror}") from None


def is_pointer(path: Path) -> bool:
    """Whether a path is a link to a version beside it, whether or not that is there."""
    if not path.is_symlink():
        return False
    target = path.parent / path.readlink()
    named = version_named(target.name)
    beside = path.parent / VERSIONS
    return named is not None and named[0] == path.name and (target.parent == beside or real_path(target.parent) == real_path(beside))


def is_copy(path: Path) -> bool:
    """Whether a folder with a manifest is in the place of a pointer, as in a store that was copied without its links."""
    return not path.is_symlink() and (path / MANIFEST).is_file()


def _is_readable(version: Path) -> bool:
    try:
        Manifest.read(version)
    except StoreError:
        return False
    return True


def _unrecorded(version: Path) -> list[str]:
    """Files and links in a version's folder that its manifest does not record; none where the manifest cannot be read."""
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
    """A path that nothing is at, named after another."""
    path.parent.mkdir(exist_ok=True)
    number = 1
    while os.path.lexists(path if number == 1 else path.with_name(f"{path.name}-{number}")):
        number += 1
    return path if number == 1 else path.with_name(f"{path.name}-{number}")


@contextmanager
def _unless_elsewhere() -> Iterator[None]:
    """Go on where a rename would lead to another file system."""
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
