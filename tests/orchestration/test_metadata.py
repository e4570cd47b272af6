"""Facts as Dagster metadata."""

from phyagi_assets.orchestration.metadata import fenced, metadata
from phyagi_assets.steps.facts import Text


def test_text_with_fences_of_its_own_stays_one_block() -> None:
    assert fenced("plain", "text") == "```text\nplain\n```"
    passage = "```\n<script>\n````\n"
    assert metadata({"first tokens": Text(text=passage)})["first tokens"].value == f"`````text\n{passage}`````"
