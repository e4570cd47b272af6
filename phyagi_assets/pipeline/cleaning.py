"""What in a store nobody needs any more.

Kept is what is published of partitions that are still there, and whatever a kept plan names: a training run reads its plan to the end.
A plan that another has taken the place of is kept too, unless it is said that no run reads such plans any more.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.pipeline.snapshot import TRANSFERS
from phyagi_assets.pipeline.store import VERSIONS, Store
from phyagi_assets.plan import PLAN, Plan

SUPERSEDED = "superseded"
RETIRED = "its partition is gone from the source"
UNDECLARED = "not declared any more"
OLD_PLAN = "a plan that another has taken the place of"
BROKEN_OFF = "a transfer that was broken off, of a partition that is gone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Removable:
    """A version that can go."""

    name: str
    """Its path in the store."""
    path: Path
    why: str
    bytes: int
    """On disk; files that other versions share are counted too."""
    pointer: Path | None
    """What publishes it, and goes with it."""

    def remove(self) -> None:
        """Remove it, its pointer first: a reader sees it whole, or not at all."""
        if self.pointer is not None:
            self.pointer.unlink(missing_ok=True)
        shutil.rmtree(self.path)


def removable(
    store: Store, partitions: Mapping[str, Collection[str]], mixtures: Collection[str], *, old_plans: bool = False
) -> list[Removable]:
    """Find what can go.

    Parameters
    ----------
    store
        The store.
    partitions
        The keys of the partitions that there are, by declared corpus.
    mixtures
        The declared mixtures.
    old_plans
        Whether plans that another has taken the place of can go, and with them what they alone name.

    Raises
    ------
    StoreError
        A plan cannot be read, so that nobody knows what it names.
    """
    found: list[Removable] = []
    named: set[Path] = set()
    for version in versions_in(store.root, "*"):
        mixture, is_published = version.parents[1].name, is_current(version)
        why = UNDECLARED if mixture not in mixtures else OLD_PLAN if old_plans and not is_published else None
        if why:
            found.append(_removable(store, version, why, is_published=is_published))
        else:
            named |= _named(version)
    for version in versions_in(store.root, "*/*"):
        corpus, is_published = version.parents[2].name, is_current(version)
        is_there = version.name.rpartition("@")[0] in partitions.get(corpus, ())
        if version not in named and not (is_there and is_published):
            why = UNDECLARED if corpus not in partitions else SUPERSEDED if is_there else RETIRED
            found.append(_removable(store, version, why, is_published=is_published))
    for transfer in sorted((store.root / TRANSFERS).resolve().glob("*/*")):
        if transfer.name not in partitions.get(transfer.parent.name, ()):
            found.append(_removable(store, transfer, BROKEN_OFF, is_published=False))
    return found


def versions_in(root: Path, above: str) -> Iterator[Path]:
    """The versions below the folders that a pattern names, but not those of the store's own records."""
    for version in sorted(root.resolve().glob(f"{above}/{VERSIONS}/*@*")):
        if not version.relative_to(root.resolve()).parts[0].startswith("."):
            yield version


def _pointer(version: Path) -> Path:
    return version.parents[1] / version.name.rpartition("@")[0]


def is_current(version: Path) -> bool:
    """Whether a version is the one that its pointer leads to."""
    pointer = _pointer(version)
    return pointer.exists() and pointer.resolve() == version


def _named(version: Path) -> set[Path]:
    """The versions of caches that a plan reads, its tokenizer's among them."""
    plan = Plan.read(version / PLAN)
    arrays = (shard.path for corpus in plan.corpora for partition in corpus.partitions for shard in partition.shards.values())
    return {(version / path).resolve().parent for path in (*arrays, plan.tokenizer)}


def _removable(store: Store, version: Path, why: str, *, is_published: bool) -> Removable:
    return Removable(
        name=version.relative_to(store.root.resolve()).as_posix(),
        path=version,
        why=why,
        bytes=sum(file.lstat().st_size for file in version.rglob("*") if file.is_file()),
        pointer=_pointer(version) if is_published else None,
    )
