"""The error about a name that nothing in a store has."""

from phyagi_assets.errors import StoreError, did_you_mean
from phyagi_assets.store.base import Store


def nothing_named(name: str, store: Store) -> StoreError:
    """Return the error: a name in the store that is similar, or else how to build a corpus or mixture of this name."""
    meant = did_you_mean(name, store.names())
    return StoreError(f"{store} has nothing named {name!r}{meant or f'; materialize it with: phyagi-assets materialize {name}'}")
