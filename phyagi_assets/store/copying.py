"""Copy the versions of one store to another, between disks and buckets.

A version is copied completely or not at all, and only if it is not there yet, so that a copy that was interrupted goes on where it ended.
A pointer is set after the version that it names is there. A plan is copied after the versions that it names.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phyagi_assets.objects.bucket import concurrently
from phyagi_assets.store.base import Address, Artifact, Store, Version

_AT_ONCE = 8
"""Number of versions that are copied at the same time."""
INNER = ("tokenizers",)
"""Names of the inner stores that are copied as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Copying:
    """One version to copy."""

    version: Artifact
    is_published: bool
    """Whether the source publishes the version."""
    target: Store
    """The store, or the inner store, that the version is copied to."""
    is_there: bool
    """Whether the target has the version already."""

    @property
    def bytes(self) -> int:
        """Number of bytes to copy."""
        return 0 if self.is_there else self.version.bytes

    def run(self) -> None:
        """Copy the version unless it is there, and publish it if it is published in the source.

        Raises
        ------
        StoreError
            The version is damaged, the source cannot be read, or the target cannot be written.
        """
        address, fingerprint = self.version.address, self.version.fingerprint
        if self.is_there and not (self.is_published and self.target.published_fingerprint(address) != fingerprint):
            return
        with self.target.lock(address):
            copied = self.target.find(address, fingerprint, self.version.manifest.files) or self.target.put(self.version)
            if self.is_published:
                self.target.publish(copied)


def copyings(source: Store, target: Store, chosen: Collection[Version] | None = None) -> list[Copying]:
    """Return the versions to copy.

    Parameters
    ----------
    chosen
        The versions to copy; by default, all.
    """
    found = []
    for name in INNER:
        found += _copyings(source.inner(name).versions(), target.inner(name))
    versions = [version for version in source.survey().versions if chosen is None or version.version in chosen]
    return found + _copyings(versions, target, {version.version for version in versions if version.is_published})


def _copyings(versions: Iterable[Artifact], target: Store, published: Collection[Version] = ()) -> list[Copying]:
    there = {_version(version): version for version in target.versions()}
    return [
        Copying(
            version=version,
            is_published=_version(version) in published,
            target=target,
            is_there=(known := there.get(_version(version))) is not None and known.holds(version.manifest.files) and not known.damage(),
        )
        for version in versions
    ]


def _version(artifact: Artifact) -> Version:
    return Version(Address(artifact.address), artifact.fingerprint)


def run_all(work: Sequence[Copying]) -> Iterator[Copying]:
    """Copy versions, several addresses at once, and yield them when they are done: plans after all others.

    Raises
    ------
    StoreError
        A version is damaged, the source cannot be read, or the target cannot be written. What was copied stays.
    """

    def run(items: list[Copying]) -> list[Copying]:
        for item in items:
            item.run()
        return items

    for plans in (False, True):
        together: dict[tuple[int, str], list[Copying]] = {}  # versions of one address wait for each other anyway
        for item in work:
            if Address(item.version.address).is_of_partition is not plans:
                together.setdefault((id(item.target), item.version.address), []).append(item)
        for items in concurrently(run, together.values(), _AT_ONCE):
            yield from items
