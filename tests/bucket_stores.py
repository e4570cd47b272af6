"""Stores in buckets, with scratch space of their own and few retries."""

from pathlib import Path

from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.store.bucket_store import BucketStore
from phyagi_assets.store.scratch import Scratch, scratch_folder


def store_in_bucket(
    address: str,
    *,
    scratch: Path | None = None,
    scratch_bytes: int | None = None,
    retry_policy: RetryPolicy | None = None,
    read_timeout: float = 60.0,
    holder: str = "",
) -> BucketStore:
    """Return the store at an address; by default, as another process would open it."""
    bucket = BucketFolder(address, retry_policy or RetryPolicy(), read_timeout=read_timeout)
    return BucketStore(bucket, Scratch(scratch or scratch_folder(address), scratch_bytes), holder=holder)
