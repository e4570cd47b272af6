"""A cache folder that stands by itself, outside any store: what the dataset library writes for its user.

The new files are made in a draft beside the old ones and take their places when they are whole. While they do, and if the process dies
meanwhile, the folder's manifest knows of no file, so that no reader takes half of one cache and half of another for a whole.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from phyagi_assets.declare.schema import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.paths import real_path
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest

_DRAFT = ".draft-"
_OF_A_SPLIT = (".npy", ".documents.npy", ".origins.npy", ".hashes.npy", "_labels.npy")


def replace_cache(folder: Path, wanted: Manifest, fill: Callable[[Path], Manifest]) -> Manifest:
    """Put a new cache in the place of whatever cache a folder holds; other files in it are left alone.

    Parameters
    ----------
    folder
        The cache; made if need be.
    wanted
        What the cache is made from.
    fill
        Given an empty folder, writes the cache's files and returns the manifest completed with what it wrote.

    Returns
    -------
    Manifest
        With the records of the files.

    Raises
    ------
    StoreError
        A folder of the cache holds a file that the cache did not write.
    """
    with draft_in(folder) as draft:
        filled = fill(draft)
        files = {path.relative_to(draft).as_posix(): FileRecord.of(path) for path in sorted(draft.rglob("*")) if path.is_file()}
        manifest = replace(filled, files=files)
        with closing(_Lock(folder)):
            known = _files_of(folder)
            _refuse_foreign(folder, known, [entry.name for entry in draft.iterdir() if entry.is_dir()])
            stale = known - set(files)
            _write_manifest(folder, wanted)
            for file in stale:
                (folder / file).unlink(missing_ok=True)
            for entry in sorted(draft.iterdir()):
                if entry.is_dir():
                    shutil.rmtree(folder / entry.name, ignore_errors=True)
                entry.replace(folder / entry.name)
            _write_manifest(folder, manifest)
    return manifest


@contextmanager
def draft_in(folder: Path) -> Iterator[Path]:
    """An empty folder in another, which is made if need be; gone afterwards, as are those that dead processes left there."""
    folder.mkdir(parents=True, exist_ok=True)
    with closing(_Lock(folder)):  # a draft that is made and not yet locked would be taken for a dead one
        for left in folder.glob(f"{_DRAFT}*"):
            with suppress(BlockingIOError, FileNotFoundError), closing(_Lock(left, wait=False)):
                shutil.rmtree(left, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        lock = _Lock(draft)
    with closing(lock):
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class _Lock:
    """A lock on a folder until it is closed, or its process ends."""

    def __init__(self, folder: Path, *, wait: bool = True) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._descriptor)


def _files_of(folder: Path) -> set[str]:
    """The files of the cache that is there."""
    usual = {f"{split}{ending}" for split in SPLITS for ending in _OF_A_SPLIT}
    try:
        recorded = Manifest.read(folder).files
    except StoreError:  # written by the reference library, or by nobody
        return usual
    return usual | {name for name in recorded if real_path(folder / name).is_relative_to(real_path(folder))}  # a manifest may lie


def _refuse_foreign(folder: Path, known: set[str], names: Iterable[str]) -> None:
    """Refuse to replace folders of a cache that are links, or hold files that the cache did not write."""
    for name in names:
        place = folder / name
        found = [place] if place.is_symlink() else [path for path in sorted(place.rglob("*")) if path.is_symlink() or not path.is_dir()]
        foreign = [path for path in found if path.relative_to(folder).as_posix() not in known]
        if foreign:
            raise StoreError(f"{foreign[0]}: is not a file of the cache in {folder}, which replaces {place}; move it elsewhere")


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    draft = folder / f".{MANIFEST}"
    draft.write_text(manifest.to_json(), encoding="utf-8")
    draft.replace(folder / MANIFEST)
