"""The text that the inputs vary: prose, code and other languages than English, from this repository and its environment.

There are sources of three kinds, each a list of paragraphs; a document is made of one source.
"""

import gettext
import json
import sysconfig
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path

RAW = Path(__file__).parents[2] / "data" / "raw"
KINDS = {"prose": 0.65, "code": 0.20, "other languages": 0.15}
"""Share of the documents of each kind of text."""
_TOGETHER = 8  # messages per paragraph

Paragraphs = list[str]


def sources() -> dict[str, list[Paragraphs]]:
    """Return the sources of each kind; empty for a kind that the environment lacks."""
    return {"prose": [_plays(), _profiles()], "code": [_modules()], "other languages": _languages()}


def _plays() -> Paragraphs:
    return _cut(path.read_text(encoding="utf-8") for path in sorted((RAW / "shakespeare").glob("*.txt")))


def _profiles() -> Paragraphs:
    lines = (line for path in sorted((RAW / "factbook").glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines())
    return _cut(json.loads(line)["text"] for line in lines)


def _modules() -> Paragraphs:
    """Return the modules of Python's standard library."""
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    return _cut(path.read_text(encoding="utf-8", errors="replace") for path in files)


def _languages() -> list[Paragraphs]:
    """Return the messages of Django as one source per language: a hundred languages, with every script in common use."""
    found = find_spec("django")
    if found is None or found.origin is None:
        return []
    messages: dict[str, list[str]] = defaultdict(list)
    for path in sorted(Path(found.origin).parent.rglob("LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalog: Mapping[object, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # the whole of it
        messages[path.parts[-3]] += [message for key, message in catalog.items() if key and message]
    return [[" ".join(said[i : i + _TOGETHER]) for i in range(0, len(said), _TOGETHER)] for said in messages.values() if said]


def _cut(texts: Iterable[str]) -> Paragraphs:
    return [piece for text in texts for piece in text.split("\n\n") if piece.strip()]
