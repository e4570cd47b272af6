"""A data folder with its store, and Dagster's records of it."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from phyagi_assets.build.outcome import Outcome
from phyagi_assets.build.work import PartitionResult
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.execution.ray_address import LOCAL
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.orchestration.progress import LoggedProgress, RunProgress
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace

PLAY = "ALL THE WORLD. And all the men and women merely players; they have their exits and their entrances. "


class RecordingProgress:
    """A progress that records its calls."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.consumed: list[int] = []

    def started(self, name: str) -> None:
        self.begun.append(name)

    def advanced(self, consumed: int) -> None:
        self.consumed.append(consumed)

    def started_whole(self, name: str, step: str) -> None:
        del step
        self.begun.append(name)

    def ended_whole(self, name: str, failure: str) -> None:
        pass

    def ended(self, result: PartitionResult, *, is_current: bool) -> None:
        pass


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

    def runner(self, *names: str, progress: RunProgress | None = None, flow: Flow = FLOW) -> Runner:
        return Runner(load_catalog(self.workspace.data).select(names), self.workspace, self.instance, progress or RecordingProgress(), flow)

    def bring_up_to_date(
        self,
        *names: str,
        at: int | None = None,
        processes: int | None = None,
        executor: str = LOCAL,
        progress: RunProgress | None = None,
    ) -> Outcome:
        runner = self.runner(*names, progress=progress)
        return runner.run(runner.stale(), at, processes, executor)

    def materialized(self, *key: str) -> int:
        """Return how often an asset has been materialized."""
        return len(self.instance.fetch_materializations(dg.AssetKey(key), limit=1000).records)
