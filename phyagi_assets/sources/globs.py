"""The glob language of sources: the same for local files, objects and repositories, on every version of Python.

It is the language of ``glob.glob(pattern, recursive=True)``. ``*``, ``?`` and ``[…]`` match within one part of a path, ``**`` matches any
number of folders, and a leading dot is matched only by a dot in the pattern. Names that tools leave behind are not matched either, unless
the pattern spells what marks them. A path that only these rules keep out is *left out*: it is counted and reported, never silently missing.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

LeftOutBecause = Literal["hidden", "left by a tool", "not the pattern's upper and lower case"]
"""Why a path does not match although its pattern fits."""

States = Mapping[int, LeftOutBecause | None]
"""Parts of a pattern that the next part of a path may match, each with the reason for which the path is left out so far."""

_WILD = re.compile(r"[*?[]")

_MARKS = (
    # Spark, Hadoop, Hive, Delta Lake, Parquet
    ("_temporary", None),
    ("_SUCCESS", None),
    ("_metadata", None),
    ("_common_metadata", None),
    ("_spark_metadata", None),
    ("_delta_log", None),
    ("_committed_", ""),
    ("_started_", ""),
    ("__magic", ""),
    ("", ".crc"),
    ("", "._COPYING_"),
    ("", "_$folder$"),
    # editors
    ("", "~"),
    ("#", "#"),
    ("~$", ""),
    ("", ".swp"),
    # downloads that did not end
    ("", ".tmp"),
    ("", ".partial"),
    ("", ".crdownload"),
    # file managers and archivers
    ("__MACOSX", None),
    ("Thumbs.db", None),
    ("desktop.ini", None),
)
"""Beginnings and ends of the names that tools leave behind; a name is meant whole where the end is None."""


def is_wild(part: str) -> bool:
    """Return whether a part of a path is a pattern."""
    return _WILD.search(part) is not None


def fixed_prefix(pattern: str) -> str:
    """Return the characters that every match begins with, up to the first that Unicode may compose in another way."""
    wild = _WILD.search(pattern)
    return re.match(r"[\x00-\x7f]*", pattern[: wild.start()] if wild else pattern)[0]  # type: ignore[index]


def is_glob(pattern: str) -> bool:
    """Return whether every ``**`` is a whole part; elsewhere tools disagree on what it matches."""
    return all(part == "**" or "**" not in part for part in pattern.split("/"))


@dataclass(frozen=True)
class Glob:
    """A pattern of paths, relative to the folder that it starts from.

    Parameters
    ----------
    pattern
        With slashes between its parts.

    Examples
    --------
    >>> glob = Glob("raw/**/*.txt")
    >>> glob.matches("raw/a/b/c.txt"), glob.matches("raw/a/.c.txt"), glob.left_out("raw/a/.c.txt")
    (True, False, 'hidden')
    """

    pattern: str

    @cached_property
    def parts(self) -> tuple["Part", ...]:
        """The parts of the pattern; a ``**`` at its end matches files as ``**/*`` does."""
        texts = self.pattern.split("/")
        texts += ["*"] if texts[-1] == "**" else []
        return tuple(Part(text, is_last=i == len(texts) - 1) for i, text in enumerate(texts))

    @cached_property
    def fixed(self) -> int:
        """Number of folders at the beginning that are not patterns; names in a source begin after them."""
        return next((i for i, part in enumerate(self.parts[:-1]) if part.is_wild), len(self.parts) - 1)

    def matches(self, path: str) -> bool:
        """Return whether the whole of a path matches."""
        return self.is_match(self._after(path))

    def left_out(self, path: str) -> LeftOutBecause | None:
        """Return why a path is left out; None for one that matches, and for one that has nothing to do with the pattern."""
        return self.reason(self._after(path))

    @property
    def start(self) -> States:
        """The states before the first part of a path."""
        return self._closed({0: None})

    def step(self, states: States, name: str) -> States:
        """Return the states after one more part of a path."""
        after: dict[int, LeftOutBecause | None] = {}
        for at, reason in states.items():
            if at == len(self.parts):
                continue
            part = self.parts[at]
            judged = part.judge(name)
            if judged != "no match":
                _put(after, at if part.is_deep else at + 1, reason or judged)
        return self._closed(after)

    def is_match(self, states: States) -> bool:
        """Return whether a path that led to these states matches."""
        return states.get(len(self.parts), "none") is None

    def goes_on(self, states: States) -> bool:
        """Return whether a longer path may match, or be left out."""
        return any(at < len(self.parts) for at in states)

    def reason(self, states: States) -> LeftOutBecause | None:
        """Return why a path that led to these states is left out."""
        return states.get(len(self.parts))

    def _after(self, path: str) -> States:
        folder, slash, name = path.rpartition("/")
        if folder not in self._folders:  # many paths lie in one folder
            self._folders[folder] = self._after(folder) if slash else self.start
        return self.step(self._folders[folder], name)

    @cached_property
    def _folders(self) -> dict[str, States]:
        return {}

    def _closed(self, states: Mapping[int, LeftOutBecause | None]) -> States:
        """Add the states that ``**`` leads to by matching no folder."""
        closed: dict[int, LeftOutBecause | None] = {}
        for at, reason in states.items():
            _put(closed, at, reason)
            for after in range(at, len(self.parts)):
                if not self.parts[after].is_deep:
                    break
                _put(closed, after + 1, reason)
        return closed


@dataclass(frozen=True)
class Part:
    """One part of a pattern, between slashes."""

    text: str
    is_last: bool = False

    @property
    def is_deep(self) -> bool:
        return self.text == "**"

    @property
    def is_wild(self) -> bool:
        return is_wild(self.text)

    def judge(self, name: str) -> LeftOutBecause | Literal["no match"] | None:
        """Return None where the part matches a name, else why it does not."""
        if not self.is_wild:
            return None if name == self.text or _composed(name) == _composed(self.text) else "no match"
        if not self.is_deep and not self._fits(name):
            return "not the pattern's upper and lower case" if self._fits(self._with_suffix(name)) else "no match"
        if name.startswith(".") and not self.text.startswith("."):
            return "hidden"
        return "left by a tool" if any(self._is_marked(name, *mark) for mark in _MARKS) else None

    def _is_marked(self, name: str, start: str, end: str | None) -> bool:
        """Whether a name carries a mark that the pattern does not spell."""
        if end is None:
            return name == start
        is_marked = len(name) > len(start) + len(end) and name.startswith(start) and name.endswith(end)
        return is_marked and not (self.text.startswith(start) and self.text.endswith(end))

    @cached_property
    def _regex(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(self.text))

    @cached_property
    def _composed_regex(self) -> re.Pattern[str]:
        return re.compile(fnmatch.translate(_composed(self.text)))

    def _fits(self, name: str) -> bool:
        return bool(self._regex.match(name) or self._composed_regex.match(_composed(name)))

    def _with_suffix(self, name: str) -> str:
        """A file's name with its suffix in the pattern's upper and lower case, where that is the only difference, as in ``A.TXT``."""
        _, dot, suffix = self.text.rpartition(".")
        end = len(name) - len(suffix)
        is_alike = self.is_last and dot and not is_wild(suffix) and name[end:].lower() == suffix.lower()
        return name[:end] + suffix if is_alike else name


def literal_names(glob: Glob, states: States) -> set[str] | None:
    """Return the names that can be looked up without listing a folder; None where it has to be listed."""
    parts = [glob.parts[at] for at in states if at < len(glob.parts)]
    return None if any(part.is_wild for part in parts) else {part.text for part in parts}


def _put(states: dict[int, LeftOutBecause | None], at: int, reason: LeftOutBecause | None) -> None:
    states[at] = reason if at not in states or reason is None else states[at]


def _composed(name: str) -> str:
    """A name as most tools write it: macOS decomposes letters with accents."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
