"""Find versions in the store that nothing references, and remove them.

Published versions of partitions that are still in the source are kept, and so is every version that a kept plan names, because a training
run reads its plan to the end. Superseded plans are kept too, unless the caller says that no run reads them. Only versions that the store
made are removed.

Between the search and the removal, another command may publish a version again or make a plan that names it. Each version is therefore
checked again before it is removed, under locks that keep other commands from making a plan or working on the artifact.
"""

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.inspection.survey import Foreign, Survey, Version, survey
from phyagi_assets.sources.snapshot import TRANSFERS, clear_transfers
from phyagi_assets.store.local import Store, version_named
from phyagi_assets.store.manifest import Manifest

SUPERSEDED = "superseded"
RETIRED = "its partition is gone from the source"
UNDECLARED = "not declared any more"
OLD_PLAN = "a superseded plan"
BROKEN_OFF = "a transfer that was broken off, of a partition that is gone"

_NAMED = re.compile(r"([^/]+/[^/]+)/\.versions/([^/]+)")
"""Address and version in the path of a token array."""

Named = set[tuple[str, str]]
"""Versions, each by its address and fingerprint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Removable:
    """A version, or an interrupted transfer, that can be removed."""

    name: str
    """Path relative to the root of the store."""
    path: Path
    why: str
    bytes: int
    """Size on disk, in bytes, including files that other versions share."""
    address: str
    is_published: bool
    cleaning: "Cleaning" = field(repr=False, compare=False)

    def remove(self) -> bool:
        """Remove the version unless it is needed by now, and return whether it was removed."""
        return bool(self.cleaning.remove([self]))


@dataclass(kw_only=True, slots=True)
class Cleaning:
    """Finds and removes the versions in a store that nothing references.

    Parameters
    ----------
    store
        The store.
    partitions
        Keys of the partitions in the source of each declared corpus.
    mixtures
        Names of the declared mixtures.
    old_plans
        Whether to remove superseded plans, and the versions that only they name.
    grace
        Time for which a version is kept after it was written or last published.
    others
        Names of corpora and mixtures that belong to another data folder, each with the reason; their versions are kept.
    """

    store: Store
    partitions: Mapping[str, Collection[str]]
    mixtures: Collection[str]
    old_plans: bool = False
    grace: timedelta = timedelta(0)
    others: Mapping[str, str] = field(default_factory=dict)
    foreign: list[Foreign] = field(default_factory=list)
    """Files, links and folders left alone, because the store did not make them or cannot account for them."""
    young: int = 0
    """Number of versions that are kept only because of the grace period."""

    def find(self) -> list[Removable]:
        """Find the versions that can be removed.

        Raises
        ------
        StoreError
            Neither a plan nor its manifest can be read, so that the versions that it names are unknown.
        """
        surveyed = survey(self.store)
        self.foreign, self.young = list(surveyed.foreign), 0
        candidates = [(version, why) for version, why in self._unneeded(surveyed) if not version.protected]
        found = []
        for version, why in candidates:
            if version.name in self.others:
                continue
            if self._is_young(version.path):
                self.young += 1
            else:
                found.append(self._removable(version.path, why, version.address, is_published=version.is_published))
        self.foreign += [Foreign(path=self.store.root / name, why=why) for name, why in self.others.items()]
        return found + [item for item in self._transfers() if item.name.split("/")[1] not in self.others]

    def _unneeded(self, surveyed: Survey) -> Iterable[tuple[Version, str]]:
        named: Named = set()
        for version in surveyed.versions:
            if version.is_plan:
                undeclared = version.name not in self.mixtures and version.name not in self.others
                why = UNDECLARED if undeclared else OLD_PLAN if self.old_plans and not version.is_published else ""
                if why and not version.protected:
                    yield version, why
                    if not self._is_young(version.path):
                        continue
                named |= self._named(version)
        for version in surveyed.versions:
            if not version.is_plan and (version.address, version.fingerprint) not in named:
                is_there = version.is_of_corpus or version.partition in self.partitions.get(version.name, ())
                is_there = is_there and version.name in self.partitions
                if not (is_there and version.is_published):
                    yield version, UNDECLARED if version.name not in self.partitions else SUPERSEDED if is_there else RETIRED

    def _named(self, version: Version) -> Named:
        """Return the versions of caches that a plan reads, including that of its tokenizer."""
        try:
            plan = read_plan(version.path / PLAN)
        except StoreError as problem:
            self.foreign.append(Foreign(path=version.path, why=f"its plan cannot be read, what its manifest names is kept ({problem})"))
            return _named_by_manifest(version.manifest)
        paths = [shard.path for corpus in plan.corpora for partition in corpus.partitions for shard in partition.shards.values()]
        named: Named = {
            (f"{corpus.name}/numpy_cache/{partition.key}", partition.fingerprint)
            for corpus in plan.corpora
            for partition in corpus.partitions
        }
        for path in (*paths, plan.tokenizer):
            if (found := _NAMED.search(path)) and (of := version_named(found[2])):
                named.add((f"{found[1]}/{of[0]}", of[1]))
        return named

    def _is_young(self, folder: Path) -> bool:
        return self.grace > timedelta(0) and time.time() - folder.stat().st_mtime < self.grace.total_seconds()

    def _transfers(self) -> Iterable[Removable]:
        for corpus in _folders(self.store.root / TRANSFERS):
            for folder in _folders(corpus):
                if folder.name not in self.partitions.get(corpus.name, ()) and not self._is_young(folder):
                    yield self._removable(folder, BROKEN_OFF, f"{corpus.name}/transfers/{folder.name}", is_published=False)

    def _removable(self, path: Path, why: str, address: str, *, is_published: bool) -> Removable:
        return Removable(
            name=path.relative_to(self.store.root).as_posix(),
            path=path,
            why=why,
            bytes=sum(file.lstat().st_size for file in path.rglob("*") if file.is_file()),
            address=address,
            is_published=is_published,
            cleaning=self,
        )

    def remove(self, items: Iterable[Removable]) -> list[Removable]:
        """Remove versions that were found, except those that are needed by now or that another command works on.

        The pointer of a version is removed first, then its folder in one rename, so that a reader sees the whole version or nothing.

        Returns
        -------
        list of Removable
            The versions that were removed.
        """
        removed = []
        with self.store.aside() as take, self.store.removing():
            still = {item.path: item for item in self.find()}
            for item in items:
                if item.path not in still:
                    continue
                with self.store.turn_if_free(item.address) as free:
                    if not free:
                        continue
                    if item.why == BROKEN_OFF:
                        clear_transfers(item.path)
                        removed.append(item)
                    elif self._take(still[item.path], take):
                        removed.append(item)
        return removed

    def _take(self, item: Removable, take: Callable[[Path], None]) -> bool:
        _, fingerprint = version_named(item.path.name) or ("", "")
        is_published = self.store.leads_to(item.address) == fingerprint
        if is_published != item.is_published:  # another command published or replaced it since the search
            return False
        with suppress(StoreError):  # a file was added to the folder since the search
            self.store.withdraw(item.address, item.path, take)
            return True
        return False


def removable(
    store: Store, partitions: Mapping[str, Collection[str]], mixtures: Collection[str], *, old_plans: bool = False
) -> list[Removable]:
    """Find the versions that can be removed, whatever their age; the arguments are those of `Cleaning`."""
    return Cleaning(store=store, partitions=partitions, mixtures=mixtures, old_plans=old_plans).find()


def _named_by_manifest(manifest: Manifest) -> Named:
    try:
        return {(f"{corpus}/numpy_cache/{key}", of) for corpus, caches in manifest.inputs.items() for key, of in caches.items()}
    except (AttributeError, TypeError):
        raise StoreError(f"neither the plan nor the manifest of {manifest.fingerprint} tells what it names") from None


def _folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, without links."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
