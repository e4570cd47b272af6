"""The store: artifacts that are published, never edited.

An artifact has an address, such as ``shakespeare/numpy_cache/hamlet``, and any number of versions, one a fingerprint::

    shakespeare/numpy_cache/.versions/hamlet@<fingerprint>/    a version: files, and the manifest that was written last
    shakespeare/numpy_cache/hamlet -> .versions/hamlet@…       the pointer, flipped in one rename

A version is written in a staging folder of its own and moved into place whole. A reader follows the pointer and sees the old
version or the new one. What a killed writer leaves in staging is removed by the next one: a living writer holds a lock on its
folder, and the kernel lets go of it when the writer dies.

Four verbs are all that the rest of the project knows of it: write a version, flip a pointer, list, open.
"""

import errno
import os
import re
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.pipeline.locking import locked, own_folder
from phyagi_assets.pipeline.manifest import MANIFEST, FileRecord, Manifest

VERSIONS = ".versions"
STAGING = ".staging"
LOCKS = ".locks"

_REFUSALS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""What a disk says that is full, too full for its user, or not to be written to."""

_PART = re.compile(r"[\w%][\w.%-]*")


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
            The address has a part that is no plain name and would lead out of the store.
        """
        parts = address.split("/")
        if len(parts) < 2 or not all(_PART.fullmatch(part) for part in parts):
            raise StoreError(f"{address!r} is no address in the store: its parts are plain names, as in corpus/stage/partition")
        return self.root.joinpath(*parts)

    def _version_path(self, address: str, fingerprint: str) -> Path:
        pointer = self.pointer(address)
        return pointer.parent / VERSIONS / f"{pointer.name}@{fingerprint}"

    def open(self, address: str) -> Artifact | None:
        """The published version of an artifact, or None where nothing is published or it is damaged."""
        pointer = self.pointer(address)
        return self._intact(address, pointer.resolve()) if pointer.exists() else None

    def find(self, address: str, fingerprint: str, holding: Collection[str] = ()) -> Artifact | None:
        """The version with a fingerprint if it is there, its files are, and some are among them, whether published or not."""
        artifact = self._intact(address, self._version_path(address, fingerprint))
        return artifact if artifact and artifact.fingerprint == fingerprint and artifact.holds(holding) else None

    def _intact(self, address: str, path: Path) -> Artifact | None:
        try:
            manifest = Manifest.read(path)
        except StoreError:
            return None
        return None if manifest.damage(path) else Artifact(address=address, path=path, manifest=manifest)

    def list(self) -> Iterator[str]:
        """The addresses of everything published, sorted."""
        for folder in sorted(path for path in self.root.glob("*") if path.is_dir() and not path.name.startswith(".")):
            for stage in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
                if stage.is_symlink():
                    yield f"{folder.name}/{stage.name}"
                elif stage.is_dir():
                    names = sorted(path.name for path in stage.iterdir() if path.is_symlink())
                    yield from (f"{folder.name}/{stage.name}/{name}" for name in names)

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
        final = self._version_path(address, manifest.fingerprint)
        with self._staging() as staging:
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
            if final.exists():
                final.rename(staging / "damaged")
            draft.rename(final)
            _flush(final.parent)
        return Artifact(address=address, path=final, manifest=filled)

    def publish(self, artifact: Artifact) -> None:
        """Point an artifact's address at this version, in one rename."""
        pointer = self.pointer(artifact.address)
        target = os.path.relpath(artifact.path, pointer.parent)
        if pointer.is_symlink() and str(pointer.readlink()) == target:
            return
        with self._staging() as staging:
            link = staging / "link"
            link.symlink_to(target)
            link.replace(pointer)
            _flush(pointer.parent)

    def clear_rubbish(self) -> None:
        """Remove what dead writers have left, as the next writer would."""
        with self._staging():
            pass

    def discard(self, address: str, version: Path) -> None:
        """Take a version out of the store, its pointer first if it is the one that is published.

        Parameters
        ----------
        version
            Its folder.
        """
        pointer = self.pointer(address)
        if pointer.is_symlink() and pointer.resolve() == version.resolve():
            pointer.unlink()
        if version.exists():
            with self._staging() as staging:
                version.rename(staging / "discarded")

    @contextmanager
    def turn(self, name: str, *, silent: bool = False) -> Iterator[None]:
        """Do something of a name while no other process does: whoever comes second waits, and finds it done.

        The kernel holds the lock for the process and lets go of it when the process dies, however it dies.

        Parameters
        ----------
        name
            An address, or another name of that form.
        silent
            Whether to say nothing of waiting.
        """
        path = self.root / LOCKS / f"{self.pointer(name).relative_to(self.root)}"
        with self.writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_name(f"{path.name}.lock").touch()
        waiting = "" if silent else f"{name} is being built by another run; waiting for it"
        with locked(path.with_name(f"{path.name}.lock"), waiting=waiting):
            yield

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder of the caller's own, gone afterwards; whatever dead writers left is cleared first."""
        with self.writing(), own_folder(self.root / STAGING) as folder:
            yield folder

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While the store is written to: what the disk refuses is something that the user can put right.

        Raises
        ------
        StoreError
            The disk is full, too full for its user, or not to be written to.
        """
        try:
            yield
        except OSError as problem:
            if problem.errno not in _REFUSALS:
                raise
            said = os.strerror(problem.errno)
            raise StoreError(f"{self.root}: cannot be written to: {said}; what was published stands, and can be gone on with") from problem


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
