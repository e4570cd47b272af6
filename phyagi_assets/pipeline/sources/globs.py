"""Patterns of paths: what they begin with, and what they match where no file system can be asked."""

import re

_WILD = re.compile(r"[*?[]")


def is_wild(part: str) -> bool:
    """Whether a part of a path is a pattern."""
    return _WILD.search(part) is not None


def fixed_prefix(pattern: str) -> str:
    """What every match of a pattern begins with."""
    wild = _WILD.search(pattern)
    return pattern[: wild.start()] if wild else pattern


def is_glob(pattern: str) -> bool:
    """Whether ``**`` stands alone between slashes wherever it stands; elsewhere nobody agrees on what it matches."""
    return all(part == "**" or "**" not in part for part in pattern.split("/"))


def glob_regex(pattern: str) -> re.Pattern[str]:
    """What matches the whole of a path with slashes.

    ``*`` and ``?`` match within a part, ``[…]`` one of some characters, and ``**`` any number of whole parts.

    Examples
    --------
    >>> bool(glob_regex("raw/**/*.txt").fullmatch("raw/a/b/c.txt")), bool(glob_regex("raw/*.txt").fullmatch("raw/a/b.txt"))
    (True, False)
    """
    parts = pattern.split("/")
    regex = "".join(_part(part, last=i == len(parts) - 1) for i, part in enumerate(parts))
    return re.compile(regex, re.DOTALL)


def _part(part: str, *, last: bool) -> str:
    if part == "**":
        return ".*" if last else "(?:[^/]+/)*"
    return re.sub(r"\*|\?|\[[!^]?\]?[^]]*\]|.", _translated, part, flags=re.DOTALL) + ("" if last else "/")


def _translated(match: re.Match[str]) -> str:
    found = match[0]
    if found in "*?":
        return "[^/]*" if found == "*" else "[^/]"
    if len(found) > 1:
        inside = found[1:-1].replace("\\", "\\\\")
        return f"[{'^/' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(found)
