"""Digests of the versions that Dagster has recorded, so that a command that finds nothing to build does not import Dagster.

The digests are kept in the folder of Dagster's instance, beside its history, and disappear with either. They are compared only while
nothing has to be built: otherwise Dagster's own records are read.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from phyagi_assets.store.state import State


class RecordedDigests:
    """Digests of recorded versions, one for each corpus and mixture."""

    def __init__(self, home: Path) -> None:
        self._folder = home / "history" / "recorded"

    def match(self, digests: Mapping[str, str]) -> bool:
        """Return whether exactly these versions were recorded, given the digest of each corpus and mixture."""
        return all(self._state(name).recall() == digest for name, digest in digests.items())

    def remember(self, digests: Mapping[str, str]) -> None:
        """Keep the digests of versions that Dagster has recorded."""
        for name, digest in digests.items():
            self._state(name).remember(digest)

    def forget(self, names: Iterable[str]) -> None:
        """Forget the digests of corpora and mixtures, before their records change."""
        for name in names:
            self._state(name).forget()

    def _state(self, name: str) -> State:
        return State(self._folder / f"{name}.json")
