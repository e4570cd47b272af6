"""Local sources: files that a glob matches, and folders written by ``datasets.save_to_disk``."""

import errno
import json
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.paths import real_path
from phyagi_assets.sources.files import LeftOut, Listing, SourceFile, also_left_out, held_out, warn_of_split
from phyagi_assets.sources.globs import Glob, States, is_wild, literal_names
from phyagi_assets.sources.local_file import error_of_file
from phyagi_assets.sources.nearby import describe_folder, pattern_of_files
from phyagi_assets.store.disk import is_unreachable, stamp_of

_DATASET, _DICTIONARY = "state.json", "dataset_dict.json"
"""Files that mark the folders of a saved dataset and of a saved dictionary of datasets."""


def list_local(corpus: Corpus, declared: str, data: Path) -> Listing:
    """List the files that a path or glob matches.

    Raises
    ------
    DeclarationError
        The path matches nothing, or is a folder of files.
    SourceError
        The name of a file is not UTF-8, a matching link is dangling, a folder cannot be listed, or a saved dataset is damaged.
    """
    try:
        parts = Path(os.path.normpath(Path(declared).expanduser())).parts
    except (RuntimeError, ValueError) as problem:
        raise corpus.error(f"{declared!r}: {problem}", "source", "path") from None
    whole = data.joinpath(*parts)
    if _is_folder(whole) and not _is_saved(whole):
        example = f"{declared.rstrip('/')}/{pattern_of_files(whole)}"
        raise corpus.error(f"{whole} is a folder; name its files, as in {example}", "source", "path")
    # Start at the folder above the first part with a wildcard. The data folder's own name may contain such characters.
    wild = next((i for i, part in enumerate(parts) if is_wild(part)), len(parts) - 1)
    start = Path(os.path.normpath(data.joinpath(*parts[:wild])))
    pattern = "/".join(parts[wild:])
    walk = _Walk(Glob(pattern))
    walk.run(start)
    outermost = _outermost(walk)
    for match in outermost:
        if match.name == _DICTIONARY or (match.name == _DATASET and (match.parent / "dataset_info.json").is_file()):
            raise corpus.error(f"{match.parent} is a folder written by datasets.save_to_disk; name the folder itself", "source", "path")
    files = tuple(_file(path, start, split) for match in outermost for path, split in _files_at(match))
    if not files and walk.folders and any(map(_is_saved, walk.folders)):
        raise corpus.error(f"{whole} is a saved dataset without documents; save it again", "source", "path")
    if not files:
        found = also_left_out(walk.left_out) or describe_folder(start, pattern)
        path = str(start.joinpath(*parts[wild:]))
        shown = path if path.isprintable() and path == path.strip() else repr(path)
        hint = f"; paths are relative to the data folder: leave out {data.name}/" if parts[:1] == (data.name,) else ""
        hint = "; write a variable of the environment as in ${HOME}" if "$" in declared else hint
        raise corpus.error(f"no file matches {shown}{found}{hint}", "source", "path")
    return Listing(files=files, left_out=tuple(sorted(walk.left_out, key=lambda file: file.origin)))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the walk reports the problem
        return False


@dataclass
class _Walk:
    """Walk through the folders in which a glob can match."""

    glob: Glob
    matched: list[Path] = field(default_factory=list)
    """Files and dangling links that match."""
    folders: list[Path] = field(default_factory=list)
    """Folders that match. They are read if they are saved datasets."""
    left_out: list[LeftOut] = field(default_factory=list)

    def run(self, start: Path) -> None:
        pending: list[tuple[Path, States, tuple[Path, ...]]] = [(start, self.glob.start, (real_path(start),))]
        if self.glob.pattern.endswith("**"):
            self.folders.append(start)  # glob.glob("a/**") finds a/, too
        while pending:
            folder, states, trail = pending.pop()
            for name in self._names(folder, states):
                after, path = self.glob.step(states, name), folder / name
                mode = self._mode(path, after) if after else 0
                if mode and stat.S_ISDIR(mode):
                    if self.glob.is_match(after):
                        self.folders.append(path)
                    if self.glob.can_go_on(after) and (entered := _entered(path, trail)):
                        pending.append((path, after, entered))
                elif mode:
                    self._take(path, after, mode)

    def _take(self, path: Path, states: States, mode: int) -> None:
        """Record a file or dangling link as matched or left out, or ignore it."""
        reason: str | None = self.glob.reason(states)
        if stat.S_ISLNK(mode):
            if self.glob.is_match(states):
                self.matched.append(path)
                return
            # The link may have led to a folder of documents, unless everything below is left out for another reason.
            reason = None if _is_left_out(states) else "a dangling link"
        elif self.glob.is_match(states):
            if stat.S_ISREG(mode):
                self.matched.append(path)
                return
            reason = "not a regular file"
        if reason is not None:
            self.left_out.append(LeftOut(origin=_escaped(path), reason=reason))

    def _names(self, folder: Path, states: States) -> list[str]:
        literal = literal_names(self.glob, states)
        if literal is not None and all(name.isascii() or os.path.lexists(folder / name) for name in literal):
            return sorted(literal)
        try:
            return sorted(path.name for path in folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as problem:
            if _is_left_out(states):
                return []
            message = f"{_escaped(folder)}: this folder cannot be listed: {problem.strerror}; make it readable, or narrow the path"
            raise error_of_file(problem, message) from None

    def _mode(self, path: Path, states: States) -> int:
        """Return the mode of the target of a path: that of the link itself if it is dangling, and 0 if nothing exists at the path."""
        try:
            mode = path.lstat().st_mode
        except OSError as problem:
            if problem.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG) or _is_left_out(states):
                return 0
            message = f"{_escaped(path)}: cannot be examined: {problem.strerror}; make its folder readable"
            raise error_of_file(problem, message) from None
        if not stat.S_ISLNK(mode):
            return mode
        try:
            return path.stat().st_mode
        except OSError as problem:
            if not is_unreachable(problem) or _is_left_out(states):
                return mode
            message = f"{_escaped(path)}: is a link to {path.readlink()}, which cannot be examined: {problem.strerror}; make it readable"
            raise error_of_file(problem, message) from None


def _entered(path: Path, trail: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the trail inside a folder, or an empty one if the folder is a link that leads back to a folder on the way to it.

    Parameters
    ----------
    trail
        Real paths of the folders in which a link was followed on the way, then that of the folder that contains `path`.
    """
    if not path.is_symlink():
        return (*trail[:-1], trail[-1] / path.name)
    real = real_path(path)
    return () if any(passed.is_relative_to(real) for passed in trail) else (*trail, real)


def _is_left_out(states: States) -> bool:
    """Return whether nothing below can match, because everything is left out."""
    return all(reason is not None for reason in states.values())


def _outermost(walk: _Walk) -> list[Path]:
    """Return the matched files and saved datasets, without those inside a saved dataset that matched as a whole."""
    saved = {path for path in walk.folders if _is_saved(path)}
    found = sorted({*walk.matched, *saved}, key=lambda path: path.parts)
    return [path for path in found if saved.isdisjoint(path.parents)] if saved else found


def _escaped(path: Path) -> str:
    """Return a path in which bytes that are not UTF-8 are escaped."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _files_at(match: Path) -> Iterator[tuple[Path, str]]:
    """Yield the files of a match, each with the name of its split in a saved dictionary, or an empty string."""
    if match.is_symlink() and not match.exists():
        if match.name.startswith(".#"):  # lock file of an editor
            return
        raise SourceError(f"{match}: is a link to {match.readlink()}, which does not exist; correct the link, or remove it")
    if match.is_file():
        yield match, ""
    elif (match / _DICTIONARY).is_file() and (match / _DATASET).is_file():  # each call of save_to_disk leaves the files of the other
        raise SourceError(f"{match}: holds a saved dataset and a saved dictionary of splits; delete the folder, and save one of them again")
    elif (match / _DICTIONARY).is_file():
        for split in _record(match / _DICTIONARY, "splits"):
            for path, _ in _files_at(match / str(split)):
                yield path, str(split)
    elif (match / _DATASET).is_file():
        for entry in _record(match / _DATASET, "_data_files"):
            if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
                raise SourceError(
                    f"{match / _DATASET}: is not what datasets.save_to_disk writes: {entry!r} names no file; save the dataset again"
                )
            path = match / entry["filename"]
            if not path.is_file():
                raise SourceError(f"{match / _DATASET}: names {path.name}, which does not exist; save the dataset again")
            yield path, ""


def _is_saved(folder: Path) -> bool:
    try:
        return (folder / _DATASET).is_file() or (folder / _DICTIONARY).is_file()
    except OSError as problem:  # it may be a saved dataset that was read before
        message = f"{_escaped(folder)}: this folder cannot be entered: {problem.strerror}; make it readable, or narrow the path"
        raise error_of_file(problem, message) from None


def _record(path: Path, key: str) -> list[Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[key]
        return list(found)
    except OSError as problem:
        raise error_of_file(problem, f"{path}: cannot be read: {problem.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise SourceError(f"{path}: is not what datasets.save_to_disk writes: it has no list {key!r}; save the dataset again") from None


def _file(path: Path, start: Path, split: str) -> SourceFile:
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        encoded = os.fsencode(path)
        if encoded.decode(errors="ignore").encode() == encoded:
            remedy = f"is UTF-8, and Python reads names as {sys.getfilesystemencoding()}; set PYTHONUTF8=1, or a locale with UTF-8"
        else:
            remedy = "is not UTF-8; rename it"
        raise SourceError(f"{encoded!r}: the file's name {remedy}")
    try:
        stamp = stamp_of(path)
    except OSError as problem:
        raise error_of_file(problem, f"{path}: cannot be examined: {problem.strerror}") from None
    name = path.relative_to(start).as_posix()
    warn_of_split(split, str(path.parent))
    return SourceFile(name=name, origin=str(path), size=int(stamp[1]), stamp=stamp, path=path, split=held_out(split))
