"""Suggestions in messages about unknown names."""

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from phyagi_assets.formatting import listed


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a suggestion to append to a message about an unknown name; empty if no known name is similar.

    Examples
    --------
    >>> did_you_mean("nesw", ["news", "forum"]), did_you_mean("x", ["news"])
    ("; did you mean 'news'?", '')
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def suggesting(name: str, known: Collection[str], then: str) -> str:
    """Return the end of a message about an unknown name: a suggestion if a known name is similar, and a sentence about the known names.

    Examples
    --------
    >>> suggesting("nesw", ["news"], "declared names: news"), suggesting("x", ["news"], "declared names: news")
    ("; did you mean 'news'? Declared names: news", '; declared names: news')
    """
    meant = did_you_mean(name, known)
    return f"{meant} {then[0].upper()}{then[1:]}" if meant else f"; {then}"


def unknown_name(name: str, kind: str, kinds: str, known: Collection[str]) -> str:
    """Return the message about an unknown name, with the known names.

    Examples
    --------
    >>> unknown_name("nesw", "declared corpus", "declared corpora", ["news", "forum"])
    "'nesw' is not a declared corpus; did you mean 'news'? Declared corpora: news, forum"
    """
    sentence = f"{kinds}: {listed(list(known), 20) or 'none'}"
    return f"{name!r} is not a {kind}{suggesting(name, known, sentence)}"
