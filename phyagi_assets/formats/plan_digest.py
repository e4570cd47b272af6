"""Verification that a plan is unchanged: one changed digit would mean another order of training under the same fingerprint."""

import json
from pathlib import Path

from phyagi_assets.errors import StoreError

_MANIFEST, _VERSIONS = "manifest.json", ".versions"
_REMEDY = "phyagi-assets check --discard removes it, and materialize makes it again"


def verify_plan(path: Path) -> None:
    """Compare a plan with the manifest beside it. A plan that was copied out of its store without its manifest is accepted unverified.

    Parameters
    ----------
    path
        Path of ``mixture.json``.

    Raises
    ------
    StoreError
        The plan was changed or cannot be read, or its manifest is missing from the store or cannot be read.
    """
    import xxhash

    manifest = path.with_name(_MANIFEST)
    if not manifest.is_file():
        if path.parent.parent.name == _VERSIONS and path.is_file():
            raise StoreError(f"{manifest}: is missing, so that nothing tells whether {path.name} is what was written; {_REMEDY}")
        return
    try:
        written = json.loads(manifest.read_text(encoding="utf-8"))["files"][path.name]
        size, checksum = written["bytes"], written["xxh3_128"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        raise StoreError(f"{manifest}: is not the manifest of a plan: {problem!r}; {_REMEDY}") from None
    try:
        content = path.read_bytes()
    except OSError as problem:
        raise StoreError(f"{path}: cannot be read: {problem.strerror}") from None
    if len(content) != size or xxhash.xxh3_128_hexdigest(content) != checksum:
        raise StoreError(f"{path}: is not what was written (checksum differs), its order would be another; {_REMEDY}")
