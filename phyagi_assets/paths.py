"""Resolve paths."""

import os
from pathlib import Path


def real_path(path: Path) -> Path:
    """Return where a path leads through all links; a link in a loop leads to itself, for which `Path.resolve` raises in Python 3.11."""
    return Path(os.path.realpath(path))
