"""The attributes of an asset that Dagster shows: its description, owners, tags, columns and links."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.orchestration.automation import freshness_policy
from phyagi_assets.orchestration.metadata import fenced
from phyagi_assets.settings import REPORTS_VARIABLE, Settings
from phyagi_assets.steps.step import Column, Step

COLUMN_SCHEMA = "dagster/column_schema"
_TAGS = "phyagi_assets"
"""Namespace of the tags of assets."""
_LONGEST_TAG = 63
"""Largest number of characters of the value of a tag."""


def shown_attributes(declared: Corpus | Mixture, step: Step) -> dict[str, Any]:
    """Return the attributes of the asset of a step."""
    return {
        "group_name": declared.config.name,
        "kinds": set(step.kinds),
        "owners": list(declared.config.owners),
        "description": _described(declared, step.description),
        "code_version": step.code_version,
        "tags": _tags(declared),
        "freshness_policy": freshness_policy(declared.config.fresh_within),
        "metadata": {
            "dagster/code_references": dg.CodeReferencesMetadataValue(
                code_references=[dg.LocalFileCodeReference(file_path=str(declared.path.resolve()), label=declared.path.name)]
            ),
            **({COLUMN_SCHEMA: schema} if (schema := _schema(declared, step.columns)) else {}),
            **({"report": dg.MetadataValue.url(place)} if (place := _report_place(declared.config.name)) else {}),
        },
    }


def _schema(declared: Corpus | Mixture, columns: Mapping[str, Column]) -> dg.TableSchema | None:
    """Return the columns of the artifacts of a declaration; None if the artifacts are not tables."""
    has_masks = isinstance(declared.config, CorpusConfig) and declared.config.messages is not None
    found = [
        dg.TableColumn(name, column.type, description=column.description)
        for name, column in columns.items()
        if has_masks or not column.only_conversations
    ]
    return dg.TableSchema(found) if found else None


def _tags(declared: Corpus | Mixture) -> dict[str, str]:
    """Return the tags by which the catalog finds assets: tokenizer and source of a corpus, length of the samples of a mixture."""
    if isinstance(declared.config, MixtureConfig):
        return {f"{_TAGS}/seq_len": str(declared.config.seq_len)}
    tokenizer = declared.config.tokenizer.partition("@")[0].rpartition("/")[2]
    schemes = {path.partition("://")[0] if "://" in path else "local" for path in declared.config.source.paths}
    return {f"{_TAGS}/tokenizer": _tag_value(tokenizer), f"{_TAGS}/source": _tag_value("-".join(sorted(schemes)))}


def _tag_value(text: str) -> str:
    """Return a text as a valid value of a Dagster tag."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text)[:_LONGEST_TAG]


def _report_place(name: str) -> str:
    """Return the address of the report of a corpus or a mixture; empty if the web server has none, as for a store in a bucket."""
    place = os.environ.get(REPORTS_VARIABLE)
    return f"{place.rstrip('/')}/{name}" if place and isinstance(Settings.resolve().store, Path) else ""


def _described(declared: Corpus | Mixture, what: str) -> str:
    summary = f"{declared.config.description}\n\n" if declared.config.description else ""
    link = f" [Report of {declared.config.name}]({place})" if (place := _report_place(declared.config.name)) else ""
    where = f"{declared.path.parent.name}/{declared.path.name}"
    # The catalog shows the beginning of a description as plain text, so Markdown comes last; assets hide what is below the first lines.
    return f"{summary}{what}\n\nDeclared in {where}.{link}\n\n{fenced(declared.text, 'yaml')}"
