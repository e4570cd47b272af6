"""Resolve the paths that a plan records.

A plan records paths relative to the folder of its own version, ``<store>/<mixture>/.versions/<version>``. If the folder of the mixture was
moved to another disk and replaced by a link, these paths do not exist relative to its new place. They are then resolved relative to the
root of the store through which the plan was opened.
"""

from pathlib import Path

from phyagi_assets.errors import StoreAccessError
from phyagi_assets.formats.plan import Plan
from phyagi_assets.paths import real_path
from phyagi_assets.store.addresses import path_in_store, root_around

_MOST_LINKS = 40
"""Largest number of links to follow, as on Linux; a longer chain is assumed to be a loop."""


class PlanPaths:
    """Resolver of the paths in one plan.

    Parameters
    ----------
    folder
        Folder of the plan as reached through the store, with the links among its parents unresolved.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._home = real_path(folder)
        self._root = real_path(root) if (root := root_around(folder)) else None
        first = self._home / next(plan.paths())
        try:
            is_there = first.exists()
        except OSError as problem:
            raise StoreAccessError.of(first, problem) from None
        self.is_moved = self._root is not None and not is_there
        """Whether recorded paths are resolved relative to the root of the store: they do not exist relative to the folder of the plan."""

    def resolve(self, recorded: str) -> Path:
        """Return the path of a token array or tokenizer, given the path that the plan records."""
        found = path_in_store(recorded) if self.is_moved else None
        return self._root / found if found and self._root else self._home / recorded


def plan_folder(path: Path) -> Path:
    """Return the absolute path of the folder of a plan.

    A link at the path of the plan, or at the path of its folder, is followed. Links among the parents of the folder are not resolved.
    """
    return _followed(_followed(path).parent).absolute()


def _followed(path: Path) -> Path:
    """Follow the links at the end of a path."""
    for _ in range(_MOST_LINKS):
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path
