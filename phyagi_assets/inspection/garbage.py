"""Find versions in the store that nothing references, and remove them.

Published versions of partitions that are still in the source are kept, and so is every version that a kept plan names, because a training
run reads its plan to the end. Superseded plans are kept too, unless the caller says that no run reads them. Only versions that the store
made are removed.

Between the search and the removal, another command may publish a version again or make a plan that names it. Each version is therefore
checked again before it is removed, under locks that keep other commands from making a plan or working on the artifact.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Literal

from phyagi_assets.errors import ForeignFilesError, StoreAccessError, StoreError
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.formats.plan_versions import versions_of_plan
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.sources.snapshot import clear_transfers
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.chunk_results import clear_chunks
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.store.addresses import Address, Version
from phyagi_assets.store.artifact import StoredVersion
from phyagi_assets.store.base import Foreign, Store
from phyagi_assets.store.manifest import Manifest


class Reason(StrEnum):
    """Reason why a version or transfer can be removed; the value is shown to users."""

    SUPERSEDED = "superseded"
    RETIRED = "its partition is gone from the source"
    UNDECLARED = "not declared any more"
    OLD_PLAN = "a superseded plan"
    SPARE = "a second copy, left where the links of a copied store were restored"
    BROKEN_OFF = "a transfer that was broken off, of a partition that is gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Removable:
    """A version, a second copy of one, or an interrupted transfer, that can be removed."""

    name: str
    """Path relative to the root of the store."""
    path: Path
    why: Reason
    bytes: int
    """Size of the files in bytes, without the tokenizer, which versions share."""
    address: Address
    fingerprint: str = ""
    """Fingerprint of the version; empty for an interrupted transfer."""
    is_published: bool = False

    @classmethod
    def of(cls, version: StoredVersion, why: Reason) -> "Removable":
        """Return a version, or a second copy of one, as removable."""
        return cls(
            name=f"{Path(version.version.path).parent}/{version.path.name}" if why is Reason.SPARE else version.version.path,
            path=version.path,
            why=why,
            bytes=version.manifest.own_bytes,
            address=version.address,
            fingerprint=version.fingerprint,
            is_published=version.is_published,
        )


@dataclass(kw_only=True, slots=True)
class Cleaning:
    """Finds and removes the versions in a store that nothing references.

    Parameters
    ----------
    partitions
        Keys of the partitions in the source of each declared corpus.
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
    foreign: list[Foreign] = field(default_factory=list, init=False)
    """Files, links and folders that stay, because the store did not make them or cannot identify them."""
    young: int = field(default=0, init=False)
    """Number of versions that are kept only because of the grace period."""

    def find(self) -> list[Removable]:
        """Find all removable items.

        Raises
        ------
        StoreError
            A plan or its manifest cannot be read, or the folder of a mixture is on a disk that is not mounted, so the versions that its
            plans name are unknown.
        """
        surveyed, now = self.store.survey(), self.store.now()
        self._require_known_plans(surveyed.foreign)
        self.foreign, self.young = list(surveyed.foreign), 0
        written = _written([*surveyed.versions, *surveyed.spares])
        young = {path for path, time_written in written.items() if self._is_young(time_written, now)}
        found = []
        for version, why in self._unneeded([version for version in surveyed.versions if version.path in written], young):
            if version.protected or version.address.name in self.others:
                continue
            if version.path in young:
                self.young += 1
            else:
                found.append(Removable.of(version, why))
        self.foreign += [Foreign(path=self.store.place(name), why=why) for name, why in self.others.items()]
        spares = self._spares([spare for spare in surveyed.spares if spare.path in written], young)
        return [*spares, *found, *self._transfers()]  # second copies first, while their versions exist

    def _require_known_plans(self, foreign: Iterable[Foreign]) -> None:
        """Raise an error if a plan cannot be read, because the versions that it names are unknown."""
        homes = {self.store.place(name) for name in self.mixtures}
        for each in foreign:
            if each.version and _is_plan(each.version) and not self._why_unneeded(each.version, self._is_published(each.version)):
                raise StoreError(
                    f"{each}; what this plan names is unknown, so nothing is removed; correct its permissions, or set a damaged plan aside "
                    "with: phyagi-assets check --discard"
                )
            if each.path in homes and isinstance(each.path, Path) and not each.path.exists():
                raise StoreError(f"{each}; what the plans there name is unknown, so nothing is removed; mount its disk, or remove the link")

    def _unneeded(self, versions: Sequence[StoredVersion], young: Collection[Path]) -> Iterable[tuple[StoredVersion, Reason]]:
        named: set[Version] = set()
        for version in versions:
            if _is_plan(version):
                why = self._why_unneeded(version, version.is_published)
                if why and not version.protected:
                    yield version, why
                    if version.path not in young:
                        continue
                named |= self._named(version)
        for version in versions:
            if not _is_plan(version) and version.version not in named:
                address, partitions = version.address, self.partitions.get(version.address.name)
                is_there = partitions is not None and (not address.is_of_partition or address.key in partitions)
                if not (is_there and version.is_published):
                    yield version, Reason.UNDECLARED if partitions is None else Reason.SUPERSEDED if is_there else Reason.RETIRED

    def _why_unneeded(self, plan: Version | StoredVersion, is_published: bool) -> Reason | None:
        """Return the reason why a plan is not needed, or None if it is."""
        if plan.address.name not in self.mixtures and plan.address.name not in self.others:
            return Reason.UNDECLARED
        return Reason.OLD_PLAN if self.old_plans and not is_published else None

    def _is_published(self, version: Version | Removable) -> bool:
        return self.store.published_fingerprint(version.address) == version.fingerprint

    def _spares(self, spares: Sequence[StoredVersion], young: Collection[Path]) -> Iterable[Removable]:
        """Yield the second copies of versions, except those whose version is missing or damaged."""
        for spare in spares:
            version = self.store.find(spare.address, spare.fingerprint)
            why = spare.protected or ("" if version else f"is the only copy of {spare.version.path}")
            if why:
                self.foreign.append(Foreign(path=spare.path, why=why))
            elif spare.path in young:
                self.young += 1
            elif spare.address.name not in self.others:
                yield Removable.of(spare, Reason.SPARE)

    def _named(self, version: StoredVersion) -> set[Version]:
        """Return the versions of caches that a plan reads, including that of its tokenizer."""
        try:
            plan = plan_of(version)
        except StoreAccessError:
            raise
        except StoreError as problem:
            place = version.place if version.remote else version.path
            self.foreign.append(Foreign(path=place, why=f"its plan cannot be read, what its manifest names is kept ({problem})"))
            return _named_by_manifest(version.manifest)
        named = {_cache(corpus.name, partition.key, partition.fingerprint) for corpus in plan.corpora for partition in corpus.partitions}
        return named | versions_of_plan(plan)

    def _is_young(self, written: float, now: float) -> bool:
        """Return whether a version was written within the grace period."""
        return self.grace > timedelta(0) and now - written < self.grace.total_seconds()

    def _transfers(self) -> Sequence[Removable]:
        found = []
        for transfer in self.store.unfinished():
            corpus, partition = transfer.address.name, transfer.address.key
            if partition in self.partitions.get(corpus, ()) or corpus in self.others:
                continue
            with suppress(FileNotFoundError):  # its run has just ended
                if not self._is_young(transfer.path.stat().st_mtime, time.time()):  # files of this machine, also of a bucket
                    found.append(
                        Removable(
                            name=transfer.name, path=transfer.path, why=Reason.BROKEN_OFF, bytes=transfer.bytes, address=transfer.address
                        )
                    )
        return found

    def remove(self, items: Iterable[Removable]) -> list[Removable]:
        """Remove the versions that were found, except those that are needed again or that another command is working on.

        The pointer of a version is removed first, then its folder in one rename, so that a reader sees the whole version or nothing.
        """
        removed = []
        with self.store.removing() as remove:
            still = {item.path: item for item in self.find()}
            for item in (still[item.path] for item in items if item.path in still):
                with self.store.lock_if_free(item.address) as free:
                    if free and self._removed(item, remove):
                        removed.append(item)
        return removed

    def _removed(self, item: Removable, remove: Callable[[str, Path], None]) -> bool:
        """Remove an item that was just found, unless it has changed since. Return whether it was removed."""
        if item.why is Reason.BROKEN_OFF:
            clear_transfers(item.path)
            clear_chunks(item.path)
            return True
        if not self._is_as_found(item):
            return False
        try:
            remove(item.address, item.path)
        except ForeignFilesError:  # a file was added to the folder since the search
            return False
        return True

    def _is_as_found(self, item: Removable) -> bool:
        """Return whether a version is still as it was found, published or not; for a second copy, whether its version is intact."""
        if item.why is not Reason.SPARE:
            return self._is_published(item) == item.is_published
        version = self.store.find(item.address, item.fingerprint)
        return version is not None and not version.damage(checksums=True)


class RemovableVersion(Record):
    """A version that can be removed, or was."""

    name: str
    """Path relative to the root of the store."""
    address: str
    why: str
    """Reason why it is no longer needed."""
    bytes: int
    """Size of the files in bytes, without the tokenizer, which versions share."""
    removed: bool


class CleanReport(Report):
    """The versions in a store that are no longer needed."""

    report: Literal["clean"] = "clean"
    version: Literal[1] = 1
    is_dry_run: bool
    """Whether nothing was to be removed, because ``--yes`` was not given."""
    versions: tuple[RemovableVersion, ...]
    left_alone: tuple[str, ...]
    """Files, links and folders that are left alone, each with the reason."""
    young: int
    """Number of versions that are kept only because they were written or published recently, see ``--grace``."""

    @classmethod
    def of(cls, found: Sequence[Removable], cleaning: Cleaning, removed: Sequence[Removable] | None) -> "CleanReport":
        """Return the report of a search and, unless `removed` is None, of the removal."""
        gone = {item.path for item in removed or ()}
        return cls(
            is_dry_run=removed is None,
            versions=tuple(
                RemovableVersion(name=item.name, address=item.address, why=item.why.value, bytes=item.bytes, removed=item.path in gone)
                for item in found
            ),
            left_alone=tuple(map(str, cleaning.foreign)),
            young=cleaning.young,
        )


def _written(versions: Iterable[StoredVersion]) -> dict[Path, float]:
    """Return the times at which versions were written or last published, by folder; those removed since the survey are left out."""
    written = {}
    for version in versions:
        with suppress(FileNotFoundError):
            written[version.path] = version.written
    return written


def _is_plan(version: Version | StoredVersion) -> bool:
    return version.address.step == MIXTURE.name


def _cache(corpus: str, partition: str, fingerprint: str) -> Version:
    return Version(Address(CACHE.address(corpus, partition)), fingerprint)


def _named_by_manifest(manifest: Manifest) -> set[Version]:
    try:
        return {_cache(corpus, key, fingerprint) for corpus, caches in manifest.inputs.items() for key, fingerprint in caches.items()}
    except (AttributeError, TypeError):
        raise StoreError(f"neither the plan nor the manifest of {manifest.fingerprint} lists the versions that it names") from None
