"""Describe the files of a folder, for error messages about paths that match nothing."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path, PurePath

from phyagi_assets.formatting import listed
from phyagi_assets.sources.compression import is_compressed
from phyagi_assets.sources.globs import is_wild
from phyagi_assets.suggestions import did_you_mean

_MOST_ENTRIES = 1000
"""Largest number of directory entries to read."""
_NAMED = 4
"""Largest number of names in a message."""


def describe_folder(folder: Path, pattern: str) -> str:
    """Return the end of a message about a pattern that matches no file: the entries of the folder, or the missing folder."""
    missing = ""
    while not _is(folder.is_dir) and folder != folder.parent:
        missing, folder = folder.name, folder.parent
    names = _names(folder)
    wanted = missing or pattern.partition("/")[0]
    if wanted in names and not is_wild(wanted):
        return f"; {folder / wanted} {_why_no_folder(folder / wanted)}"
    meant = "" if is_wild(wanted) else did_you_mean(wanted, names)
    shown = [name if name.isprintable() else repr(name) for name in names]
    known = f"{', '.join(shown[:_NAMED])} and more" if len(names) == _MOST_ENTRIES else listed(shown, _NAMED)
    there = f"has {known or 'no files'}{meant}"
    if missing:
        there = f"has no folder {missing!r}{meant or (known and f', but {known}')}"
    braces = "; braces are ordinary characters in a pattern, not alternatives" if "{" in pattern else ""
    return f"; {folder} {there}{braces}"


def _why_no_folder(path: Path) -> str:
    """Return the reason why a path cannot be used as a folder."""
    if _is(path.is_file):
        return "is a file, not a folder"
    return "is a dangling link" if _is(path.is_symlink) and not _is(path.exists) else "cannot be read"


def pattern_of_files(folder: Path) -> str:
    """Return a pattern with the suffix of the first file in a folder, such as ``*.jsonl.gz``, or ``**/*.txt`` if it is in a subfolder."""
    names = _names(folder)
    files = [name for name in names if _is((folder / name).is_file)]
    below = [] if files else [name for inner in names[:_NAMED] for name in _names(folder / inner) if _is((folder / inner / name).is_file)]
    name = next(iter([*files, *below]), "x.txt")
    suffixes = PurePath(name).suffixes
    return f"{'**/' if below else ''}*{''.join(suffixes[-2:] if is_compressed(name) else suffixes[-1:])}"


def _is(test: Callable[[], bool]) -> bool:
    """Return the result of a test of a path; False if the path cannot be examined."""
    try:
        return test()
    except OSError:
        return False


def _names(folder: Path) -> list[str]:
    """Return the sorted names in a folder, without hidden files; none if the folder cannot be listed. Invalid UTF-8 is escaped."""
    return sorted(os.fsencode(name).decode(errors="backslashreplace") for name in islice(_listed(folder), _MOST_ENTRIES))


def _listed(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return
