"""Records of the data folder that each name in a store was built from.

They prevent two data folders that share a store from silently replacing each other's artifacts. Each name has a record in
``.data_folders``, with the path of the data folder relative to the store and its absolute path. The relative path is still right if both
are moved together, the absolute path if only the store is moved.
"""

import logging
import os
from collections.abc import Collection
from pathlib import Path

from phyagi_assets.paths import real_path
from phyagi_assets.store.base import Store

logger = logging.getLogger(__name__)


def other_folder(store: Store, data: Path, name: str) -> str:
    """Return a warning if a name in a store was built from another data folder that still exists, else an empty string."""
    known = _recorded(store, name)
    other = next(filter(_exists, known), None)
    if other is None or real_path(data) in known:
        return ""
    return (
        f"{name}: was built from the data folder {other}, and now from {data}: they replace each other's artifacts; give one of them a "
        "store of its own (--store), or another name"
    )


def replaced_by_copy(source: Store, target: Store, name: str) -> str:
    """Return a warning if a name was built from another data folder in the target of a copy than in its source, else an empty string.

    Parameters
    ----------
    name
        Name of a corpus or mixture whose published versions in the target would be replaced.
    """
    copied, known = _recorded(source, name), _recorded(target, name)
    if not known or set(copied) & set(known):
        return ""
    other = next(filter(_exists, known), known[-1])
    return (
        f"{name}: was built in {target} from the data folder {other}; what is published there is replaced by what {source} publishes. "
        f"To publish the former again, materialize {name} from {other}"
    )


def claim(store: Store, data: Path, names: Collection[str], log: logging.Logger = logger) -> None:
    """Record the data folder of names in a store, and log a warning for each name built from another data folder that still exists."""
    for name in names:
        known = _recorded(store, name)
        if real_path(data) in known:
            continue
        if warning := other_folder(store, data, name):
            log.warning(warning)
        record = {"relative": os.path.relpath(real_path(data), real_path(store.root)), "absolute": str(real_path(data))}
        store.state("data_folders", name).remember(record)  # a user without write permission builds nothing either


def of_others(store: Store, data: Path, declared: Collection[str]) -> dict[str, str]:
    """Return the names in a store that must not be cleaned from a data folder, with the reason for each."""
    names = store.names()
    inside = real_path(store.root).is_relative_to(real_path(data))
    unknown_is_own = not store.is_remote and (inside or any(name in declared for name in names))
    found = {}
    for name in names:
        known = _recorded(store, name)
        if known and real_path(data) not in known:
            if other := next(filter(_exists, known), None):
                found[name] = f"was built from the data folder {other}; clean it from there"
            elif name not in declared:
                found[name] = f"was built from the data folder {known[-1]}, which does not exist any more; remove it yourself if you can"
        elif not known and name not in declared and (record := store.state("data_folders", name)).exists():
            found[name] = f"{record.path}, which names its data folder, cannot be read; remove that file if {name} was built from {data}"
        elif not known and not unknown_is_own and name not in declared:
            found[name] = "nothing tells which data folder it was built from"
            found[name] += "; clean it on the machine that built it" if store.is_remote else f", and {data} declares nothing in this store"
    return found


def _recorded(store: Store, name: str) -> list[Path]:
    try:
        record = store.state("data_folders", name).recall()
        return [real_path(real_path(store.root) / record["relative"]), Path(record["absolute"])]
    except (KeyError, TypeError, ValueError):  # the record is missing or damaged
        return []


def _exists(data: Path) -> bool:
    return any((data / kind).is_dir() for kind in ("corpora", "mixtures"))
