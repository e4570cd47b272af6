"""Processes that build partitions side by side: one partition keeps only so many processors busy.

The largest are handed out first. A process that dies, however it dies, is a partition that failed.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial

import dagster as dg

from phyagi_assets.build.work import Outcome, Work
from phyagi_assets.execution.process_pool import Died, ProcessPool
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.settings import Settings
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.step import Step
from phyagi_assets.tokenizers.prepare import Commits, use_commits


@dataclass(frozen=True, kw_only=True, slots=True)
class SideBySide:
    """Builds partitions in several processes.

    Parameters
    ----------
    jobs
        How many processes.
    threads
        How many the engine has in each of them.
    settings
        Where the data folder and the store are.
    on_start
        Told the name of each partition that is begun.
    on_progress
        Told the bytes of source that are done since the last call.
    """

    jobs: int
    threads: int
    settings: Settings
    on_start: Callable[[str], None]
    on_progress: OnProgress

    def build(self, work: Sequence[Work], commits: Commits) -> Generator[tuple[Work, Outcome], None, None]:
        """Build all of it; each as it ends, with what came of it.

        Parameters
        ----------
        commits
            What every process uses: a process that asked the Hub itself could find that a branch has moved.
        """
        prepare, size = partial(_builder, self.settings, commits), min(self.jobs, len(work))
        pool = ProcessPool[Work, Outcome](prepare=prepare, size=size, threads=self.threads, on_progress=self.on_progress, name=_name)
        with closing(pool.do(self._begun(work))) as done:
            for item, result in done:
                yield item, result if isinstance(result, Outcome) else _failed(item, result)

    def _begun(self, work: Sequence[Work]) -> Iterator[Work]:
        for item in sorted(work, key=lambda item: item.bytes, reverse=True):
            self.on_start(item.name)
            yield item


def _name(_item: Work) -> str:
    return "its process"  # the command puts the partition before every reason


def _failed(item: Work, problem: Exception) -> Outcome:
    return Outcome(failed={item.name: f"its process {problem}" if isinstance(problem, Died) else str(problem)})


class _ToldProgress:
    """Tells the command how far the slow step is."""

    def __init__(self, tell: OnProgress) -> None:
        self._tell = tell

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        del context
        left = partition.bytes if step.is_slow else 0

        def on_progress(consumed: int) -> None:
            nonlocal left
            self._tell(min(consumed, left))
            left -= min(consumed, left)

        yield on_progress
        self._tell(left)


@contextmanager
def _builder(settings: Settings, commits: Commits, on_progress: OnProgress) -> Iterator[Callable[[Work], Outcome]]:
    """What builds a partition in a process of its own."""
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.orchestration.component import catalog_definitions
    from phyagi_assets.orchestration.instance import open_instance
    from phyagi_assets.orchestration.materialize import Runner
    from phyagi_assets.steps.step import Workspace
    from phyagi_assets.store.local import Store

    use_commits(commits)
    catalog, _ = read_catalog(settings.require_data())
    workspace = Workspace(data=settings.data, store=Store(settings.store))
    definitions = catalog_definitions(catalog, workspace, _ToldProgress(on_progress))
    with open_instance(settings) as instance:

        def build(item: Work) -> Outcome:
            runner = Runner(catalog, definitions, workspace, instance)
            runner.build(item)
            return runner.outcome

        yield build
