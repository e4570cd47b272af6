"""Mixtures of a store in a bucket: other machines build there too, and the sensor `mixtures` reads the store only if it has to."""

from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from phyagi_assets.build.mixture_scan import MixtureScan
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.copying import copy_versions, version_copies
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.bucket_stores import store_in_bucket
from tests.orchestration.test_mixtures import asked, carry_out, reason, tick
from tests.project import PLAY, Project, declare_plays
from tests.s3 import S3Server
from tests.support import copy_store, declare, declare_corpus, write_text


@pytest.mark.skipif("not config.getoption('soak')", reason="long")
@pytest.mark.usefixtures("s3")
def test_mixture_in_a_bucket_is_requested_after_a_recorded_publication(
    data: Path, prepared_store: Path, tmp_path: Path, engines: EnginePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare_plays(data)
    for name in ("scratch", "other"):
        copy_store(prepared_store, tmp_path / name)
    workspace = Workspace(data=data, store=store_in_bucket("s3://raw/store", scratch=tmp_path / "scratch"), engines=engines)
    with open_instance(Settings(data=data, store=tmp_path / "records")) as instance:
        project = Project(workspace=workspace, instance=instance)
        assert not project.bring_up_to_date().failed
        settled = tick(project)
        assert reason(settled) == "1 mixture up to date."
        with monkeypatch.context() as patched:
            patched.setattr(MixtureScan, "scan", lambda *_: pytest.fail("nothing has changed"))
            tick(project, settled.cursor)
        write_text(project.raw / "two.txt", PLAY * 9)
        assert project.bring_up_to_date("plays").built == ["plays/two"]
        other = replace(project, workspace=replace(workspace, store=store_in_bucket("s3://raw/store", scratch=tmp_path / "other")))
        stale = tick(other, settled.cursor)
        assert asked(stale) == ["mix_build"]
        assert carry_out(other, stale) == [True]
        assert reason(tick(other, stale.cursor)) == "1 mixture up to date."


@pytest.mark.usefixtures("s3")
def test_mixture_that_was_built_while_a_command_waited_for_it_is_not_built_again(built_project: Project, tmp_path: Path) -> None:
    on_disk = built_project.workspace.store
    here, elsewhere = (store_in_bucket("s3://raw/store", scratch=tmp_path / name) for name in ("here", "elsewhere"))
    assert list(copy_versions(version_copies(on_disk, elsewhere)))
    plan = elsewhere.open("mix/mixed_dataset")
    assert plan
    elsewhere.discard(plan.address, plan.path)
    runner = replace(built_project, workspace=replace(built_project.workspace, store=here)).runner()
    work = runner.stale()
    assert here.open(plan.address) is None
    assert list(copy_versions(version_copies(on_disk, elsewhere)))
    outcome = runner.run(work)
    assert (outcome.built, outcome.current, outcome.failed) == ([], 4, {})
    assert built_project.materialized("mix", "mixed_dataset") == 1


def test_mixture_is_up_to_date_if_objects_were_fetched_again_and_have_the_same_content(
    workspace: Workspace, instance: dg.DagsterInstance, s3: S3Server
) -> None:
    declare_corpus(workspace.data, "plays", "s3://raw/source/*.txt")
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "plays"}])
    project = Project(workspace=workspace, instance=instance)
    s3.put("source/one.txt", PLAY.encode())
    assert project.bring_up_to_date().built == ["plays/all", "mix"]
    s3.put_in_parts("source/one.txt", PLAY.encode())
    outcome = project.bring_up_to_date()
    assert (outcome.built, outcome.current, outcome.failed) == ([], 2, {})
    assert project.materialized("mix", "mixed_dataset") == 1
