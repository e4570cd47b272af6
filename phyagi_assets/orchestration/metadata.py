"""Metadata of materializations for the UI: the facts of a step as Dagster metadata."""

import re
import textwrap
from typing import Any

import dagster as dg

from phyagi_assets.orchestration.plots import bar_chart
from phyagi_assets.steps.facts import Bars, Fact, Facts, Listing, Place, Rows, Text

_LINE = 80
"""Length at which lines of a passage are wrapped, in characters; the UI cuts off longer lines of a block."""


def metadata(facts: Facts) -> dict[str, Any]:
    """Return facts as Dagster metadata, in the same order."""
    return {name: _value(fact) for name, fact in facts.items()}


def fenced(text: str, language: str) -> str:
    """Return a text as a fenced block of Markdown, even if it contains fences."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 0)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _wrapped(text: str) -> str:
    """Return a text with lines that fit the UI."""
    return "\n".join(part for line in text.split("\n") for part in textwrap.wrap(line, _LINE, replace_whitespace=False) or [""])


def _value(fact: Fact) -> Any:
    match fact:
        case Rows(rows=rows):
            return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])
        case Listing(items=items):
            return dg.MetadataValue.md("\n".join(f"- `{item}`" for item in items))
        case Text(text=text):
            return dg.MetadataValue.md(fenced(_wrapped(text), "text"))
        case Bars(title=title, bars=bars):
            return dg.MetadataValue.md(bar_chart(title, bars))
        case Place(path=path):
            return dg.MetadataValue.path(path)
        case _:
            return fact
