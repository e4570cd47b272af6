"""Pins of the objects that a raw artifact reads in their bucket: a file of the artifact with the place and the stamp of each object.

The name of the file is a digest of the pins. So an artifact whose objects were moved is written again, although its fingerprint, which does
not depend on their URIs, stays the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.errors import StoreError
from phyagi_assets.sources.files import SourceFile
from phyagi_assets.sources.readable import Stamp
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.fingerprint import canonical_json, text_digest

PINS = "objects"
"""Folder of the file with the pins in a raw artifact."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """An object as it was when it was pinned."""

    origin: str
    """URI of the object."""
    stamp: Stamp
    """ETag and size in bytes, and the time of writing if the server has no ETags."""

    @property
    def size(self) -> int:
        """Size of the object, in bytes."""
        return int(self.stamp[1])


def identity(file: SourceFile) -> str:
    """Return the identity of an object for a fingerprint: its stamp without its URI."""
    etag, size, *written = file.stamp
    return f"etag {etag}, {size} bytes" if etag else f"written {written[0]}, {size} bytes"


def is_identity(content: object) -> bool:
    """Return whether a value in a fingerprint is the identity of an object that was not read, and not a digest."""
    return str(content).startswith(("etag ", "written "))


def pins_file(objects: Sequence[SourceFile]) -> str:
    """Return the path of the file with the pins of objects, relative to the artifact."""
    return f"{PINS}/{text_digest(canonical_json(_record(objects)))}.json"


def write_pins(objects: Sequence[SourceFile], folder: Path) -> None:
    """Write the file with the pins of objects to the folder of an artifact."""
    path = folder / pins_file(objects)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_record(objects), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def has_pins(raw: Artifact) -> bool:
    """Return whether a raw artifact refers to objects."""
    return any(name.startswith(f"{PINS}/") for name in raw.manifest.files)


def pins_of(raw: Artifact) -> Mapping[str, Pin]:
    """Return the pins of the objects that a raw artifact refers to, by name of the file.

    Raises
    ------
    StoreError
        The file with the pins is missing or damaged.
    """
    pins: dict[str, Pin] = {}
    for name in raw.manifest.files:
        if name.startswith(f"{PINS}/"):
            path = raw.folder(name) / name
            try:
                for file, record in json.loads(path.read_bytes()).items():
                    pins[file] = Pin(origin=str(record["uri"]), stamp=tuple(record["stamp"]))
            except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
                raise StoreError(f"{path}: is damaged: {problem}; phyagi-assets check --discard removes it") from None
    return pins


def _record(objects: Sequence[SourceFile]) -> dict[str, Any]:
    return {file.name: {"uri": file.origin, "stamp": list(file.stamp)} for file in objects}
