"""Find files that a test has left on disk and in shared memory."""

import time
from pathlib import Path

from phyagi_assets.store.fingerprint import file_digest

SHARED_MEMORY = Path("/dev/shm")


def contents(folder: str | Path) -> dict[str, str]:
    """Return the digest of every file below a folder."""
    return {str(path.relative_to(folder)): file_digest(path) for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def in_shared_memory() -> set[Path]:
    """Return the present leftovers; none on systems that do not list them."""
    return set(SHARED_MEMORY.glob("*"))


def left_in_shared_memory(before: set[Path]) -> set[Path]:
    """Return new leftovers that remain after a moment, because other processes create some for a short time."""
    left, deadline = in_shared_memory() - before, time.monotonic() + 10
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = {path for path in left if path.exists()}
    return left
