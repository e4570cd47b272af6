"""Conformance reports that every store of a user shares, so that a tokenizer is compared once and not in each new store.

A report is a file named by the fingerprint of its conformance run, which covers the tokenizer and the versions of both engines, in a folder
per platform. The package has those of the demo's tokenizer and of the one that ``phyagi-assets init`` makes, with the engines that
``constraints.txt`` names.
"""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import local_folder, user_folder
from phyagi_assets.store.state import State

REPORTS_FOLDER_VARIABLE = "PHYAGI_ASSETS_CONFORMANCE"
PLATFORM = f"{platform.system()}-{platform.machine()}"
"""Operating system and processor: the name of the folder of this platform's reports."""
SHIPPED = Path(__file__).with_name("known_conformance")
"""Folder of the reports that come with the package."""


def reports_folder() -> Path | None:
    """Return the folder of the user's reports; None if the environment sets it to nothing, or the user has no home folder.

    Raises
    ------
    PhyagiAssetsError
        The environment names a URI.
    """
    named = os.environ.get(REPORTS_FOLDER_VARIABLE)
    if named is not None:
        return local_folder(named, f"folder {REPORTS_FOLDER_VARIABLE}") if named else None
    with suppress(PhyagiAssetsError):
        return user_folder("XDG_CACHE_HOME", "~/.cache") / "phyagi-assets" / "conformance"
    return None


def known_report(fingerprint: str) -> Mapping[str, Any] | None:
    """Return the report of a conformance run if it comes with the package or an earlier run of this user kept it."""
    folder = reports_folder()
    for place in (folder, SHIPPED) if folder else ():
        with suppress(KeyError, TypeError):  # there is none, or it is damaged
            found = _state(place, fingerprint).recall()
            if isinstance(found["distrust"], str) and all(isinstance(point, int) for point in found["unsafe"]):
                return {"unsafe": found["unsafe"], "distrust": found["distrust"]}
    return None


def keep_report(fingerprint: str, report: Mapping[str, Any]) -> None:
    """Keep the report of a conformance run for the user's other stores; do nothing if its folder cannot be written to."""
    if folder := reports_folder():
        _state(folder, fingerprint).remember(dict(report))


def _state(folder: Path, fingerprint: str) -> State:
    return State(folder / PLATFORM / f"{fingerprint}.json")
