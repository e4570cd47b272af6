"""Names of artifacts and of their versions, and their paths in the store.

An artifact has an address, such as ``shakespeare/numpy_cache/hamlet``, and any number of versions, one per fingerprint.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from phyagi_assets.errors import StoreError

VERSIONS = ".versions"
"""Folder of the versions, beside the pointers to them."""

_PART = re.compile(r"[\w%][\w.%-]*")
_FOLDER = re.compile(r"(?P<key>[\w%][\w.%-]*)@(?P<fingerprint>[0-9a-f]{32})")
_IN_STORE = re.compile(rf"(?P<folder>[^/]+/[^/]+)/{re.escape(VERSIONS)}/(?P<version>[^/]+)(/.+)?")
_LONGEST = 222
"""Largest length of one part of an address, in bytes: file systems allow 255, of which a version's name needs 33 for the fingerprint."""


def is_part(name: str) -> bool:
    """Return whether a name can be a part of an address."""
    return _PART.fullmatch(name) is not None


class Address(str):
    """Address of an artifact, ``name/step`` or ``name/step/partition``; equal to the same string.

    Raises
    ------
    StoreError
        There are fewer than two parts, a part is not a plain name (it could lead out of the store), or a part is too long.

    Examples
    --------
    >>> address = Address("shakespeare/numpy_cache/hamlet")
    >>> address.name, address.step, address.key
    ('shakespeare', 'numpy_cache', 'hamlet')
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if isinstance(text, cls):
            return text
        parts = text.split("/")
        if len(parts) < 2 or not all(map(is_part, parts)):
            raise StoreError(f"{text!r} is not an address in the store: its parts are plain names, as in corpus/step/partition")
        if long := next((part for part in parts if len(part.encode()) > _LONGEST), ""):
            raise StoreError(f"{long!r} has {len(long.encode())} bytes and is too long for a name in the store; use at most {_LONGEST}")
        return super().__new__(cls, text)

    @property
    def name(self) -> str:
        """Name of the corpus or mixture."""
        return self.split("/")[0]

    @property
    def step(self) -> str:
        """Name of the step."""
        return self.split("/")[1]

    @property
    def folder(self) -> str:
        """Path of the folder that holds the pointer to the artifact and its versions, relative to the root of the store."""
        return self.rpartition("/")[0]

    @property
    def key(self) -> str:
        """Key of the partition; of an artifact without partitions, the name of its step."""
        return self.rpartition("/")[2]

    @property
    def is_of_partition(self) -> bool:
        """Whether the artifact belongs to one partition."""
        return self.count("/") > 1


@dataclass(frozen=True, slots=True)
class Version:
    """Name of a version: an address and a fingerprint."""

    address: Address
    fingerprint: str

    @property
    def path(self) -> str:
        """Path of the folder of the version, relative to the root of the store."""
        return f"{self.address.folder}/{VERSIONS}/{self.folder_name}"

    @property
    def folder_name(self) -> str:
        """Name of the folder of the version."""
        return f"{self.address.key}@{self.fingerprint}"

    @classmethod
    def of_folder(cls, folder: str, name: str) -> "Version | None":
        """Parse the name of a version's folder, given the folder that holds its pointer, relative to the root of the store."""
        found = _FOLDER.fullmatch(name)
        return cls(Address(f"{folder}/{found['key']}"), found["fingerprint"]) if found else None

    @classmethod
    def in_path(cls, path: str) -> "Version | None":
        """Return the version of a partition's artifact that a path leads into."""
        found = _IN_STORE.search(path)
        return cls.of_folder(found["folder"], found["version"]) if found else None


def split_version_name(name: str) -> tuple[str, str]:
    """Return the last part of the address and the fingerprint in the name of a version's folder; empty strings for another name."""
    found = _FOLDER.fullmatch(name)
    return (found["key"], found["fingerprint"]) if found else ("", "")


def spare_name(name: str) -> str:
    """Return the name under which a second copy of a version is kept, given the name of the version's folder; see `Store.restore`."""
    return f"{name}.copy"


def spare_of(name: str) -> str:
    """Return the name of a version's folder, given the name of the folder of its second copy; an empty string for any other name."""
    version, mark, number = name.rpartition(spare_name(""))
    return version if mark and re.fullmatch(r"(-\d+)?", number) and split_version_name(version)[0] else ""


def path_in_store(path: str) -> str | None:
    """Return the part of a path that begins at the root of a store and leads into a version of a partition's artifact, if there is one."""
    found = _IN_STORE.search(path)
    return found[0] if found else None


def root_around(folder: Path) -> Path | None:
    """Return the root of the store if a folder is in the place of a version of a mixture's plan, else None."""
    return folder.parents[2] if folder.parent.name == VERSIONS and len(folder.parents) > 2 else None
