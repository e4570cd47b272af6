"""Errors about names that do not exist in a store."""

from phyagi_assets.errors import StoreError
from phyagi_assets.formatting import listed
from phyagi_assets.store.base import Store
from phyagi_assets.store.places import advice_on_absent
from phyagi_assets.suggestions import did_you_mean


def nothing_named(name: str, store: Store) -> StoreError:
    """Return the error, with a similar name in the store or, without one, how to build a corpus or mixture of this name."""
    known = store.names()
    if name in known:
        return StoreError(f"{store} has nothing of {name!r} to show yet; phyagi-assets status shows its state")
    there = f" (there: {listed(known)})" if known else ""
    return StoreError(f"{store} has nothing named {name!r}{did_you_mean(name, known) or there + advice_on_absent(name, store)}")


def no_address(name: str, store: Store) -> StoreError:
    """Return the error about a name with slashes, with a similar address, such as one of the same partition."""
    published = list(store.list())
    corpus, _, key = name.partition("/")
    same_partition = [found for found in published if found.name == corpus and found.key == key.rpartition("/")[2]]
    if same_partition and "/" not in key:
        meant = f"; it has these artifacts of the partition: {listed(same_partition)}"
    else:
        meant = did_you_mean(name, same_partition or published) or (f"; did you mean {same_partition[0]!r}?" if same_partition else "")
    return StoreError(f"{store} has nothing named {name!r}, as an address or as the path of an artifact{meant}")
