"""Targets of the command."""

import pytest

from phyagi_assets.build.examine import examine_selection
from phyagi_assets.build.selection import select
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import PhyagiAssetsError
from tests.project import Project
from tests.support import declare_corpus, write_text

ALL = ["raw_dataset", "tokenized_arrow", "numpy_cache", "mixed_dataset"]


@pytest.mark.parametrize(
    ("targets", "partitions", "steps"),
    [
        ([], {}, ALL),
        (["mix"], {}, ALL),
        (["mix/mixed_dataset"], {}, ALL),
        (["plays"], {}, ALL),
        (["plays/numpy_cache"], {}, ALL),
        (["plays/one"], {"plays": ["one"]}, ALL),
        (["plays/two", "plays/one", "plays/one"], {"plays": ["one", "two"]}, ALL),
        (["plays/one", "plays"], {}, ALL),
        (["plays/one", "mix"], {}, ALL),
        (["plays/tokenized_arrow"], {}, ALL[:2]),
        (["plays/raw_dataset/one", "plays/raw_dataset/two"], {"plays": ["one", "two"]}, ALL[:1]),
    ],
    ids=str,
)
def test_targets_choose_partitions_and_steps(
    project: Project, targets: list[str], partitions: dict[str, list[str]], steps: list[str]
) -> None:
    selection = select(load_catalog(project.workspace.data), targets)
    assert (selection.partitions, [step.name for step in selection.flow.steps]) == (partitions, steps)
    assert selection.is_whole == (not partitions and steps == ALL)
    assert list(selection.catalog.mixtures) == (["mix"] if not targets or "mix" in " ".join(targets) else [])


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (["plyas"], "'plyas' is not declared in .*; did you mean 'plays'\\? Declared names: plays, mix"),
        (["mix/one"], "mix/one: mix is a mixture, which has no partitions; name mix"),
        (["plays/tokenized_arow/one"], "'tokenized_arow' is not a step of a corpus; did you mean 'tokenized_arrow'\\? The steps: raw"),
        (["plays/raw_dataset", "plays"], "plays/raw_dataset and plays end at different steps; name them in two commands"),
        (
            ["plays/tow"],
            "plays/tow: plays has neither a partition nor a step of this name; did you mean 'two'\\? Its partitions: one, three, two",
        ),
        (["plays/raw_datset"], "did you mean 'raw_dataset'\\?"),
        (
            ["plays/numpy_cache/x"],
            "plays/x: plays has neither a partition nor a step of this name; its partitions: one, three, two",
        ),
    ],
    ids=str,
)
def test_unknown_target_is_an_error_with_a_suggestion(project: Project, targets: list[str], message: str) -> None:
    with pytest.raises(PhyagiAssetsError, match=message):
        examine_selection(select(load_catalog(project.workspace.data), targets), project.workspace)


def test_source_that_cannot_be_listed_fails_its_corpus_alone(project: Project) -> None:
    declare_corpus(project.workspace.data, "gone", "nothing/*.txt")
    examined = examine_selection(select(load_catalog(project.workspace.data), ["gone/x", "plays/one"]), project.workspace)
    assert "no file matches" in examined.failed["gone"]
    assert list(examined.corpora["plays"].artifacts) == ["one"]


def test_partition_with_the_name_of_a_step_is_named_with_its_step(project: Project) -> None:
    write_text(project.raw / "raw_dataset.txt", "A play about data.")
    catalog = load_catalog(project.workspace.data)
    assert select(catalog, ["plays/raw_dataset"]).partitions == {}
    assert select(catalog, ["plays/numpy_cache/raw_dataset"]).partitions == {"plays": ["raw_dataset"]}
