"""Find the plan of a materialized mixture."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.formats.packed_index import index_version, planned_index
from phyagi_assets.formats.plan import PLAN, STEP, Plan, PlannedIndex, PlannedPartition
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import plan_folder
from phyagi_assets.formats.plan_versions import mixtures_in, open_mixture
from phyagi_assets.objects.concurrently import concurrently
from phyagi_assets.paths import is_file, real_path
from phyagi_assets.settings import Settings
from phyagi_assets.store.addresses import Version, is_part, root_around
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store, find_version
from phyagi_assets.store.disk import reading_from
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.places import advice_on_absent, artifact_in_bucket, open_store
from phyagi_assets.suggestions import did_you_mean

if TYPE_CHECKING:
    from phyagi_assets.store.bucket_store import BucketStore


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPlan:
    """The plan of a mixture."""

    file: Path
    """The ``mixture.json``, as a path through the store."""
    remote: "RemotePlan | None" = None
    """The plan in the store, if the store is remote. It fetches the caches."""

    def find_index(self, corpus: str, partition: PlannedPartition, seq_len: int) -> PlannedIndex | None:
        """Return the index of the packed samples of a partition for a length of samples, or None if it was not built."""
        root = root_around(self.file.parent)
        store: Store | None = self.remote.store if self.remote else LocalStore(root) if root else None
        version = index_version(corpus, partition.key, partition.fingerprint, seq_len)
        artifact = store.find(version.address, version.fingerprint) if store else None
        return planned_index(artifact, os.path.relpath(artifact.path, self.file.parent)) if artifact else None


def find_plan(mixture: str | Path, store: str | Path | None = None) -> FoundPlan:
    """Find the plan of a mixture.

    Parameters
    ----------
    mixture
        Name of the mixture, or the path or bucket address of a ``mixture.json`` or of its folder.
    store
        Store to look up a name in. If given, it takes precedence over the working directory. By default ``$PHYAGI_ASSETS_STORE``, else
        the store of the data folder.

    Raises
    ------
    StoreError
        The mixture does not exist, or its plan cannot be read.
    """
    if in_bucket := artifact_in_bucket(str(mixture), {STEP: False}):
        mixture, store = in_bucket.address.partition("/")[0], in_bucket.store
    path = Path(mixture)
    is_path = not in_bucket and (is_file(path) or is_file(path / PLAN))  # a folder can have the name of a mixture without being one
    place = Settings.resolve(store=store).store if store is not None or not is_path else None
    if is_path and place and is_part(str(mixture)):
        is_path = open_mixture(open_store(place), str(mixture)) is None
    if place and not is_path:
        if not isinstance(place, Path):
            remote = remote_plan(str(mixture), open_store(place))
            return FoundPlan(file=remote.file, remote=remote)
        path = _published_folder(str(mixture), LocalStore(place))
    try:
        file = path / PLAN if path.is_dir() else path
        return FoundPlan(file=_path_among_versions(plan_folder(file) / real_path(file).name))
    except OSError as problem:
        raise StoreAccessError.of(problem.filename or path, problem) from None


def _published_folder(mixture: str, store: LocalStore) -> Path:
    """Return the folder of the published plan of a mixture in a store on a disk."""
    with reading_from(store.root):
        if is_part(mixture) and (published := store.pointer(f"{mixture}/{STEP}")).exists():
            return published
    raise _no_mixture(mixture, store)


class RemotePlan:
    """The published plan of a mixture in a remote store, and the caches that it names, which are fetched when they are needed.

    Fetched caches stay on this machine as long as this object exists.
    """

    def __init__(self, artifact: Artifact, store: Store) -> None:
        self._artifact, self._store = artifact, store
        self.file = artifact.folder() / PLAN
        """The plan, on this machine."""
        self._caches: dict[Version, Artifact] = {}

    @property
    def store(self) -> "BucketStore":
        """The store."""
        from phyagi_assets.store.bucket_store import BucketStore

        assert isinstance(self._store, BucketStore), "only a store in a bucket is remote"
        return self._store

    def version(self, path: str | Path) -> Version:
        """Return the version that contains a path, which is a path in the plan or on this machine.

        Raises
        ------
        StoreError
            No version contains the path.
        """
        version = Version.in_path(os.path.normpath(path))
        if version is None:
            raise StoreError(f"{self._artifact.place}: names {path}, which is not a path in the store")
        return version

    def fetch(self, path: str | Path, *only: str) -> None:
        """Fetch the version that contains a path, which is a path in the plan or on this machine.

        Parameters
        ----------
        *only
            Files and folders to fetch, relative to the folder of the version; by default, all.

        Raises
        ------
        StoreError
            The version is not in the store, is damaged, or cannot be fetched.
        """
        version = self.version(path)
        if version not in self._caches:
            found = find_version(version, self._store)
            if found is None:
                raise StoreError(
                    f"{self._store}: has no intact version {version.path}, which the plan of {self._artifact.address} names; check the "
                    "store with: phyagi-assets check"
                )
            self._caches[version] = found
        self._caches[version].folder(*only)

    def fetch_indices(self, plan: Plan) -> None:
        """Fetch the indices of packed samples, from which the order of the samples is read."""
        paths = [partition.index.path for partition in plan.all_partitions() if partition.index]
        list(concurrently(self.fetch, paths))


def remote_plan(mixture: str, store: Store) -> RemotePlan:
    """Return the published plan of a mixture in a remote store.

    Raises
    ------
    StoreError
        The store has no such mixture.
    """
    artifact = open_mixture(store, mixture)
    if artifact is None:
        raise _no_mixture(mixture, store)
    return RemotePlan(artifact, store)


def _no_mixture(name: str | Path, store: Store) -> StoreError:
    """Return the error about a mixture that is not in a store. It names the mixtures in the store and suggests one."""
    mixtures = mixtures_in(store)
    advice = did_you_mean(str(name), mixtures) or advice_on_absent(str(name), store)
    if str(name) in store.names():
        advice = "; it is a corpus, not a mixture"
    found = ", ".join(mixtures) or "none"
    return StoreError(f"{str(name)!r} is neither a path nor a mixture materialized in {store} (there: {found}){advice}")


def _path_among_versions(file: Path) -> Path:
    """Return the path of the plan among the versions if a copy of the store without links has turned the pointer into a folder."""
    folder = file.parent
    if folder.name != STEP:
        return file
    store = LocalStore(folder.parents[1])
    version = store.version_path(f"{folder.parent.name}/{STEP}", read_plan(file).fingerprint) / PLAN
    if not version.is_file():
        raise StoreError(
            f"{file}: is in a folder that should be a link: the store was copied without its links; restore them with: "
            f"phyagi-assets materialize {folder.parent.name}"
        )
    return version
