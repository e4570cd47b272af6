"""Warn of text files beside tables in one source, such as a README among JSON Lines files: some are probably there by accident."""

from collections import Counter
from collections.abc import Sequence
from itertools import chain

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import Format
from phyagi_assets.formatting import counted, listed
from phyagi_assets.sources.compression import is_compressed, plain_suffix
from phyagi_assets.sources.files import SourceFile, known_format
from phyagi_assets.sources.globs import is_wild

_NAMED = 3
"""Largest number of files in a message."""


def mixed_formats(corpus: Corpus, declared: str, files: Sequence[SourceFile]) -> str:
    """Return a warning if a pattern matches both text files and tables; else ``""``."""
    if corpus.config.source.format or not is_wild(declared):
        return ""
    found: dict[Format, list[SourceFile]] = {}
    for file in files:
        if kind := known_format(corpus, file.name):
            found.setdefault(kind, []).append(file)
    text = found.pop("text", [])
    if not text or not found:
        return ""
    tables, kinds = list(chain(*found.values())), sorted(found)
    if len(text) <= len(tables):
        few, unwanted, many, others = text, "text", tables, ", ".join(kinds)
    else:
        few, unwanted, many, others = tables, " or ".join(kinds), text, "text"
    named = listed([file.origin for file in few], _NAMED)
    return (
        f"{declared} matches {counted(len(few), 'file')} of {unwanted} ({named}) beside {counted(len(many), 'file')} of "
        f"{others}, and all of them are documents of the corpus; to leave out the {unwanted}, declare source.path: "
        f"{_pattern(declared, many)}"
    )


def _pattern(declared: str, files: Sequence[SourceFile]) -> str:
    """Return a narrower path, which ends in the most common suffix of some files."""
    suffixes = Counter(plain_suffix(file.name) + (f".{file.name.rpartition('.')[2]}" if is_compressed(file.name) else "") for file in files)
    folder, slash, last = declared.rpartition("/")
    if last == "**":
        last = "**/*"
    elif last.endswith(".*"):
        last = last.removesuffix(".*")
    elif "." in last or not last.endswith("*"):
        last = "*"
    return f"{folder}{slash}{last}{suffixes.most_common(1)[0][0]}"
