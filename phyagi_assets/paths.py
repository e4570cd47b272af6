"""Resolve paths."""

import os
from pathlib import Path


def is_file(path: Path) -> bool:
    """Return whether a path leads to a file; False if a name is too long, for which `Path.is_file` raises an error.

    A path in a folder that may not be entered counts as a file, so that the error of its reader names it.
    """
    try:
        return path.is_file()
    except PermissionError:
        return True
    except OSError:
        return False


def real_path(path: Path) -> Path:
    """Resolve all links in a path. A link in a loop resolves to itself; `Path.resolve` raises an error for it in Python 3.11."""
    return Path(os.path.realpath(path))
