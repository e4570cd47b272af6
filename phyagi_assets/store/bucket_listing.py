"""Listings of a store in a bucket."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from phyagi_assets.objects.bucket import StoredObject
from phyagi_assets.store.bucket_keys import PUBLISHED, VERSIONS, parsed_pointer

_FRESH = 10.0
"""Time for which a listing is used again, in seconds."""
_SHARE_OF_LISTING = 0.1
"""Largest share of the time that listings take: one that takes long is used for longer."""

Objects = Mapping[str, StoredObject]
"""Objects of one version, by path relative to its folder."""


@dataclass(kw_only=True, slots=True)
class FolderListing:
    """Contents of one folder of artifacts, from a listing."""

    until: float
    """Time from which on the folder is listed again."""
    versions: dict[str, dict[str, StoredObject]] = field(default_factory=lambda: defaultdict(dict))
    """Objects by name of the version and path in it."""
    pointers: dict[str, dict[tuple[int, str], StoredObject]] = field(default_factory=lambda: defaultdict(dict))
    """Pointers by key, and by their number and fingerprint."""
    has_missed: bool = False
    """Whether a manifest of the folder had to be fetched."""

    def add(self, found: Iterable[tuple[str, StoredObject]]) -> None:
        """Add objects, given their paths in the folder."""
        for path, stored in found:
            kind, _, rest = path.partition("/")
            name, _, file = rest.partition("/")
            if kind == VERSIONS and file:
                self.versions[name][file] = stored
            elif kind == PUBLISHED and (pointer := parsed_pointer(file)):
                self.pointers[name][pointer] = stored

    def published(self, key: str) -> str:
        """Return the fingerprint of the published version of an artifact, or an empty string."""
        return max(self.pointers[key])[1] if self.pointers.get(key) else ""


def used_until(began: float) -> float:
    """Return the time until which a listing is used that began at a time."""
    now = time.monotonic()
    return now + max(_FRESH, (now - began) / _SHARE_OF_LISTING)
