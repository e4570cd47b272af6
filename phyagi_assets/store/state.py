"""Read and write small JSON records that save work. Losing a record is harmless: its content is computed again."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def recall(path: Path) -> Any:
    """Return the record at a path, or None if it is missing or cannot be read."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def remember(path: Path, record: Any) -> None:
    """Replace the record at a path atomically. A failed write is ignored."""
    draft = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
