"""Keys of the objects of a store in a bucket."""

import re

from phyagi_assets.store.addresses import Address, Version, is_part
from phyagi_assets.store.manifest import FileRecord

VERSIONS = ".artifacts"
"""Folder of the versions. It has another name than on a disk, because SeaweedFS does not list keys with a part ``.versions``."""
PUBLISHED = ".published"
SHARED = ".shared"

_POINTER = re.compile(r"(\d{10})@([0-9a-f]{32})")


def version_key(version: Version) -> str:
    """Return the path of a version in the bucket."""
    return f"{version.address.folder}/{VERSIONS}/{version.folder_name}"


def file_key(version: Version, name: str) -> str:
    """Return the path in the bucket of a file of a version, given its path in the version."""
    return f"{version_key(version)}/{name}"


def split_key(key: str) -> tuple[str, str]:
    """Return the folder of artifacts that an object belongs to, and its path in the folder; empty strings for another object."""
    for kind in (VERSIONS, PUBLISHED):
        folder, found, rest = key.partition(f"/{kind}/")
        if found and len(parts := folder.split("/")) <= 2 and all(map(is_part, parts)):
            return folder, f"{kind}/{rest}"
    return "", ""


def parsed_pointer(name: str) -> tuple[int, str] | None:
    """Return the number and the fingerprint in the name of a pointer."""
    found = _POINTER.fullmatch(name)
    return (int(found[1]), found[2]) if found else None


def pointer_key(address: Address, pointer: tuple[int, str]) -> str:
    """Return the path of a pointer to a version of an artifact in the bucket, given its number and the fingerprint."""
    return f"{address.folder}/{PUBLISHED}/{address.key}/{pointer[0]:010}@{pointer[1]}"


def shared_name(record: FileRecord) -> str:
    return f"{record.xxh3_128}-{record.bytes}"
