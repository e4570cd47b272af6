"""Single partitions and steps are built by the command's runner."""

from typing import Any

import pytest

from phyagi_assets.build.available import lasting_failures
from phyagi_assets.build.examine import examine_selection
from phyagi_assets.build.outcome import Outcome
from phyagi_assets.build.selection import select
from phyagi_assets.cli.render import catalog_trees
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import StoreAccessError
from phyagi_assets.inspection.dry_run import dry_run
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.store.local import LocalStore
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


def test_unreadable_version_does_not_stop_independent_work(built_project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, opened = {"plays/numpy_cache/three", "mix/mixed_dataset"}, LocalStore.open

    def open_or_refuse(store: LocalStore, address: str, **options: Any) -> Any:
        if str(address) in refused:
            raise StoreAccessError(f"{address}: cannot be read")
        return opened(store, address, **options)

    monkeypatch.setattr(LocalStore, "open", open_or_refuse)
    write_text(built_project.raw / "one.txt", "Another play.")
    assert build_targets(built_project, "plays/one").built == ["plays/one"]
    assert built_project.materialized("plays", "numpy_cache") == 4
    for names in ([], ["plays"]):
        (tree,) = catalog_trees(load_catalog(built_project.workspace.data).select(names), built_project.workspace.store, {})
        assert str(tree.label).endswith("[red]may not be read[/]")
    write_text(built_project.raw / "two.txt", "A second play.")
    outcome = build_targets(built_project)
    assert (outcome.built, outcome.failed["plays/three"]) == (["plays/two"], "plays/numpy_cache/three: cannot be read")
    assert lasting_failures(["plays/three"], built_project.workspace.store) == []
    refused.remove("plays/numpy_cache/three")
    write_text(built_project.raw / "two.txt", "A third play.")
    denied = {"mix": "mix/mixed_dataset: cannot be read"}
    for built in (["plays/two"], []):  # with and without a partition to build
        outcome = build_targets(built_project)
        assert (outcome.built, outcome.failed) == (built, denied)
    assert dry_run(select(load_catalog(built_project.workspace.data), []), built_project.workspace).failed == denied
