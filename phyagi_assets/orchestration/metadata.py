"""Metadata of materializations for the UI: the facts of a step as Dagster metadata."""

from typing import Any

import dagster as dg

from phyagi_assets.orchestration.plots import bar_chart
from phyagi_assets.steps.facts import Bars, Fact, Facts, Listing, Place, Rows, Text

Metadata = dict[str, Any]


def metadata(facts: Facts) -> Metadata:
    """Return facts as Dagster metadata, in the same order."""
    return {name: _value(fact) for name, fact in facts.items()}


def _value(fact: Fact) -> Any:
    match fact:
        case Rows(rows=rows):
            return dg.MetadataValue.table([dg.TableRecord(dict(row)) for row in rows])
        case Listing(items=items):
            return dg.MetadataValue.md("\n".join(f"- `{item}`" for item in items))
        case Text(text=text):
            return dg.MetadataValue.md(f"```text\n{text}\n```")
        case Bars(title=title, bars=bars):
            return dg.MetadataValue.md(bar_chart(title, bars))
        case Place(path=path):
            return dg.MetadataValue.path(path)
        case _:
            return fact
