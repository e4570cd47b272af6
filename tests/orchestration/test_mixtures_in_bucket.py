"""The sensor `mixtures` with a store in a bucket reads the store only if Dagster has recorded a change."""

from dataclasses import replace
from pathlib import Path

import pytest

from phyagi_assets.build.mixture_scan import MixtureScan
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.bucket_stores import store_in_bucket
from tests.orchestration.test_mixtures import asked, carry_out, reason, tick
from tests.project import PLAY, Project, declare_plays
from tests.support import copy_store, write_text


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
