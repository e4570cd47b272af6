"""Pickle objects for a process on another machine.

Artifacts, tokenizers and tasks refer to the store and to paths in its scratch space. On another machine, the store is opened again, and its
scratch space is another folder. Pickled objects therefore hold references, which the receiver resolves with its own store.
"""

import io
import pickle
import threading
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from phyagi_assets.settings import BucketAddress
from phyagi_assets.store.base import Store
from phyagi_assets.store.places import open_store


@dataclass(eq=False)
class Pickling:
    """Pickles objects for the processes of a run that use the same store. It can be pickled itself.

    Parameters
    ----------
    place
        Path or address of the store. A store on a disk has the same path on all machines.
    holder
        Name of the run, under which all its processes hold leases.
    """

    place: Path | BucketAddress
    holder: str
    _opened: list[Store] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, store: Store, holder: str) -> "Pickling":
        """Return the pickling of a store for a run, in the process that has opened the store."""
        place = BucketAddress(str(store)) if store.is_remote else store.root
        return cls(place, holder, [store])

    def __reduce__(self) -> tuple[Any, ...]:
        return Pickling, (self.place, self.holder)

    @property
    def store(self) -> Store:
        """The store as this process has opened it."""
        with self._lock:
            if not self._opened:
                self._opened.append(open_store(self.place, self.holder))
            return self._opened[0]

    def dumps(self, content: Any) -> bytes:
        """Pickle an object."""
        file = io.BytesIO()
        _Packer(file, self.store).dump(content)
        return file.getvalue()

    def loads(self, pickled: bytes) -> Any:
        """Unpickle an object, with this process's store in the place of the sender's."""
        return _Unpacker(io.BytesIO(pickled), self.store).load()


class _Packer(pickle.Pickler):
    def __init__(self, file: io.BytesIO, store: Store) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._store = store

    def persistent_id(self, content: Any) -> tuple[str, str] | None:
        root = self._store.root
        if not self._store.is_remote:
            return None
        if isinstance(content, Path) and content.is_relative_to(root):
            return "path", content.relative_to(root).as_posix()
        if isinstance(content, type(self._store)):
            return "store", content.root.relative_to(root).as_posix()
        return None


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, store: Store) -> None:
        super().__init__(file)
        self._store = store

    def persistent_load(self, reference: Any) -> Any:
        kind, place = reference
        if kind == "path":
            return self._store.root / place
        store = self._store
        for part in PurePosixPath(place).parts:
            store = store.inner(part.removeprefix("."))
        return store
