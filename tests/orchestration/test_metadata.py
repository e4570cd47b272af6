"""Facts as Dagster metadata."""

from pathlib import Path

import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.asset_attributes import COLUMN_SCHEMA
from phyagi_assets.orchestration.assets import corpus_assets
from phyagi_assets.orchestration.metadata import fenced, metadata
from phyagi_assets.orchestration.mixed_samples import mixture_facts
from phyagi_assets.steps.facts import Bars, Rows, Text
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.mixture import MIXTURE, build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import declare, declare_corpus


def test_text_with_fences_of_its_own_stays_one_block() -> None:
    assert fenced("plain", "text") == "```text\nplain\n```"
    passage = "```\n<script>\n````\n"
    assert metadata({"first tokens": Text(text=passage)})["first tokens"].value == f"`````text\n{passage}`````"


def test_long_lines_of_a_text_are_broken_and_its_own_lines_are_kept() -> None:
    value = metadata({"first tokens": Text(text=f"{'word ' * 20}\n\n  end")})["first tokens"].value
    assert value.splitlines() == ["```text", " ".join(["word"] * 16), " ".join(["word"] * 4), "", "  end", "```"]


def test_samples_shown_of_stages_are_the_first_and_those_of_a_changed_plan_begin_at_the_change(built_plays: Workspace) -> None:
    for weight, at, begin in ((2, None, 0), (3, 40, 40)):
        stages = [{"until": "160 tokens", "datasets": [{"corpus": "plays"}]}, {"datasets": [{"corpus": "plays", "weight": weight}]}]
        declare(built_plays.data, "mixtures", name="mix", seq_len=16, stages=stages)
        catalog = load_catalog(built_plays.data)
        partitions = {"plays": list(built_plays.sources.partitions(catalog.corpora["plays"]))}
        built = build_mixture(catalog.mixtures["mix"], catalog.corpora, partitions, built_plays, at)
        facts = mixture_facts("mix", MIXTURE, built, built_plays.store)
        samples, bars = facts["first samples"], facts["composition"]
        assert isinstance(samples, Rows)
        assert [row["position"] for row in samples.rows] == list(range(begin, begin + 8))
        assert isinstance(bars, Bars)
        assert bars.title == f"samples in an epoch from position {max(begin, 10)} on"


@pytest.mark.filterwarnings("ignore")  # Dagster calls some of its features preliminary
def test_columns_of_conversations_are_shown_for_conversations_only(tmp_path: Path) -> None:
    shown = {}
    for name, keys in {"chats": {"messages": "messages"}, "notes": {}}.items():
        (assets,) = corpus_assets(declare_corpus(tmp_path, name, "raw/*.jsonl", **keys), FLOW)
        shown[name] = [column.name for spec in assets.specs if (of := spec.metadata.get(COLUMN_SCHEMA)) for column in of.columns]
    assert shown["chats"] == [*shown["notes"], "trained"]
