"""Facts as Dagster metadata."""

from pathlib import Path

import pytest

from phyagi_assets.orchestration.assets import COLUMN_SCHEMA, corpus_assets
from phyagi_assets.orchestration.metadata import fenced, metadata
from phyagi_assets.steps.facts import Text
from phyagi_assets.steps.flow import FLOW
from tests.support import declare_corpus


def test_text_with_fences_of_its_own_stays_one_block() -> None:
    assert fenced("plain", "text") == "```text\nplain\n```"
    passage = "```\n<script>\n````\n"
    assert metadata({"first tokens": Text(text=passage)})["first tokens"].value == f"`````text\n{passage}`````"


@pytest.mark.filterwarnings("ignore")  # Dagster calls some of its features preliminary
def test_columns_of_conversations_are_shown_for_conversations_only(tmp_path: Path) -> None:
    shown = {}
    for name, keys in {"chats": {"messages": "messages"}, "notes": {}}.items():
        (assets,) = corpus_assets(declare_corpus(tmp_path, name, "raw/*.jsonl", **keys), FLOW)
        shown[name] = [column.name for spec in assets.specs if (of := spec.metadata.get(COLUMN_SCHEMA)) for column in of.columns]
    assert shown["chats"] == [*shown["notes"], "trained"]
