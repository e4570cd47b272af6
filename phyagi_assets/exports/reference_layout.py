"""Copy caches to the layout of the reference library, one folder per partition.

::

    <corpus>/<partition>/train.npy                 the ids of all pieces, as one array
    <corpus>/<partition>/train_labels.npy          for conversations: the label of each token, -100 where it is not trained on
    <corpus>/<partition>/train.documents.npy …     where documents end and come from
    <corpus>/<partition>/tokenizer.pkl, tokenizer/, config.json, manifest.json

A folder appears when it is completely written and verified; in a bucket, the manifest is the last object. A folder whose manifest names the
version to copy is not written again.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from phyagi_assets.errors import StoreError
from phyagi_assets.exports.targets import Target
from phyagi_assets.formats.cache_folder import (
    DOCUMENTS,
    HASHES,
    IDS,
    LABELS,
    ORIGINS,
    PIECES,
    array_path,
    counts_of_files,
)
from phyagi_assets.formats.npy import ArrayWriter, array_blocks, open_array
from phyagi_assets.formats.plan_versions import caches_of_plan, mixtures_in, published_plan
from phyagi_assets.formats.standalone_cache import draft_in
from phyagi_assets.formats.trained_bits import MASK, with_ignored
from phyagi_assets.steps.cache import STEP
from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.copying import problems_of, unread_versions
from phyagi_assets.store.disk import flush, writing_to
from phyagi_assets.store.manifest import MANIFEST, FileRecord, Manifest, records_of

_BLOCK = 1 << 20
"""Number of bytes to read at once; a multiple of 8, so that a block of a mask holds whole bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheCopy:
    """One cache to copy."""

    artifact: Artifact
    target: Target
    is_there: bool
    """Whether the target has it already."""

    @property
    def name(self) -> str:
        """Path of its folder in the target."""
        return folder_name(self.artifact)

    @property
    def bytes(self) -> int:
        """Number of bytes to copy."""
        return 0 if self.is_there else self.artifact.bytes

    def run(self) -> Sequence[str]:
        """Copy the cache, unless it is already there, and return the problems that prevent the copy."""
        try:
            if not self.is_there:
                self._write()
        except (StoreError, OSError):
            if problems := problems_of(self.artifact):
                return problems
            raise
        return ()

    def _write(self) -> None:
        work = self.target.work_folder()
        with writing_to(work, "what was copied is kept, and the command can be repeated"), draft_in(work) as around:
            draft = around / "cache"
            draft.mkdir()
            (draft / MANIFEST).write_text(_join(self.artifact, draft).to_json(), encoding="utf-8")
            for path in draft.rglob("*"):
                flush(path)
            self.target.place(draft, self.name)


def folder_name(cache: Artifact) -> str:
    """Return the path of the folder of a cache in a target."""
    address = Address(cache.address)
    return f"{address.name}/{address.key}"


def cache_copies(store: Store, target: Target, names: Sequence[str]) -> list[CacheCopy]:
    """Return the caches to copy.

    Parameters
    ----------
    names
        Corpora, whose published caches are copied, and mixtures, for which the caches that the published plan names are copied; by
        default, all published caches. If a partition changed during a run, the version that the plan reads last is copied.

    Raises
    ------
    StoreError
        The store has no corpus or mixture of a name, or two names name different versions of a partition.
    """
    survey = [version for version in store.survey().versions if version.address.step == STEP]
    corpora = {version.address.name for version in survey}
    chosen: dict[Address, tuple[Version, str]] = {}
    for name in names or sorted(corpora):
        for cache in _caches(
            store, name, [version.version for version in survey if version.is_published and version.address.name == name], corpora
        ):
            known, by = chosen.setdefault(cache.address, (cache, name))
            if known != cache:
                raise StoreError(
                    f"{name!r} and {by!r} name different versions of {cache.address}, which would have the same folder; copy them to "
                    "different places"
                )
    found = []
    for version in survey:
        if chosen.get(version.address, (None, ""))[0] == version.version:
            there = target.manifest(folder_name(version))
            is_there = there is not None and there.fingerprint == version.fingerprint
            found.append(CacheCopy(artifact=version, target=target, is_there=is_there))
    return found


def unread_caches(store: Store, names: Sequence[str]) -> dict[Version, str]:
    """Return the caches of `cache_copies` that are not copied because their manifests cannot be read, each with the reason."""
    unread = {version: why for version, why in unread_versions(store).items() if version.address.step == STEP}
    planned = {version for name in {*names} & {*mixtures_in(store)} for version in caches_of_plan(published_plan(store, name)[1]).values()}
    return {version: why for version, why in unread.items() if not names or version.address.name in names or version in planned}


def _caches(store: Store, name: str, published: list[Version], corpora: Collection[str]) -> Collection[Version]:
    """Return the versions to copy for the name of a corpus or a mixture, given the published ones of that name."""
    if name in corpora:
        return published
    mixtures = mixtures_in(store)
    if name not in mixtures:
        there = ", ".join(sorted({*corpora, *mixtures})) or "none"
        raise StoreError(f"{name!r} is not a corpus or mixture materialized in {store} (there: {there})")
    return caches_of_plan(published_plan(store, name)[1]).values()


def _join(cache: Artifact, folder: Path) -> Manifest:
    """Write a cache to a folder with one file per array, and return its manifest."""
    manifest = cache.manifest
    arrays = {f"{stem}{ending}" for split in manifest.counts for stem in counts_of_files(manifest, split) for ending in (*_ARRAYS, MASK)}
    others = [name for name in manifest.files if name not in arrays]
    source = cache.folder(*others)
    for name in others:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)
    dtype = np.dtype(manifest.details["dtype"])
    for split, given in manifest.counts.items():
        for ending in _ARRAYS:
            _joined(array_path(folder, split, ending), _blocks(cache, split, ending), dtype if ending == IDS else _ARRAYS[ending])
        if "trained" in given:
            _joined(array_path(folder, split, LABELS), _labels(cache, split), np.dtype(np.int32))
    details = {name: value for name, value in manifest.details.items() if name != PIECES}
    counts = {split: {name: count for name, count in given.items() if name != "trained"} for split, given in manifest.counts.items()}
    files = records_of(folder)
    for name in others:
        if files[name] != manifest.files[name]:
            raise cache.altered(name)
    return replace(manifest, details=details, counts=counts, files=files)


_ARRAYS: Mapping[str, np.dtype[Any]] = {
    IDS: np.dtype(np.int32),
    DOCUMENTS: np.dtype(np.int64),
    ORIGINS: np.dtype(np.int64),
    HASHES: np.dtype(np.uint64),
}
"""Endings and dtypes of the arrays that are joined; the dtype of the ids is that of the cache."""


def _joined(path: Path, blocks: Iterator[npt.NDArray[Any]], dtype: np.dtype[Any]) -> None:
    """Write blocks as one array, and verify it by reading it again."""
    state, writer = xxhash.xxh3_128(), None
    try:
        for block in blocks:
            writer = writer or ArrayWriter(path, dtype, row=block.shape[1:])
            state.update(np.ascontiguousarray(block, dtype).data)
            writer.append(block)
    finally:
        (writer or ArrayWriter(path, dtype)).close()
    written = xxhash.xxh3_128()
    for block in array_blocks(path, _BLOCK):
        written.update(np.ascontiguousarray(block).data)
    if written.digest() != state.digest():
        raise StoreError(f"{path}: is not what was written to it (checksum differs); check the disk, and run the command again")


def _files(cache: Artifact, split: str, ending: str) -> Iterator[tuple[Path, Mapping[str, int]]]:
    """Yield the verified files of an array of a split, with the counts of each."""
    for stem, counts in counts_of_files(cache.manifest, split).items():
        name = f"{stem}{ending}"
        if name not in cache.manifest.files:
            raise StoreError(f"{cache.place}: has no {name}; materialize the corpus again")
        path = cache.folder(name) / name
        if FileRecord.of(path) != cache.manifest.files[name]:
            raise cache.altered(name)
        yield path, counts


def _blocks(cache: Artifact, split: str, ending: str) -> Iterator[npt.NDArray[Any]]:
    before = 0
    for path, counts in _files(cache, split, ending):
        for block in array_blocks(path, _BLOCK):
            yield block + before if ending == DOCUMENTS else block
        before += counts["tokens"]


def _labels(cache: Artifact, split: str) -> Iterator[npt.NDArray[Any]]:
    masks = _files(cache, split, MASK)
    for (ids, counts), (mask, _) in zip(_files(cache, split, IDS), masks, strict=True):
        octets, start = open_array(mask, mapped=True), 0
        for block in array_blocks(ids, _BLOCK):
            yield with_ignored(block, octets[start // 8 : -(-(start + len(block)) // 8)])
            start += len(block)
        if start != counts["tokens"]:
            raise cache.altered(ids.name)
