"""Single partitions and steps are built by the command's runner."""

from phyagi_assets.build.examine import examine_selection
from phyagi_assets.build.outcome import Outcome
from phyagi_assets.build.selection import select
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.materialize import Runner
from tests.project import Project, RecordingProgress
from tests.support import PARTITION_STEPS, write_text


def build_targets(project: Project, *targets: str) -> Outcome:
    workspace = project.workspace
    selection = select(load_catalog(workspace.data), targets)
    runner = Runner(selection.catalog, workspace, project.instance, RecordingProgress(), selection.flow)
    return runner.run(runner.stale(examine_selection(selection, workspace)))


def published(project: Project) -> set[str]:
    return {str(address) for address in project.workspace.store.list()}


def test_only_the_chosen_partition_and_steps_are_built(project: Project) -> None:
    assert build_targets(project, "plays/tokenized_arrow/one").built == ["plays/one"]
    assert published(project) == {"plays/raw_dataset/one", "plays/tokenized_arrow/one"}
    outcome = build_targets(project, "plays/one", "plays/two")
    assert sorted(outcome.built) == ["plays/one", "plays/two"]
    assert published(project) == {f"plays/{step}/{key}" for step in PARTITION_STEPS for key in ("one", "two")}
    again = build_targets(project, "plays/one")
    assert (again.built, again.current, again.failed) == ([], 1, {})
    assert project.materialized("plays", "numpy_cache") == 2


def test_steps_after_the_chosen_one_stay_as_they_are(built_project: Project) -> None:
    cache = built_project.workspace.store.published_fingerprint("plays/numpy_cache/one")
    write_text(built_project.raw / "one.txt", "Another play.")
    assert build_targets(built_project, "plays/tokenized_arrow").built == ["plays/one"]
    assert built_project.workspace.store.published_fingerprint("plays/numpy_cache/one") == cache
    assert build_targets(built_project).built == ["plays/one", "mix"]
    assert built_project.workspace.store.published_fingerprint("plays/numpy_cache/one") != cache
