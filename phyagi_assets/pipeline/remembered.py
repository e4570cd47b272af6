"""Small JSON records that save work: losing one, or failing to write one, costs finding out again what it holds."""

import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def recall(path: Path) -> Any:
    """Return the record at a path; None if there is no readable one."""
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None


def remember(path: Path, record: Any) -> None:
    """Replace the record at a path in one step; a disk that refuses it is no error."""
    draft = path.with_suffix(f".{os.getpid()}.{time.monotonic_ns()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(record), encoding="utf-8")
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
