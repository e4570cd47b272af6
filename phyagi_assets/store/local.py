"""The store on a local or network disk.

::

    shakespeare/numpy_cache/.versions/hamlet@<fingerprint>/    a version: its files, and the manifest, which is written last
    shakespeare/numpy_cache/hamlet -> .versions/hamlet@…       the pointer, a link that is replaced in one rename

Each version is written in its own staging folder and renamed into place when it is complete. A reader follows the pointer and sees
either the old version or the new one. A running writer holds a lock on its staging folder, which the kernel releases when the writer
dies; the next writer then deletes the folder. To remove a version, the store renames it into staging and deletes it there.
"""

import errno
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from phyagi_assets.errors import ForeignFilesError, StoreAccessError, StoreError
from phyagi_assets.paths import real_path
from phyagi_assets.store.addresses import VERSIONS, Address, Version, is_part, spare_name, split_version_name
from phyagi_assets.store.artifact import Artifact, Assembled, Fill, FinishedFile
from phyagi_assets.store.base import Store, Survey
from phyagi_assets.store.disk import flush, flushed_meanwhile, folders_in, free_path, link, mount_of, reading_from, writing_to
from phyagi_assets.store.locks import LOCKS, create_lock, hold_until_exit, locked, locked_if_free, own_folder
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest, is_shared, records_of
from phyagi_assets.store.manifest_cache import read_cached
from phyagi_assets.store.ownership import (
    foreign_version,
    is_copy,
    is_pointer,
    is_published,
    is_readable,
    require_own_folder,
    twin_of,
    unrecorded,
)
from phyagi_assets.store.survey import SET_ASIDE, entries, survey

STAGING = ".staging"
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers with which a file system that has no symbolic links, such as exFAT, refuses to create one."""
_REMOVAL = "removal/versions"
"""Name of the lock that the removal of versions and the making of plans share."""

logger = logging.getLogger(__name__)


class LocalStore(Store):
    """A folder of published artifacts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shared: dict[FileRecord, Path] = {}
        """Files of versions that were put here, which further versions link if they have the same."""

    def __str__(self) -> str:
        return str(self.root)

    @property
    def is_remote(self) -> bool:
        return False

    def names(self) -> Sequence[str]:
        with reading_from(self.root):
            return [path.name for path in entries(self.root) if path.is_dir()]

    def place(self, name: str) -> Path | str:
        return self.root / name

    def open(self, address: str, *, intact: bool = False) -> Artifact | None:
        parsed = Address(address)
        pointer = f"{self.root}/{parsed}"
        try:
            version = Path(pointer.rpartition("/")[0], os.readlink(pointer))  # noqa: PTH115 (called for every artifact)
        except OSError:  # a copy in the place of a pointer, or nothing
            version = Path(pointer)
        key, fingerprint = split_version_name(version.name)
        if key not in ("", parsed.key):  # the pointer of a key that differs only in case, which some disks ignore
            return None
        artifact = self._version(parsed, version, intact=intact)
        return None if artifact and fingerprint not in ("", artifact.fingerprint) else artifact

    def find(self, address: str, fingerprint: str, holding: Collection[str] = (), *, lately: bool = False) -> Artifact | None:
        del lately
        artifact = self._version(address, self.version_path(address, fingerprint), intact=True)
        return artifact if artifact and artifact.fingerprint == fingerprint and artifact.holds(holding) else None

    def _version(self, address: str, path: Path, *, intact: bool) -> Artifact | None:
        try:
            manifest = read_cached(path)
        except StoreAccessError:
            raise
        except StoreError:
            return None
        return None if intact and manifest.damage(path) else Artifact(address=address, path=path, manifest=manifest)

    def list(self) -> Iterator[Address]:
        with reading_from(self.root):
            for name in _names(self.root):
                for step in _names(self.root / name):
                    folder = self.root / name / step
                    if is_published(folder):
                        yield Address(f"{name}/{step}")
                    elif folder.is_dir():
                        yield from (Address(f"{name}/{step}/{key}") for key in _names(folder) if is_published(folder / key))

    def versions(self) -> Iterator[Artifact]:
        for folder in sorted(self._version_folders()):
            version = Version.of_folder(folder.parents[1].relative_to(self.root).as_posix(), folder.name)
            artifact = self._version(version.address, folder, intact=False) if version else None
            if version and artifact and artifact.fingerprint == version.fingerprint:
                yield artifact

    def _version_folders(self) -> Iterator[Path]:
        """Yield the folders in the places of versions, of mixtures and of partitions."""
        yield from self.root.glob(f"[!.]*/{VERSIONS}/*")
        yield from self.root.glob(f"[!.]*/*/{VERSIONS}/*")

    def survey(self) -> Survey:
        with reading_from(self.root):
            return survey(self)

    def published_fingerprint(self, address: str) -> str:
        pointer = self.pointer(address)
        with reading_from(self.root):
            if is_copy(pointer):
                with suppress(StoreError):
                    return Manifest.read(pointer).fingerprint
            return split_version_name(pointer.readlink().name)[1] if is_pointer(pointer) else ""

    def published_path(self, address: str) -> Path:
        return real_path(self.pointer(address))

    def damage(self, address: str, version: Path) -> Sequence[str]:
        del address
        try:
            return Manifest.read(version).damage(version, checksums=True)
        except StoreAccessError:
            raise
        except StoreError as problem:
            return [str(problem)]

    def restore(self, address: str) -> bool:
        pointer = self.pointer(address)
        if not is_copy(pointer):
            return False
        manifest = Manifest.read(pointer)
        if damage := manifest.damage(pointer, checksums=True):
            raise StoreError(f"{pointer}: is a damaged copy of a version: {damage[0]}; move it away, and materialize again")
        with self.writing():
            require_own_folder(self.root, Address(address))
            version = self.version_path(address, manifest.fingerprint)
            version.parent.mkdir(exist_ok=True)
            if self.find(address, manifest.fingerprint):  # the versions were copied too; `clean` removes the second copy
                pointer.rename(free_path(version.with_name(spare_name(version.name))))
            else:
                if os.path.lexists(version):
                    version.rename(free_path(version.parent.parent / SET_ASIDE / version.name))
                pointer.rename(version)
            self._point(address, manifest.fingerprint)
        return True

    def is_copy(self, address: str) -> bool:
        with reading_from(self.root):
            return is_copy(self.pointer(address))

    def restore_all(self) -> int:
        restored = 0
        for address in sorted(self._copies()):
            with suppress(StoreAccessError):
                if self.is_copy(address):
                    with self.lock(address), suppress(StoreError):
                        restored += self.restore(address)
        return restored

    def _copies(self) -> Iterator[Address]:
        """Yield the address of every folder that may be a copy in the place of a pointer."""
        for name in self.names():
            with suppress(PermissionError):  # the folder of another user, whose links this user cannot restore
                for step in folders_in(self.root / name):
                    if is_part(name) and is_part(step.name):
                        yield Address(f"{name}/{step.name}")
                        yield from (Address(f"{name}/{step.name}/{copy.name}") for copy in folders_in(step) if is_part(copy.name))

    def write(self, address: str, manifest: Manifest, fill: Fill, holding: Collection[str] = ()) -> Artifact:
        final = self.version_path(address, manifest.fingerprint)
        with self._staging(final.parent.parent) as staging:
            require_own_folder(self.root, Address(address))
            draft = staging / "version"
            draft.mkdir()
            written = self._written(draft, fill)
            final.parent.mkdir(parents=True, exist_ok=True)
            if there := self.find(address, manifest.fingerprint, holding):  # another run wrote it in the meantime
                return there
            try:
                self._move_into_place(draft, final)
            except OSError as problem:
                is_taken = problem.errno in (errno.EEXIST, errno.ENOTEMPTY)
                if is_taken and (there := self.find(address, manifest.fingerprint, holding)):
                    return there  # another run moved it there just now
                raise
        return Artifact(address=address, path=final, manifest=written)

    def _written(self, draft: Path, fill: Fill) -> Manifest:
        """Write the files of a version into an empty folder, flush them, and write the manifest, which is returned, last."""
        with flushed_meanwhile(lambda: list(draft.iterdir())):
            filled, finished = _parts(fill(draft))
        with ThreadPoolExecutor() as pool:  # flush in parallel, while the checksums are computed
            flushed = pool.map(flush, list(draft.rglob("*")))
            files = records_of(draft) | {name: file.record for name, file in finished.items()}
            manifest = replace(filled, files=dict(sorted(files.items())))
            list(flushed)
        for name, file in finished.items():
            self._add_finished(file, draft / name)
        (draft / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        flush(draft / MANIFEST)
        flush(draft)
        return manifest

    def _move_into_place(self, draft: Path, final: Path) -> None:
        """Rename a complete version to its place; a damaged one in its place is removed first."""
        with self._aside() as take:
            if os.path.lexists(final):
                take(final)
            draft.rename(final)
        flush(final.parent)

    def _add_finished(self, finished: FinishedFile, path: Path) -> None:
        link(finished.path, path)
        if path.stat().st_size != finished.record.bytes:
            raise StoreError(f"{finished.path}: has another size than its task wrote; materialize again")

    def put(self, artifact: Artifact) -> Artifact:
        files = artifact.manifest.files
        shared = {name: record for name, record in files.items() if is_shared(name)}

        def fill(folder: Path) -> Manifest:
            for name, record in shared.items():
                with suppress(FileNotFoundError):  # its version was removed since
                    if record in self._shared:
                        link(self._shared[record], folder / name)
            artifact.copy_to(folder)
            for name, record in files.items():
                if FileRecord.of(folder / name) != record:
                    raise artifact.altered(name)
            return replace(artifact.manifest, files={})

        written = self.write(artifact.address, artifact.manifest, fill, files)
        self._shared |= {record: written.path / name for name, record in shared.items() if record not in self._shared}
        return written

    def publish(self, artifact: Artifact) -> None:
        pointer = self.pointer(artifact.address)
        if self.published_fingerprint(artifact.address) == artifact.fingerprint and pointer.is_symlink():
            return
        self.restore(artifact.address)
        before = self.published_fingerprint(artifact.address)
        if os.path.lexists(pointer) and not is_pointer(pointer):
            if twin := twin_of(pointer):
                raise StoreError(
                    f"{pointer}: cannot be published beside {twin}: this disk does not distinguish upper and lower case in names; rename "
                    "the files of one of the two partitions, or keep the store on another disk"
                )
            found = f"a link to {pointer.readlink()}" if pointer.is_symlink() else "a folder" if pointer.is_dir() else "a file"
            raise StoreError(f"{pointer}: is {found} that the store did not make, where it keeps the pointer of an artifact; move it away")
        with self.writing():
            self._point(artifact.address, artifact.fingerprint)
            for fingerprint in {before, artifact.fingerprint} - {""}:
                with suppress(OSError):  # the folder of another user: its age then counts from when it was written
                    os.utime(self.version_path(artifact.address, fingerprint))

    def _point(self, address: str, fingerprint: str) -> None:
        pointer = self.pointer(address)
        with own_folder(self._area(pointer.parent)) as staging:
            replacement = staging / "link"
            try:
                replacement.symlink_to(f"{VERSIONS}/{self.version_path(address, fingerprint).name}")
            except OSError as problem:
                if problem.errno not in _NO_LINKS:
                    raise
                raise StoreError(
                    f"{self.root}: is on a file system without symbolic links, which the store needs; keep the store on another disk "
                    "(--store)"
                ) from problem
            replacement.replace(pointer)
            flush(pointer.parent)

    def discard(self, address: str, version: Path) -> None:
        with self.writing(), self._aside() as take:
            self._require_own(address, version)
            if version.exists():
                take(version)
            self._unpublish(address, version)  # last: after a kill, a version without its pointer would count as not yet published

    @contextmanager
    def removing(self) -> Iterator[Callable[[str, Path], None]]:
        waiting = "a plan is being made by another command; waiting for it"
        with self._aside() as take, locked(self._lock_file(_REMOVAL), waiting=waiting):

            def remove(address: str, version: Path) -> None:
                self._require_own(address, version)
                self._unpublish(address, version)
                if version.exists():
                    take(version)

            yield remove

    def planning(self) -> AbstractContextManager[None]:
        waiting = "versions are being removed by another command; waiting for it"
        return locked(self._lock_file(_REMOVAL), waiting=waiting, shared=True)

    def _require_own(self, address: str, version: Path) -> None:
        if foreign := foreign_version(self.root, Address(address), version):
            raise ForeignFilesError(f"{version}: {foreign}; the version is left as it is")

    def _unpublish(self, address: str, version: Path) -> None:
        """Remove the pointer of an address if it points to a version."""
        pointer = self.pointer(address)
        if is_pointer(pointer) and real_path(pointer) == real_path(version):
            pointer.unlink()
            flush(pointer.parent)

    @contextmanager
    def _aside(self) -> Iterator[Callable[[Path], None]]:
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
                if unknown := unrecorded(version):
                    raise StoreError(f"{version}: {unknown[0]} in it was not written by the store; move it away")
                if any(version.iterdir()) and not is_readable(version):
                    kept = free_path(version.parent.parent / SET_ASIDE / version.name)
                    version.rename(kept)
                    logger.warning("%s: its manifest cannot be read; kept as %s, for you to look at and remove", version, kept)
                    return
                area = self._area(version.parent.parent)
                if area not in folders:
                    folders[area] = areas.enter_context(own_folder(area))
                version.rename(folders[area] / f"{len(list(folders[area].iterdir()))}")
                flush(version.parent)

            yield take

    def _area(self, beside: Path) -> Path:
        """Return the staging area for renames into a folder: the store's own, or one in the folder if that is on another disk or mount."""
        mounts = {mount_of(next(folder for folder in (path, *path.parents) if folder.exists())) for path in (beside, self.root)}
        return self.root / STAGING if len(mounts) == 1 else beside / STAGING

    def lock(self, name: str, *, silent: bool = False) -> AbstractContextManager[None]:
        return locked(self._lock_file(name), waiting="" if silent else f"{name} is being built by another run; waiting for it")

    def lock_if_free(self, name: str) -> AbstractContextManager[bool]:
        return locked_if_free(self._lock_file(name))

    def hold_lock(self, name: str) -> int | None:
        """Hold the lock of a name until this process ends; see `hold_until_exit`."""
        return hold_until_exit(self._lock_file(name))

    def _lock_file(self, name: str) -> Path:
        path = self.root / LOCKS / f"{Address(name)}.lock"
        with self.writing():
            create_lock(path)
        return path

    def inner(self, name: str) -> "LocalStore":
        return LocalStore(self.root / f".{name}")

    def remove_abandoned_files(self, *, everywhere: bool = False) -> None:
        del everywhere
        with self._staging():
            pass
        for area in (*self.root.glob(f"*/{STAGING}"), *self.root.glob(f"*/*/{STAGING}")):
            with self.writing(), own_folder(area):
                pass

    @contextmanager
    def _staging(self, beside: Path | None = None) -> Iterator[Path]:
        """Create a staging folder for the caller and delete it afterwards. Folders of dead writers are deleted first."""
        with self.writing(), own_folder(self._area(beside or self.root)) as folder:
            yield folder

    def writing(self) -> AbstractContextManager[None]:
        return writing_to(self.root)


def _parts(filled: Manifest | Assembled) -> tuple[Manifest, Mapping[str, FinishedFile]]:
    return (filled.manifest, filled.finished) if isinstance(filled, Assembled) else (filled, {})


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if is_part(path.name)) if folder.is_dir() else []
