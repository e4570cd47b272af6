"""A small corpus and mixture, and a Dagster instance of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from phyagi_assets.build.work import Outcome
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.orchestration.progress import LoggedProgress
from phyagi_assets.settings import Settings
from phyagi_assets.steps.step import Workspace
from tests.support import declare, declare_corpus, write_text

PLAY = "ALL THE WORLD. And all the men and women merely players; they have their exits and their entrances. "


@dataclass(frozen=True, kw_only=True)
class Project:
    """A data folder, its store, and Dagster's records of it."""

    workspace: Workspace
    instance: dg.DagsterInstance

    @property
    def raw(self) -> Path:
        return self.workspace.data / "raw"

    @property
    def definitions(self) -> dg.Definitions:
        return catalog_definitions(load_catalog(self.workspace.data), self.workspace, LoggedProgress())

    def bring_up_to_date(self, *names: str, at: int | None = None) -> Outcome:
        runner = Runner(load_catalog(self.workspace.data).select(names), self.definitions, self.workspace, self.instance)
        return runner.run(runner.stale(), lambda _name: None, at)

    def materialized(self, *key: str) -> int:
        """How often an asset has been materialized."""
        return len(self.instance.fetch_materializations(dg.AssetKey(key), limit=1000).records)


@pytest.fixture
def instance(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings(data=workspace.data, store=workspace.store.root)) as opened:
        yield opened


@pytest.fixture
def project(workspace: Workspace, instance: dg.DagsterInstance) -> Project:
    """Three plays, a partition each, in a mixture."""
    for i, name in enumerate(("one", "two", "three")):
        write_text(workspace.data / "raw" / f"{name}.txt", PLAY * (i + 3))
    owned = {"owners": ["team:data", "a@b.org"], "description": "Plays."}
    declare_corpus(workspace.data, "plays", "raw/*.txt", partition_by="file", **owned)
    declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "plays", "weight": 1.5}])
    return Project(workspace=workspace, instance=instance)
