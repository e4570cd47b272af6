"""Build partitions in parallel worker processes, because one partition cannot keep all processors busy.

The largest partitions are started first. If a worker process dies, its partition counts as failed.
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
    """Builder of partitions in several worker processes.

    Parameters
    ----------
    jobs
        Largest number of worker processes.
    threads
        Number of engine threads in each worker process.
    settings
        Paths of the data folder and the store.
    on_start
        Called with the name of each partition that is started.
    on_progress
        Called with the bytes of source that were processed since the last call.
    """

    jobs: int
    threads: int
    settings: Settings
    on_start: Callable[[str], None]
    on_progress: OnProgress

    def build(self, work: Sequence[Work], commits: Commits) -> Generator[tuple[Work, Outcome], None, None]:
        """Build partitions, and yield each one when it ends, with its outcome.

        Parameters
        ----------
        work
            The partitions to build.
        commits
            Commits of tokenizers that all worker processes use. If each process asked the Hub, a branch could move in between.
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
    """Reports the progress of the slow step to the command."""

    def __init__(self, tell: OnProgress) -> None:
        self._tell = tell

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, step: Step, partition: Partition) -> Iterator[OnProgress]:
        """Report the bytes of a slow step as they are processed and, when the step ends, the bytes that it did not report."""
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
    """Load the definitions in a worker process, and return the function that builds a partition."""
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
