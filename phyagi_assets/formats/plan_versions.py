"""Find the versions that the plans of mixtures need."""

from collections.abc import Sequence

from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import STEP, Plan
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.store.addresses import Address, Version, is_part
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store


def versions_of_plan(plan: Plan) -> set[Version]:
    """Return the versions of caches that a plan reads, including that of its tokenizer."""
    return {version for path in plan.paths() if (version := Version.in_path(path))}


def versions_named(artifact: Artifact) -> set[Version]:
    """Return the versions of caches that an artifact reads if it is a mixture.

    Raises
    ------
    StoreError
        Its plan cannot be read.
    """
    return versions_of_plan(plan_of(artifact)) if artifact.version.address.step == STEP else set()


def caches_of_plan(plan: Plan) -> dict[Address, Version]:
    """Return the cache of each partition that a plan reads, in the version that the last segment with the partition reads."""
    sources = [source for segment in plan.segments for source in segment.sources]
    partitions = [partition for source in sources for partition in plan.partitions(source)]
    partitions += [partition for number in plan.evaluation for partition in plan.corpora[number].partitions]
    paths = [path for partition in partitions for shard in partition.shards.values() for path, _ in shard.files]
    return {version.address: version for path in paths if (version := Version.in_path(path))}


def published_plan(store: Store, mixture: str) -> tuple[Version, Plan]:
    """Return the published version of a mixture, and its plan.

    Raises
    ------
    StoreError
        The mixture is not in the store, or its plan cannot be read.
    """
    artifact = open_mixture(store, mixture)
    if artifact is None:
        raise StoreError(f"{mixture!r} is not a mixture materialized in {store} (there: {', '.join(mixtures_in(store)) or 'none'})")
    return artifact.version, plan_of(artifact)


def open_mixture(store: Store, mixture: str) -> Artifact | None:
    """Return the published plan of a mixture as an artifact; None if it is missing or damaged."""
    return store.open(f"{mixture}/{STEP}", intact=True) if is_part(mixture) else None


def mixtures_in(store: Store) -> list[str]:
    """Return the names of the mixtures that a store publishes."""
    return [address.name for address in store.list() if address.step == STEP]


def versions_of_mixtures(store: Store, mixtures: Sequence[str]) -> set[Version]:
    """Return the versions of the published plans of mixtures, and the versions that the plans name."""
    plans = [published_plan(store, mixture) for mixture in mixtures]
    return {version for version, _ in plans} | {version for _, plan in plans for version in versions_of_plan(plan)}
