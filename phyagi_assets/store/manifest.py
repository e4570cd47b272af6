"""``manifest.json``: what an artifact was made from, and what it is.

Written last, so that a folder with a manifest is whole. It holds no time and no duration: the same inputs give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from phyagi_assets.errors import StoreError
from phyagi_assets.store.fingerprint import file_digest, fingerprint

MANIFEST = "manifest.json"
MEMORY_DATASET = "memory_dataset"
"""The step of a cache that was written from arrays alone, whose documents nobody counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """Size and checksum of one file of an artifact."""

    bytes: int
    xxh3_128: str

    @classmethod
    def of(cls, path: Path) -> Self:
        return cls(bytes=path.stat().st_size, xxh3_128=file_digest(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The record that an artifact carries."""

    step: str
    fingerprint: str
    code_version: str
    inputs: Mapping[str, Any]
    """Fingerprints of what it was made from."""
    settings: Mapping[str, Any]
    """The configuration that changed the output."""
    produced_with: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that did the work."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """What it holds: documents, tokens, bytes and the like."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What later steps need to know of it."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    """Every file but the manifest, by path relative to the artifact."""

    @classmethod
    def wanted(cls, step: str, *, code_version: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Self:
        """What an artifact has to be, before it is there: its fingerprint, and what that was taken of."""
        key = fingerprint(step, code_version=code_version, inputs=inputs, settings=settings)
        return cls(step=step, fingerprint=key, code_version=code_version, inputs=inputs, settings=settings)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of an artifact.

        Raises
        ------
        StoreError
            There is none, or it is not one of this kind.
        """
        path = folder / MANIFEST
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            files = {name: FileRecord(**of) for name, of in record.pop("files").items()}
            manifest = cls(**record, files=files)
            manifest._require_types()
            return manifest
        except FileNotFoundError:
            raise StoreError(f"{path}: there is no manifest; this is no finished artifact of the store") from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
            raise StoreError(f"{path}: this is no manifest of the store: {problem}") from None

    def _require_types(self) -> None:
        """Make sure that what later steps look up is there, as far as every step has it."""
        for name in ("inputs", "settings", "produced_with", "counts", "details"):
            if not isinstance(getattr(self, name), Mapping):
                raise ValueError(f"{name} is not a mapping")
        needed = {"tokens"} if self.step == MEMORY_DATASET else {"documents", "tokens"}
        for name, count in self.counts.items():
            numbers = count if isinstance(count, Mapping) else {"documents": 0, "tokens": count}
            if not needed <= numbers.keys() or not all(isinstance(number, int | float) for number in numbers.values()):
                raise ValueError(f"counts.{name} is {count!r}")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def damage(self, folder: Path, *, checksums: bool = False) -> list[str]:
        """What of the artifact's files is missing or not as recorded; sizes alone, or with their checksums too."""
        found = []
        for name, record in self.files.items():
            path = folder / name
            if not path.is_file():
                found.append(f"{path}: is missing")
            elif path.stat().st_size != record.bytes:
                found.append(f"{path}: has {path.stat().st_size} bytes where {record.bytes} were written")
            elif checksums and file_digest(path) != record.xxh3_128:
                found.append(f"{path}: its content is not what was written (checksum differs)")
        return found
