"""Totals of a corpus in the metadata of its partitions."""

from typing import Any

import dagster as dg

from tests.project import PLAY, Project
from tests.support import write_text


def materializations(project: Project, step: str) -> list[dict[str, Any]]:
    """Return the metadata of all materializations of a step of the plays, the oldest first."""
    records = project.instance.fetch_materializations(dg.AssetKey(["plays", step]), limit=100, ascending=True).records
    found = [record.asset_materialization for record in records]
    return [{name: value.value for name, value in each.metadata.items()} for each in found if each]


def test_totals_of_a_corpus_grow_with_its_partitions(project: Project) -> None:
    project.bring_up_to_date("plays")
    first = materializations(project, "numpy_cache")
    assert [each["corpus partitions"] for each in first] == [1, 2, 3]
    assert first[-1]["corpus tokens"] == sum(each["tokens"] for each in first)
    assert "corpus tokens, plotted" not in first[0]  # one partition is not a plot
    assert "tokens of 3 partitions" in first[-1]["corpus tokens, plotted"]

    write_text(project.raw / "four.txt", PLAY * 9)
    write_text(project.raw / "one.txt", PLAY * 40)
    project.bring_up_to_date("plays")
    later = materializations(project, "numpy_cache")[3:]
    assert len(later) == 2
    caches = [project.workspace.store.open(f"plays/numpy_cache/{play}") for play in ("one", "two", "three", "four")]
    assert later[-1]["corpus partitions"] == 4
    assert later[-1]["corpus tokens"] == sum(of["tokens"] for cache in caches if cache for of in cache.manifest.counts.values())

    files = materializations(project, "raw_dataset")[-1]
    assert files["corpus bytes"] == sum(path.stat().st_size for path in project.raw.glob("*.txt"))
    text = materializations(project, "tokenized_arrow")[-1]
    assert text["corpus documents"] == text["dagster/row_count"] == 4
    assert text["duplicates, %"] == 0
