"""Share files between artifacts."""

import os
import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Create a hard link to a file, or a copy if the file system refuses the link."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def link_tree(source: Path, target: Path) -> None:
    """Link or copy every file of a folder into another folder, at the same relative path."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            link(path, target / path.relative_to(source))
