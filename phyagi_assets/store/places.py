"""Open a store by its place: a folder on a disk, or a folder in a bucket."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.settings import STORE_VARIABLE, BucketAddress
from phyagi_assets.store.addresses import is_part, split_version_name
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore


def open_store(place: Path | BucketAddress, holder: str = "") -> Store:
    """Open the store at a path or an address. Nothing is read, and no request is made.

    Parameters
    ----------
    holder
        Name of a run that opens a store in a bucket on several machines, see `BucketStore`; by default, only this machine opens it.

    Raises
    ------
    StoreError
        The scratch folder of a store in a bucket cannot be used.
    """
    if isinstance(place, Path):
        return LocalStore(place)
    from phyagi_assets.objects.bucket import BucketFolder  # the client takes long to import
    from phyagi_assets.store.bucket_store import BucketStore
    from phyagi_assets.store.scratch import Scratch, scratch_folder

    return BucketStore(BucketFolder(place), Scratch(scratch_folder(place)), holder=holder)


def advice_on_absent(name: str, store: Store) -> str:
    """Return advice for the message that a store lacks a name: the right store, or how to build the corpus or mixture.

    A name that is not valid, such as a path, gets no advice.
    """
    first = next(store.list(), None)
    if first and (artifact := store.open(first)) and artifact.manifest.step == first.name:  # as at corpus/step in the store itself
        return f"; that is a folder in the store {str(store).rpartition('/')[0]}"
    if not store.is_remote:
        if (inside := store.root / "store").is_dir() and (store.root / "corpora").is_dir():
            return f"; that is a data folder, whose store is {inside}"
        if not store.root.is_dir() and not (store.root.parent / "corpora").is_dir():
            return (
                "; that folder does not exist. Change to the folder that contains the data folder, or name the store with --store (in "
                f"Python, store=) or ${STORE_VARIABLE}"
            )
    return f"; if it is declared, materialize it with: phyagi-assets materialize {name}" if is_part(name) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class InBucket:
    """An artifact that is named by its full address in a bucket."""

    store: BucketAddress
    address: str
    fingerprint: str
    """Fingerprint of the version; empty for the published one."""


def artifact_in_bucket(name: str, steps: Mapping[str, bool]) -> InBucket | None:
    """Parse the full address of an artifact in a bucket, of one of its versions, or of a file in it; None for any other name.

    Parameters
    ----------
    steps
        Whether a step has an artifact for each partition, by name of the step. The names show where the address of the artifact begins.

    Examples
    --------
    >>> found = artifact_in_bucket("s3://bucket/store/news/numpy_cache/2026/train.npy", {"numpy_cache": True})
    >>> str(found.store), found.address
    ('s3://bucket/store', 'news/numpy_cache/2026')
    """
    scheme, _, path = name.partition("://")
    if scheme not in ("s3", "gs", "az"):
        return None
    parts = [part for part in path.split("/") if part]
    for i, part in enumerate(parts):
        step, fingerprint = split_version_name(part)
        if step in steps and i > 2:  # bucket/mixture/.artifacts/mixed_dataset@…
            return InBucket(store=_store(scheme, parts[: i - 2]), address=f"{parts[i - 2]}/{step}", fingerprint=fingerprint)
        if part in steps and i > 1:
            key = next((below for below in parts[i + 1 :] if steps[part] and not below.startswith(".")), "")
            partition, fingerprint = split_version_name(key)
            address = "/".join(filter(None, [parts[i - 1], part, partition or key]))
            return InBucket(store=_store(scheme, parts[: i - 1]), address=address, fingerprint=fingerprint)
    return None


def _store(scheme: str, parts: list[str]) -> BucketAddress:
    return BucketAddress(f"{scheme}://{'/'.join(parts)}")
