"""Copy the versions of one store to another, between disks and buckets.

A version is copied completely or not at all, and only if the target lacks it, so that an interrupted copy continues where it stopped. A
pointer is set after its version is copied. A plan is copied after the versions that it names, and only if the target has all of them. A
damaged version does not stop the others.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.store.addresses import Version
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest

Named = Callable[[Artifact], Collection[Version]]
"""Function that returns the versions that a plan names."""

_AT_ONCE = 8
"""Number of versions that are copied at the same time."""
INNER = ("tokenizers",)
"""Names of the inner stores that are copied as well."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VersionCopy:
    """One version to copy."""

    artifact: Artifact
    is_published: bool
    """Whether the source publishes the version."""
    target: Store
    """The store, or the inner store, that the version is copied to."""
    is_there: bool
    """Whether the target has the version already."""

    @property
    def bytes(self) -> int:
        """Number of bytes to copy."""
        return 0 if self.is_there else self.artifact.bytes

    @property
    def replaces(self) -> bool:
        """Whether the target publishes another version of the address, which this one replaces."""
        return self.is_published and self.target.published_fingerprint(self.artifact.address) not in ("", self.artifact.fingerprint)

    def run(self) -> Sequence[str]:
        """Copy the version unless the target has it, and publish it if the source does.

        Returns
        -------
        sequence of str
            Problems that prevent the version from being copied.
        """
        address, fingerprint = self.artifact.address, self.artifact.fingerprint
        if self.is_there and not (self.is_published and self.target.published_fingerprint(address) != fingerprint):
            return ()
        with self.target.lock(address):
            copied = self.target.find(address, fingerprint, self.artifact.manifest.files)
            if copied is None:
                try:
                    copied = self.target.put(self.artifact)
                except (StoreError, OSError):
                    if problems := problems_of(self.artifact):
                        return problems
                    raise
            if self.is_published:
                self.target.publish(copied)
        return ()


def problems_of(artifact: Artifact) -> Sequence[str]:
    """Return the reasons why a version cannot be copied: files that are damaged or may not be read."""
    try:
        return artifact.damage(checksums=True)
    except StoreAccessError as problem:
        return [str(problem)]


def version_copies(source: Store, target: Store, chosen: Collection[Version] | None = None) -> list[VersionCopy]:
    """Return the versions to copy: the chosen ones or, by default, all."""
    found = []
    for name in INNER:
        found += _version_copies(source.inner(name).versions(), target.inner(name))
    stored = [artifact for artifact in source.survey().versions if chosen is None or artifact.version in chosen]
    return found + _version_copies(stored, target, {artifact.version for artifact in stored if artifact.is_published})


def unread_versions(source: Store, chosen: Collection[Version] | None = None) -> dict[Version, str]:
    """Return the published versions on a disk, or the chosen ones of them, whose manifests cannot be read, each with the reason."""
    unread = dict[Version, str]()
    for address in () if source.is_remote else source.list():
        version = Version(address=address, fingerprint=source.published_fingerprint(address))
        if chosen is None or version in chosen:
            try:
                Manifest.read(source.published_path(address))
            except StoreError as problem:
                unread[version] = str(problem)
    return unread


def _version_copies(artifacts: Iterable[Artifact], target: Store, published: Collection[Version] = ()) -> list[VersionCopy]:
    there = {artifact.version: artifact for artifact in target.versions()}
    return [
        VersionCopy(
            artifact=artifact,
            is_published=artifact.version in published,
            target=target,
            is_there=(known := there.get(artifact.version)) is not None and known.holds(artifact.manifest.files) and not known.damage(),
        )
        for artifact in artifacts
    ]


def copy_versions(
    work: Sequence[VersionCopy], named: Named = lambda _: (), unread: Collection[Version] = ()
) -> Iterator[tuple[VersionCopy, Sequence[str]]]:
    """Copy versions, several partitions at once, and yield them when they are done: plans after all others.

    Yields
    ------
    VersionCopy
        The version.
    sequence of str
        Reasons why it is not copied: damage of its files, or of a version that a plan names.

    Raises
    ------
    StoreError
        The source cannot be read, or the target cannot be written. Copied versions stay.
    """
    left_out = set(unread)

    def run(items: list[VersionCopy]) -> list[tuple[VersionCopy, Sequence[str]]]:
        return [(item, _lacking(item, left_out, named) or item.run()) for item in items]

    for plans in (False, True):
        together: dict[tuple[int, str, str], list[VersionCopy]] = {}  # versions of one partition wait for each other anyway
        for item in work:
            address = item.artifact.version.address
            if address.is_of_partition is not plans:
                together.setdefault((id(item.target), address.name, address.key), []).append(item)
        failed = set()
        for items in concurrently(run, together.values(), _AT_ONCE):
            failed |= {item.artifact.version for item, reasons in items if reasons}
            yield from items
        left_out |= failed


def _lacking(item: VersionCopy, left_out: Collection[Version], named: Named) -> Sequence[str]:
    """Return the reasons why a plan is not copied: versions that it names, and that were not copied."""
    if not left_out or item.is_there or item.artifact.version.address.is_of_partition:
        return ()
    try:
        lacking = sorted(version.path for version in named(item.artifact) if version in left_out)
    except StoreError as problem:
        return [str(problem)]
    return [f"{item.artifact.place}: is not copied, because it names {path}, which cannot be copied" for path in lacking]
