"""A reader that reads a store continuously and records every artifact that is not complete."""

import threading
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from phyagi_assets.formats.plan import PLAN
from phyagi_assets.reading import load_mixture
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.local import LocalStore

Known = Mapping[str, str]
"""Digests of everything that may be published: of each file by its path in the store, and of all samples of a plan by its folder."""


def what_is_published(root: Path) -> dict[str, str]:
    """Read every published version with the arrays and loaders that training uses, and return the digests."""
    found: dict[str, str] = {}
    store, top = LocalStore(root), root.resolve()
    for address in store.list():
        version = store.pointer(address).resolve()
        name = version.relative_to(top).as_posix()
        assert LocalStore(root).find(address, version.name.rpartition("@")[2]) is not None, f"{address}: is published and not whole"
        for path in version.rglob("*"):
            if path.is_file():
                found[f"{name}/{path.relative_to(version).as_posix()}"] = file_digest(path)
                if path.suffix == ".npy":
                    np.load(path, mmap_mode="r")
        if (version / PLAN).exists():
            found[name] = _order(version)
    return found


def _order(plan: Path) -> str:
    train = load_mixture(plan).train
    batch = train.batch(np.arange(len(train)))
    return sha256(batch["input_ids"].tobytes()).hexdigest()


class Reader(threading.Thread):
    """Thread that opens everything published, repeatedly, while inside the context.

    Parameters
    ----------
    root
        The store.
    known
        Digests of everything that uninterrupted runs publish.
    """

    def __init__(self, root: Path, known: Known) -> None:
        super().__init__(daemon=True)
        self._root, self._known, self._stop_asked = root, known, threading.Event()
        self.looks = 0
        self.saw: list[str] = []
        """Artifacts that were incomplete or not from an uninterrupted run."""

    def run(self) -> None:
        while not self._stop_asked.wait(0.03):
            self.look()

    def look(self) -> None:
        """Check everything that is published now."""
        try:
            found = what_is_published(self._root)
            versions = set(map(_version, found))
            whole = {name: digest for name, digest in self._known.items() if _version(name) in versions}
            self.saw += [f"{name}: {digest}, not {whole.get(name)}" for name, digest in found.items() if whole.get(name) != digest]
            self.saw += [f"{name}: is missing" for name in whole.keys() - found.keys()]
        except Exception as problem:  # any exception of a reader is a failure
            self.saw.append(repr(problem))
        self.looks += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._stop_asked.set()
        self.join()
        self.look()


def _version(name: str) -> str:
    """Return the version folder that contains a path."""
    folder, _, rest = name.partition("@")
    return f"{folder}@{rest.partition('/')[0]}"
