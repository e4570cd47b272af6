"""The published caches of a corpus."""

from collections.abc import Collection, Container, Mapping

from phyagi_assets.steps.cache import STEP
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store


def caches_of_corpus(corpus: str, store: Store, *, among: Container[str] | None = None, intact: bool = False) -> dict[str, Artifact]:
    """Return the published caches of a corpus, by partition.

    Parameters
    ----------
    among
        Keys of the partitions; by default, all.
    intact
        Whether to leave out caches with a file that is missing or has another size than was written.
    """
    addresses = [address for address in store.list() if (address.name, address.step) == (corpus, STEP)]
    return {
        address.key: artifact
        for address in addresses
        if (among is None or address.key in among) and (artifact := store.open(address, intact=intact))
    }


def without_retired(caches: Mapping[str, Artifact], keys: Collection[str] | None) -> tuple[Mapping[str, Artifact], list[str]]:
    """Return the caches of the partitions in the source, given their keys, and the keys of the others, which are retired.

    Without keys, or if all partitions are retired, all caches are returned.
    """
    current = {key: artifact for key, artifact in caches.items() if keys is None or key in keys}
    return (current, [key for key in caches if key not in current]) if current else (caches, [])
