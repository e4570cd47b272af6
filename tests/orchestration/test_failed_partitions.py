"""A mixture leaves out partitions that failed, if its declaration says so."""

import io
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from rich.console import Console

from phyagi_assets.build.failures import Failures
from phyagi_assets.build.outcome import Outcome
from phyagi_assets.cli.render import show_outcome
from phyagi_assets.cli.render_state import show_status
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.formats.plan import PLAN
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.inspection.forecast import forecast
from phyagi_assets.inspection.materialize_report import MaterializeReport
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.inspection.status import status
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.steps.mixture import LEFT_OUT
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.project import PLAY, Project, declare_plays, opened_project
from tests.support import copy_data, copy_store, declare, write_text

BAD, GOOD = b"caf\xe9", PLAY * 4


def declare_skip(project: Project) -> None:
    parts = [{"corpus": "plays", "weight": 1.5}]
    declare(project.workspace.data, "mixtures", name="mix", seq_len=16, on_failed_partition="skip", datasets=parts)


def build_without_two(project: Project) -> Outcome:
    declare_skip(project)
    write_text(project.raw / "two.txt", BAD)
    return project.bring_up_to_date()


@pytest.fixture(scope="module")
def built_without_two(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """The data folder of a project whose mixture was built without the partition ``two``."""
    data = tmp_path_factory.mktemp("without-two") / "data"
    declare_plays(data)
    copy_store(prepared_store, data / "store")
    with opened_project(data, engines) as project:
        build_without_two(project)
    return data


@pytest.fixture
def without_two(built_without_two: Path, data: Path, engines: EnginePool) -> Iterator[Project]:
    """A copy of that project."""
    with opened_project(copy_data(built_without_two, data), engines) as project:
        yield project


def plan_of(project: Project) -> Artifact:
    artifact = project.workspace.store.open("mix/mixed_dataset")
    assert artifact is not None
    return artifact


def samples(plan: Artifact, stop: int) -> list[tuple[int, int, int]]:
    """Return the corpus, array and first token of the samples before a position."""
    found = MixtureOrder(read_plan(plan.path / PLAN), "train").locate(np.arange(stop))
    return list(zip(found.corpus.tolist(), found.piece.tolist(), found.start.tolist(), strict=True))


def test_mixture_is_built_without_a_failed_partition_which_is_logged(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    outcome = build_without_two(project)
    assert (outcome.built, list(outcome.failed)) == (["plays/one", "plays/three", "mix"], ["plays/two"])
    assert outcome.skipped == {"mix": ["plays/two"]}
    assert "mix leaves out 1 partition that failed: plays/two" in caplog.text


def test_left_out_partition_is_named_in_all_outputs_about_the_mixture(without_two: Project) -> None:
    workspace, catalog = without_two.workspace, load_catalog(without_two.workspace.data)
    plan = plan_of(without_two)
    assert (list(plan.manifest.inputs["plays"]), plan.manifest.details[LEFT_OUT]) == (["one", "three"], ["plays/two"])
    assert inspect_named("mix", workspace.store, workspace).facts["partitions left out"] == "plays/two"
    (record,) = without_two.instance.fetch_materializations(dg.AssetKey(["mix", "mixed_dataset"]), limit=1).records
    assert record.asset_materialization is not None
    assert record.asset_materialization.metadata["partitions left out"].value == "plays/two"

    said = io.StringIO()
    console, line = Console(file=said, width=200), "mix: leaves out 1 partition that failed: plays/two"
    found = status(catalog, workspace)
    assert (found.mixtures[0].state, found.mixtures[0].skipped) == ("current", ("plays/two",))
    show_status(console, found)
    assert line in said.getvalue()
    again = without_two.bring_up_to_date()
    assert (again.built, list(again.failed), again.skipped) == ([], ["plays/two"], {"mix": ["plays/two"]})
    said.truncate(0)
    show_outcome(console, MaterializeReport.of(again, ()), catalog, workspace.store, {})
    assert line in said.getvalue()
    assert forecast(catalog.mixtures["mix"], catalog.corpora, workspace).corpora[0].is_exact


def test_repaired_partition_gives_the_plan_of_a_mixture_that_never_failed(without_two: Project) -> None:
    write_text(without_two.raw / "two.txt", GOOD)
    assert without_two.bring_up_to_date().built == ["plays/two", "mix"]
    mended = plan_of(without_two)
    declare(without_two.workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "plays", "weight": 1.5}])
    assert without_two.bring_up_to_date().built == []
    assert (plan_of(without_two).fingerprint, LEFT_OUT in mended.manifest.details) == (mended.fingerprint, False)


def test_repaired_partition_is_appended_without_changing_the_order_read_so_far(without_two: Project) -> None:
    before = samples(plan_of(without_two), 5)
    write_text(without_two.raw / "two.txt", GOOD)
    assert without_two.bring_up_to_date("mix", at=5).built == ["plays/two", "mix"]
    assert samples(plan_of(without_two), 5) == before
    assert list(plan_of(without_two).manifest.inputs["plays"]) == ["one", "three", "two"]


def test_earlier_version_of_a_failed_partition_is_not_read_and_a_new_one_is_named(project: Project) -> None:
    declare_skip(project)
    project.bring_up_to_date()
    whole, good = plan_of(project), (project.raw / "two.txt").read_bytes()
    write_text(project.raw / "two.txt", BAD)
    project.bring_up_to_date()
    assert list(plan_of(project).manifest.inputs["plays"]) == ["one", "three"]
    write_text(project.raw / "two.txt", good)
    write_text(project.raw / "four.txt", BAD)
    Failures(project.workspace.store).record("plays/two", "a failure before its content was back", lasts=True)
    assert project.bring_up_to_date().skipped == {"mix": ["plays/four"]}
    assert plan_of(project).fingerprint == whole.fingerprint
    assert inspect_named("mix", project.workspace.store, project.workspace).facts["partitions left out"] == "plays/four"


def test_run_of_the_asset_leaves_out_failed_partitions_and_waits_for_unbuilt_ones(project: Project) -> None:
    declare_skip(project)
    write_text(project.raw / "two.txt", BAD)
    project.bring_up_to_date("plays")
    job = project.definitions.resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(["mix", "mixed_dataset"])]
    assert job.execute_in_process(instance=project.instance, asset_selection=selection).success
    assert list(plan_of(project).manifest.inputs["plays"]) == ["one", "three"]
    project.instance.add_dynamic_partitions("plays", ["four"])
    failed = job.execute_in_process(instance=project.instance, asset_selection=selection, raise_on_error=False)
    assert not failed.success
    assert any("plays/numpy_cache/four" in str(event.step_failure_data.error) for event in failed.all_events if event.is_step_failure)


@pytest.mark.parametrize("skip", [True, False])
def test_transient_or_unskippable_failure_stops_the_mixture(project: Project, *, skip: bool) -> None:
    if skip:
        declare_skip(project)
    write_text(project.raw / "two.txt", BAD)
    with pytest.MonkeyPatch.context() as patched:
        if skip:
            patched.setattr(Failures, "last", lambda *_: None)  # as of a killed process, whose failure does not last
        outcome = project.bring_up_to_date()
    hint = "; fix it, or set on_failed_partition: skip in mixtures/mix.yaml"
    assert outcome.failed["mix"] == "not built, because of plays/two" + hint * (not skip)
    assert not outcome.skipped


def test_corpus_is_not_left_out_as_a_whole(project: Project) -> None:
    declare_skip(project)
    for name in ("one", "two", "three"):
        write_text(project.raw / f"{name}.txt", BAD)
    assert "all partitions of plays failed" in project.bring_up_to_date().failed["mix"]
