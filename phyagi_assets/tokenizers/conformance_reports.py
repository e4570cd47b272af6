"""Conformance reports that every store of a user shares, so that a tokenizer is compared once and not in each new store.

A report is a file named by the fingerprint of its conformance run, which covers the tokenizer and the versions of both engines, in a folder
per platform. The package has those of the demo's tokenizer and of the one that ``phyagi-assets init`` makes, with the engines that
``constraints.txt`` names.
"""

import json
import os
import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

REPORTS_FOLDER_VARIABLE = "PHYAGI_ASSETS_CONFORMANCE"
PLATFORM = f"{platform.system()}-{platform.machine()}"
"""Operating system and processor: the folder of the reports that hold here."""
SHIPPED = Path(__file__).with_name("known_conformance")
"""Folder of the reports that come with the package."""


def reports_folder() -> Path | None:
    """Return the folder of the user's reports; None if the environment sets it to nothing."""
    named = os.environ.get(REPORTS_FOLDER_VARIABLE)
    if named is not None:
        return Path(named) if named else None
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "phyagi-assets" / "conformance"


def known_report(fingerprint: str) -> Mapping[str, Any] | None:
    """Return a report that comes with the package or that an earlier run of this user has kept.

    Parameters
    ----------
    fingerprint
        Fingerprint of the conformance run.
    """
    folder = reports_folder()
    for place in (folder, SHIPPED) if folder else ():
        with suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or it is damaged
            found = json.loads((place / PLATFORM / f"{fingerprint}.json").read_text(encoding="utf-8"))
            if isinstance(found["distrust"], str) and all(isinstance(point, int) for point in found["unsafe"]):
                return {"unsafe": found["unsafe"], "distrust": found["distrust"]}
    return None


def keep_report(fingerprint: str, report: Mapping[str, Any]) -> None:
    """Keep a report for the other stores of this user; a folder that cannot be written to is left alone.

    Parameters
    ----------
    fingerprint
        Fingerprint of the conformance run.
    report
        The report, with what it is about.
    """
    folder = reports_folder()
    if folder is None:
        return
    target = folder / PLATFORM / f"{fingerprint}.json"
    with suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, suffix=".draft", delete=False, encoding="utf-8") as draft:
            draft.write(json.dumps(report, indent=1, sort_keys=True) + "\n")
        Path(draft.name).replace(target)
