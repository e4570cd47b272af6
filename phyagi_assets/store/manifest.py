"""``manifest.json``, the record of what an artifact was made from and what it contains.

The manifest is written last, so that a folder with a manifest is complete. It holds no times and no durations, so that the same inputs
give the same bytes.
"""

import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.store.disk import is_unreachable, walk
from phyagi_assets.store.fingerprint import file_digest, fingerprint

MANIFEST = "manifest.json"
MEMORY_DATASET = "memory_dataset"
"""Name of the step of a cache that was written from token arrays in memory, without counts of documents."""
_NUMBERS = (int, float)
_SHARED_FILE = re.compile(r"tokenizer(\.pkl|/.+)")
"""Files that many versions have in common: those of the tokenizer."""


def is_shared(name: str) -> bool:
    """Return whether a store keeps one copy of a file for all versions that have it."""
    return _SHARED_FILE.fullmatch(name) is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """Size and checksum of one file of an artifact."""

    bytes: int
    xxh3_128: str
    """XXH3-128 of the content, as 32 hexadecimal digits."""

    @classmethod
    def of(cls, path: Path) -> Self:
        return cls(bytes=path.stat().st_size, xxh3_128=file_digest(path))

    def is_size_of(self, path: Path) -> bool:
        """Return whether a file exists and has this size."""
        try:
            return path.stat().st_size == self.bytes
        except OSError:
            return False


def records_of(folder: Path) -> dict[str, FileRecord]:
    """Return the records of the files in a folder, by path relative to it, sorted by path."""
    files = sorted(path for parent, _, names in walk(folder) for name in names if (path := Path(parent, name)).is_file())
    return {path.relative_to(folder).as_posix(): FileRecord.of(path) for path in files}


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The manifest of one version of an artifact."""

    step: str
    fingerprint: str
    code_version: str
    inputs: Mapping[str, Any]
    """Fingerprints of the inputs, by name."""
    settings: Mapping[str, Any]
    """The settings that change the output."""
    produced_with: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that did the work, by name."""
    counts: Mapping[str, Any] = field(default_factory=dict)
    """Numbers of documents, tokens, bytes and the like in the artifact."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further facts that later steps need."""
    files: Mapping[str, FileRecord] = field(default_factory=dict)
    """Every file except the manifest, by path relative to the artifact."""

    @classmethod
    def expected(cls, step: str, *, code_version: str, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Self:
        """Return the expected manifest of an artifact: its fingerprint and everything that the fingerprint covers.

        See `phyagi_assets.store.fingerprint.fingerprint` for the parameters.
        """
        key = fingerprint(step, code_version=code_version, inputs=inputs, settings=settings)
        return cls(step=step, fingerprint=key, code_version=code_version, inputs=inputs, settings=settings)

    @property
    def own_bytes(self) -> int:
        """Size of the files that versions do not share, in bytes."""
        return sum(record.bytes for name, record in self.files.items() if not is_shared(name))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of an artifact.

        Raises
        ------
        StoreError
            The manifest is missing, is not valid, or may not be read.
        """
        path = f"{folder}/{MANIFEST}"
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123 (called for every artifact)
                content = file.read()
        except FileNotFoundError:
            raise StoreError(f"{path}: there is no manifest, so this is not a finished artifact of the store") from None
        except OSError as problem:
            if is_unreachable(problem):
                raise StoreAccessError.of(path, problem) from None
            raise StoreError(f"{path}: is not a manifest of the store: {problem}") from None
        return cls.parse(content, path)

    @classmethod
    def parse(cls, content: bytes, place: str) -> Self:
        """Parse the content of a manifest."""
        try:
            record = json.loads(content)
            files = {name: FileRecord(**record_of_file) for name, record_of_file in record.pop("files").items()}
            manifest = cls(**record, files=files)
            manifest._require_types()
            return manifest
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
            raise StoreError(f"{place}: is not a manifest of the store: {problem}") from None

    def _require_types(self) -> None:
        """Check the types of the values that every step's manifest has and that later steps look up."""
        for name in ("inputs", "settings", "produced_with", "counts", "details"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} is not a mapping")
        needed = {"tokens"} if self.step == MEMORY_DATASET else {"documents", "tokens"}
        for name, count in self.counts.items():
            numbers = count if isinstance(count, dict) else {"documents": 0, "tokens": count}
            if not needed <= numbers.keys() or not all(isinstance(number, _NUMBERS) for number in numbers.values()):
                raise ValueError(f"counts.{name} is {count!r}")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def damage(self, folder: Path, *, checksums: bool = False) -> list[str]:
        """Return a message for each file of an artifact that is missing or differs from its record.

        Parameters
        ----------
        checksums
            Whether to compare checksums as well as sizes, which reads every file.

        Raises
        ------
        StoreAccessError
            A file cannot be read now.
        """
        found = []
        for name, record in self.files.items():
            path = f"{folder}/{name}"
            try:
                status = os.stat(path)  # noqa: PTH116 (called for every file of every artifact)
            except OSError as problem:
                if is_unreachable(problem):
                    raise StoreAccessError.of(path, problem) from None
                status = None
            if status is None or not stat.S_ISREG(status.st_mode):
                found.append(f"{path}: is missing")
            elif status.st_size != record.bytes:
                found.append(f"{path}: has {status.st_size} bytes where {record.bytes} were written")
            elif checksums and (different := _difference(path, record.xxh3_128)):
                found.append(f"{path}: {different}")
        return found


def _difference(path: str, digest: str) -> str:
    """Return how the content of a file differs from its digest, or an empty string if it does not."""
    try:
        return "" if file_digest(Path(path)) == digest else "its content is not what was written (checksum differs)"
    except OSError as problem:
        if is_unreachable(problem):
            raise StoreAccessError.of(path, problem) from None
        return f"cannot be read: {problem.strerror}"
