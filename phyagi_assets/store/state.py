"""Small JSON records that save work. Losing a record is harmless: its content is computed again."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phyagi_assets.store.disk import is_unreachable, replace_file

StateKind = Literal["chats", "data_folders", "digests", "facts", "failures", "irregular", "listings", "removals"]
"""Kinds of records; each has a folder in the store."""


@dataclass(frozen=True, slots=True)
class State:
    """One record in a store; see `phyagi_assets.store.base.Store.state`."""

    path: Path

    def recall(self) -> Any:
        """Return the content of the record, or None if it is missing or cannot be read."""
        with suppress(OSError, ValueError, RecursionError):
            return json.loads(self.path.read_bytes())
        return None

    def exists(self) -> bool:
        """Return whether there is a record, even if it cannot be read."""
        try:
            self.path.lstat()
        except OSError as problem:
            return is_unreachable(problem)
        return True

    def remember(self, record: Any) -> None:
        """Replace the record atomically. A failed write is ignored."""
        with suppress(OSError):
            replace_file(self.path, json.dumps(record).encode())

    def forget(self) -> None:
        """Delete the record, if there is one."""
        with suppress(OSError):
            self.path.unlink()
