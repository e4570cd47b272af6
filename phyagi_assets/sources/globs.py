"""The glob language of sources: the same for local files, objects and repositories, on every version of Python.

It is the language of ``glob.glob(pattern, recursive=True)``. ``*``, ``?`` and ``[…]`` match within one part of a path, ``**`` matches any
number of folders, and only a dot in the pattern matches a leading dot. Names that tools leave behind do not match either, unless the
pattern contains the mark of such names. A path that only these rules exclude is *left out*: it is counted and reported, never silently
missing. `fnmatch` translates the parts; ``glob.translate`` (Python 3.13) would not say why a path is left out.
"""

import fnmatch
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

LeftOutBecause = Literal["hidden", "left by a tool", "not the pattern's upper and lower case"]
"""Reason for leaving out a path that otherwise fits the pattern."""

States = Mapping[int, LeftOutBecause | None]
"""State of matching a path part by part: by index of each part of the pattern that the next part of the path may match, the reason for
leaving out the path so far, or None. The index after the last part means that the whole pattern is matched."""

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
    # incomplete downloads
    ("", ".tmp"),
    ("", ".partial"),
    ("", ".crdownload"),
    # file managers and archivers
    ("__MACOSX", None),
    ("Thumbs.db", None),
    ("desktop.ini", None),
    # file systems
    ("lost+found", None),
)
"""Prefix and suffix of names that tools leave behind; if the suffix is None, the first string is the whole name."""


def is_wild(part: str) -> bool:
    """Return whether a part of a path contains wildcards."""
    return _WILD.search(part) is not None


def fixed_prefix(pattern: str) -> str:
    """Return the characters that every match begins with, up to the first non-ASCII one, which Unicode may encode in several ways."""
    wild = _WILD.search(pattern)
    return re.match(r"[\x00-\x7f]*", pattern[: wild.start()] if wild else pattern)[0]  # type: ignore[index]


@dataclass(frozen=True)
class Glob:
    """A pattern of paths, relative to the folder that it starts from.

    Parameters
    ----------
    pattern
        The pattern, with slashes between its parts.

    Examples
    --------
    >>> glob = Glob("raw/**/*.txt")
    >>> glob.matches("raw/a/b/c.txt"), glob.matches("raw/a/.c.txt"), glob.left_out("raw/a/.c.txt")
    (True, False, 'hidden')
    """

    pattern: str

    @cached_property
    def parts(self) -> tuple["Part", ...]:
        """Parts of the pattern. A ``**`` at its end becomes ``**/*``, because it matches files too."""
        texts = self.pattern.split("/")
        texts += ["*"] if texts[-1] == "**" else []
        return tuple(Part(text, is_last=i == len(texts) - 1) for i, text in enumerate(texts))

    @cached_property
    def fixed(self) -> int:
        """Number of leading folders without wildcards. The names of source files begin after them."""
        return next((i for i, part in enumerate(self.parts[:-1]) if part.is_wild), len(self.parts) - 1)

    def matches(self, path: str) -> bool:
        """Return whether a path matches."""
        return self.is_match(self._after(path))

    def left_out(self, path: str) -> LeftOutBecause | None:
        """Return why a path is left out, or None if it matches or does not fit the pattern at all."""
        return self.reason(self._after(path))

    @property
    def start(self) -> States:
        """State before the first part of a path."""
        return self._closed({0: None})

    def step(self, states: States, name: str) -> States:
        """Return the state after one more part of a path."""
        after: dict[int, LeftOutBecause | None] = {}
        for at, reason in states.items():
            if at == len(self.parts):
                continue
            part = self.parts[at]
            mismatch = part.mismatch(name)
            if mismatch != "no match":
                _put(after, at if part.is_deep else at + 1, reason or mismatch)
        return self._closed(after)

    def is_match(self, states: States) -> bool:
        """Return whether a path that led to this state matches."""
        return states.get(len(self.parts), "none") is None

    def can_go_on(self, states: States) -> bool:
        """Return whether a longer path may match or be left out."""
        return any(at < len(self.parts) for at in states)

    def reason(self, states: States) -> LeftOutBecause | None:
        """Return why a path that led to this state is left out, or None."""
        return states.get(len(self.parts))

    def _after(self, path: str) -> States:
        folder, slash, name = path.rpartition("/")
        if folder not in self._folders:  # cached, because many paths share a folder
            self._folders[folder] = self._after(folder) if slash else self.start
        return self.step(self._folders[folder], name)

    @cached_property
    def _folders(self) -> dict[str, States]:
        return {}

    def _closed(self, states: Mapping[int, LeftOutBecause | None]) -> States:
        """Add the parts of the pattern that are reached if ``**`` matches no folder."""
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

    def mismatch(self, name: str) -> LeftOutBecause | Literal["no match"] | None:
        """Return None if the part matches a name, else why it does not."""
        if not self.is_wild:
            return None if name == self.text or _composed(name) == _composed(self.text) else "no match"
        if not self.is_deep and not self._fits(name):
            return "not the pattern's upper and lower case" if self._fits(self._with_suffix(name)) else "no match"
        if name.startswith(".") and not self.text.startswith("."):
            return "hidden"
        return "left by a tool" if any(self._is_marked(name, *mark) for mark in _MARKS) else None

    def _is_marked(self, name: str, start: str, end: str | None) -> bool:
        """Return whether a name has a mark that the pattern does not contain."""
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
        """Return the name of a file with the letter case of the pattern's suffix if their suffixes differ only in case, as in ``A.TXT``."""
        _, dot, suffix = self.text.rpartition(".")
        end = len(name) - len(suffix)
        is_alike = self.is_last and dot and not is_wild(suffix) and name[end:].lower() == suffix.lower()
        return name[:end] + suffix if is_alike else name


def literal_names(glob: Glob, states: States) -> set[str] | None:
    """Return the names to look up in a folder without listing it, or None if the folder has to be listed."""
    parts = [glob.parts[at] for at in states if at < len(glob.parts)]
    return None if any(part.is_wild for part in parts) else {part.text for part in parts}


def _put(states: dict[int, LeftOutBecause | None], at: int, reason: LeftOutBecause | None) -> None:
    states[at] = reason if at not in states or reason is None else states[at]


def _composed(name: str) -> str:
    """Return a name in Unicode's composed form (NFC), which most tools write; macOS decomposes letters with accents."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)
