"""A data folder with its store, and Dagster's records of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from phyagi_assets.build.outcome import Outcome, PartitionResult
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.execution.ray_address import LOCAL
from phyagi_assets.orchestration.component import catalog_definitions
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.orchestration.materialize import Runner
from phyagi_assets.orchestration.progress import RunProgress, logged_progress
from phyagi_assets.settings import Settings
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import declare, declare_corpus, write_text

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

    def started_step(self, name: str, step: str) -> None:
        del step
        self.begun.append(name)

    def ended_step(self, name: str, failure: str, *, is_current: bool) -> None:
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
        return catalog_definitions(load_catalog(self.workspace.data), self.workspace, logged_progress)

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


def declare_plays(data: Path) -> None:
    """Declare a mixture of three plays, one partition per play."""
    for i, name in enumerate(("one", "two", "three")):
        write_text(data / "raw" / f"{name}.txt", PLAY * (i + 3))
    owned = {"owners": ["team:data", "a@b.org"], "description": "Plays."}
    declare_corpus(data, "plays", "raw/*.txt", partition_by="file", **owned)
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "plays", "weight": 1.5}])


@contextmanager
def opened_project(data: Path, engines: EnginePool) -> Iterator[Project]:
    """Open a data folder, the store in it, and the records in the store."""
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=engines)
    with open_instance(Settings(data=data, store=workspace.store.root)) as instance:
        yield Project(workspace=workspace, instance=instance)
