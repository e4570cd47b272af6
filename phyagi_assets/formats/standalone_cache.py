"""Standalone cache folders, which `phyagi_assets.datasets` writes for its user outside any store.

The new files are written into a draft folder inside the cache folder and replace the old files when they are complete. During the
replacement, and after it if the process dies, the manifest of the cache folder lists no files, so that no reader takes a mixture of two
caches for a complete one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import ARRAYS, array_path
from phyagi_assets.paths import real_path
from phyagi_assets.store.manifest import MANIFEST, Manifest, records_of

_DRAFT = ".draft-"


def replace_cache(folder: Path, expected: Manifest, fill: Callable[[Path], Manifest]) -> Manifest:
    """Replace the cache in a folder, if there is one, by a new cache. Other files in the folder are kept.

    Parameters
    ----------
    folder
        The cache folder. It is created if it does not exist.
    expected
        Manifest without files or counts.
    fill
        Function that writes the files of the cache into an empty folder and returns the completed manifest.

    Returns
    -------
    Manifest
        The manifest from `fill`, with the records of the files.

    Raises
    ------
    StoreError
        A subfolder that has to be replaced is a link, or holds a file that does not belong to the cache.
    """
    with draft_in(folder) as draft:
        filled = fill(draft)
        files = records_of(draft)
        manifest = replace(filled, files=files)
        with closing(_Lock(folder)):
            known = _files_of(folder)
            _refuse_foreign(folder, known, [entry.name for entry in draft.iterdir() if entry.is_dir()])
            stale = known - set(files)
            _write_manifest(folder, expected)
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
    """Create an empty draft folder inside a folder, and delete it afterwards. Draft folders of dead processes are deleted first.

    Parameters
    ----------
    folder
        The outer folder. It is created if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with closing(_Lock(folder)):  # a draft that is created but not yet locked would look like that of a dead process
        for stale in folder.glob(f"{_DRAFT}*"):
            with suppress(BlockingIOError, FileNotFoundError), closing(_Lock(stale, wait=False)):
                shutil.rmtree(stale, ignore_errors=True)
        draft = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
        lock = _Lock(draft)
    with closing(lock):
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


class _Lock:
    """A lock on a folder, held until it is closed or the process ends."""

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
    """Return the paths of the files that may belong to the present cache: standard names, and names that its manifest records."""
    standard = {array_path(Path(), split, ending).name for split in SPLITS for ending in ARRAYS}
    try:
        recorded = Manifest.read(folder).files
    except StoreError:  # a cache of the reference library, or no cache
        return standard
    return standard | {name for name in recorded if real_path(folder / name).is_relative_to(real_path(folder))}  # never delete outside


def _refuse_foreign(folder: Path, known: set[str], names: Iterable[str]) -> None:
    """Refuse to replace subfolders that are links or that hold files that do not belong to the cache."""
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
