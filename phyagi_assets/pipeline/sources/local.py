"""Local sources: files that a glob matches, and folders that ``datasets.save_to_disk`` wrote."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import SourceFile, Stamp, held_out
from phyagi_assets.pipeline.sources.globs import is_glob, is_wild

_ONE, _SEVERAL = "state.json", "dataset_dict.json"
"""What lies in the folder of a saved dataset, and in that of a dictionary of them."""


def list_local(corpus: Corpus, declared: str, data: Path) -> list[SourceFile]:
    """The files that a path or glob matches.

    Raises
    ------
    DeclarationError
        It matches nothing, is a folder of files, or is no glob.
    SourceError
        A file has a name that is not UTF-8, is a link to nowhere, or a saved dataset is damaged.
    """
    try:
        parts = Path(os.path.normpath(Path(declared).expanduser())).parts
    except RuntimeError as problem:
        raise corpus.error(f"{declared!r}: {problem}", "source", "path") from None
    whole = data.joinpath(*parts)
    if whole.is_dir() and not _is_saved(whole):
        raise corpus.error(f"{whole} is a folder; name its files, as in {declared.rstrip('/')}/*.txt", "source", "path")
    # The folder above the first part with a wildcard. The data folder's own name may look like one.
    wild = next((i for i, part in enumerate(parts) if is_wild(part)), len(parts) - 1)
    start = Path(os.path.normpath(data.joinpath(*parts[:wild])))
    if not is_glob("/".join(parts[wild:])):  # versions of Python differ in what they make of it
        raise corpus.error(f"{declared!r} is no glob: '**' stands alone between slashes, as in raw/**/*.txt", "source", "path")
    files = [_file(path, start, split) for match in sorted(start.glob("/".join(parts[wild:]))) for path, split in _files_at(match)]
    if not files:
        raise corpus.error(f"no file matches {start.joinpath(*parts[wild:])}", "source", "path")
    return files


def stamp_of(path: Path) -> Stamp:
    """What a local file looks like from outside.

    Raises
    ------
    OSError
        It is not there.
    """
    seen = path.stat()
    return (str(path), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)


def _files_at(match: Path) -> Iterator[tuple[Path, str]]:
    """The files of what a glob matches, with the name of the split that a saved dictionary has each in."""
    if match.is_symlink() and not match.exists() and not match.name.startswith("."):  # editors lock a file with such a link beside it
        raise SourceError(f"{match}: is a link to {match.readlink()}, which is not there; mend the link, or remove it")
    if match.is_file():
        yield match, ""
    elif (match / _SEVERAL).is_file():
        for split in _record(match / _SEVERAL, "splits"):
            for path, _ in _files_at(match / str(split)):
                yield path, str(split)
    elif (match / _ONE).is_file():
        for entry in _record(match / _ONE, "_data_files"):
            if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
                raise SourceError(
                    f"{match / _ONE}: is not what datasets.save_to_disk writes: {entry!r} names no file; save the dataset again"
                )
            path = match / entry["filename"]
            if not path.is_file():
                raise SourceError(f"{match / _ONE}: names {path.name}, which is not there; save the dataset again")
            yield path, ""


def _is_saved(folder: Path) -> bool:
    return (folder / _ONE).is_file() or (folder / _SEVERAL).is_file()


def _record(path: Path, key: str) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
        return list(found)
    except OSError as problem:
        raise SourceError(f"{path}: cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"{path}: is not what datasets.save_to_disk writes: it has no list {key!r}; save the dataset again") from None


def _file(path: Path, start: Path, split: str) -> SourceFile:
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise SourceError(f"{os.fsencode(path)!r}: the file's name is not UTF-8; rename it")
    stamp = stamp_of(path)
    name = path.relative_to(start).as_posix()
    return SourceFile(name=name, origin=str(path), size=int(stamp[1]), stamp=stamp, path=path, split=held_out(split))
