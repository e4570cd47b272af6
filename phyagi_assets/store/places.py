"""Open a store by its place: a folder on a disk, or a folder in a bucket."""

from pathlib import Path

from phyagi_assets.settings import BucketAddress
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore


def open_store(place: Path | BucketAddress) -> Store:
    """Open the store at a path or an address. Nothing is read, and no request is made.

    Raises
    ------
    StoreError
        The scratch folder of a store in a bucket cannot be used.
    """
    if isinstance(place, Path):
        return LocalStore(place)
    from phyagi_assets.store.bucket_store import BucketStore  # its client takes long to import

    return BucketStore(place)
