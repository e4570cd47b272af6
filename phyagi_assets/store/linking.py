"""One file in several artifacts."""

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Let a file stand in a second place: a hard link where the file system has them, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_tree(source: Path, target: Path) -> None:
    """Let all files of a folder stand in a second one."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link(path, target / path.relative_to(source))
