"""A read-only view of a store, which writes records and prepared tokenizers to a temporary folder."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from phyagi_assets.store.artifact import Artifact, Fill
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.store.state import State, StateKind


@contextmanager
def read_only(store: Store) -> Iterator[Store]:
    """Return a view that writes nothing to the store. Files that it writes are deleted at the end of the context."""
    with TemporaryDirectory(prefix="phyagi-assets-") as folder:
        yield cast(Store, _View(store, Path(folder)))


class _View:
    """A view of a store that finds the versions of the store and those that were written to a folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._folder, self._added = store, folder, LocalStore(folder)

    def __str__(self) -> str:
        return str(self._store)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def find(self, address: str, fingerprint: str, holding: Collection[str] = (), *, lately: bool = False) -> Artifact | None:
        return self._added.find(address, fingerprint, holding) or self._store.find(address, fingerprint, holding, lately=lately)

    def write(self, address: str, manifest: Manifest, fill: Fill, holding: Collection[str] = ()) -> Artifact:
        return self._added.write(address, manifest, fill, holding)

    def discard(self, address: str, version: Path) -> None:
        del address, version  # what is written in its place is found first

    def lock(self, name: str, *, silent: bool = False) -> AbstractContextManager[None]:
        del name, silent
        return nullcontext()

    def state(self, kind: StateKind, name: str) -> State:
        return _StateAside(path=self._added.state(kind, name).path, kept=self._store.state(kind, name))

    def inner(self, name: str) -> "_View":
        return _View(self._store.inner(name), self._folder / f".{name}")


@dataclass(frozen=True, slots=True)
class _StateAside(State):
    """A record that is read from a store and written elsewhere."""

    kept: State
    """The record in the store."""

    def recall(self) -> Any:
        written = State.recall(self)
        return self.kept.recall() if written is None else written
