"""An executor that runs tasks on a Ray cluster.

Each task is a Ray task of its own. The driver, this process, keeps the queue, submits a bounded number of tasks, and takes their results
as they come; Ray chooses the nodes. A task writes what it makes to the store, so that only a small report comes back. If the process or
the node of a task dies, the driver submits the task again, a few times.

Only this module and the others of this package whose names begin with ``ray`` know Ray, and import it inside functions.
"""

import logging
import pickle
import sys
import time
import uuid
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic

from phyagi_assets import __version__
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import PACKAGE, Executor, Result, Task, TaskCrashed, WorkerDied
from phyagi_assets.execution.node_check import Findings, NodeCheck
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_connection import POLLED, call_on_node, check_nodes, connected, interruptible
from phyagi_assets.execution.ray_link import Link, reason_of_death
from phyagi_assets.execution.ray_processors import RayProcessors
from phyagi_assets.execution.ray_worker import Job, Report, run_task
from phyagi_assets.store.pickling import Pickling

ATTEMPTS = 4
"""Number of attempts after which a task has failed, if its process dies in each."""
_TO_END = 10.0
"""Time for interrupted tasks to end, in seconds."""
_REFRESHED = 5.0
"""Interval between requests for the size of the cluster, in seconds."""
_OUTAGE = 5.0
"""Time for which a detected outage also counts for other tasks that have failed, in seconds."""
_IDLE = 60.0
"""Time between two warnings that no node runs any task, in seconds."""
_NODE_ID = "ray.io/node-id"
"""Label in which Ray keeps the id of each node."""
_ALL_FOLDERS = "all folders that it needs; mount them at the same path on all nodes, or move them to a bucket"
_RUN_TASK = pickle.dumps(run_task)

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class RayExecutor(Executor[Task, Result]):
    """Executor that runs tasks on a Ray cluster."""

    cluster: RayAddress
    pickling: Pickling
    check: NodeCheck
    """The check that each node has to pass before it runs tasks."""
    folders: Callable[[Task], Collection[Path]]
    """Returns the folders of the check that a task needs and others may not need. Tasks are grouped by the nodes that see their
    folders. Tasks that no node can run fail alone. Tasks submitted during the run must not need other folders."""
    size: int = sys.maxsize
    """Largest number of tasks that run at the same time; by default, as many as the cluster has processors for."""
    processors: int = 1
    """Number of processors that a task keeps busy. On a cluster with smaller nodes, a task uses those of the smallest node."""
    _seeing: Callable[[frozenset[Path]], frozenset[str]] | None = field(default=None, init=False)
    """Returns the ids of the nodes that see folders; None before the nodes are checked."""

    def group(self, task: Task) -> frozenset[str]:
        """Return the ids of the nodes that see the folders of a task."""
        return self._seeing(frozenset(self.folders(task))) if self._seeing else frozenset()

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        """Run all submitted tasks, including those submitted in the meantime; see `Executor.results`.

        Raises
        ------
        PhyagiAssetsError
            The cluster cannot be reached, or no node can run the tasks.
        """
        if self.waiting:
            with connected(self.cluster), self.check.marked():
                findings = check_nodes(self.check)
                unseen = {node: frozenset(folder.path for folder in found.unseen) for node, found in findings.items() if not found.problem}
                if unseen:
                    self._regroup(unseen)
                    yield from self._failed(self.queues.pop(frozenset(), ()), frozenset.intersection(*unseen.values()))
                if self.waiting:
                    yield from _Run(self, findings).results()

    def _regroup(self, unseen: Mapping[str, frozenset[Path]]) -> None:
        """Group the waiting tasks by nodes, given the folders that a node does not see, by node id."""

        @cache
        def seeing(needed: frozenset[Path]) -> frozenset[str]:
            return frozenset(node for node, lacking in unseen.items() if lacking.isdisjoint(needed))

        self._seeing = seeing
        for task in self.queues.pop(frozenset()):
            self.submit(task)

    def _failed(self, tasks: Iterable[Task], nowhere: frozenset[Path]) -> Iterator[tuple[Task, PhyagiAssetsError]]:
        """Yield tasks that no node can run with the reason, given the folders that no node sees."""
        for task in tasks:
            lacking = (folder.named for folder in self.check.folders if folder.path in nowhere.intersection(self.folders(task)))
            yield task, PhyagiAssetsError(f"no node of the Ray cluster sees {next(lacking, _ALL_FOLDERS)}")


@dataclass(kw_only=True, eq=False)
class _Group(Generic[Task]):
    """Tasks that run on the same nodes."""

    number: int
    nodes: frozenset[str]
    """The nodes that passed the check when the run began, by which the executor groups its tasks."""
    check: NodeCheck
    """The check, without the folders that no task of the group needs."""
    again: list["_Attempt[Task]"] = field(default_factory=list)
    """Tasks to submit again."""
    running: int = 0
    """Number of tasks on the cluster."""
    most: int = 0
    """Largest number of tasks on the cluster."""
    unfit: dict[str, str] = field(default_factory=dict)
    """Requirements that nodes do not meet, by node id."""
    remote: Any = None
    """The function that runs a task on one of the other nodes."""
    problem: PhyagiAssetsError | None = None
    """The reason why no node can run its tasks any more."""


@dataclass(kw_only=True, slots=True)
class _Attempt(Generic[Task]):
    task: Task
    group: _Group[Task]
    number: int = 1


class _Run(Generic[Task, Result]):
    """The tasks on the cluster.

    Parameters
    ----------
    findings
        Requirements that nodes do not meet, by node id.
    """

    def __init__(self, executor: RayExecutor[Task, Result], findings: Mapping[str, Findings]) -> None:
        import ray

        self._ray, self._executor = ray, executor
        self._running: dict[Any, _Attempt[Task]] = {}
        self._groups = list(self._grouped())
        """The groups; those that can use the fewest nodes come first, and leave the other nodes to the others."""
        self._logged: set[str] = set()
        """Messages about nodes."""
        self._processors = RayProcessors(executor.processors)
        self._id = uuid.uuid4().bytes
        job = Job(
            pickling=executor.pickling,
            checks=[group.check for group in self._groups],
            run=executor.pickling.dumps(executor.run),
            name=executor.name,
            threads=self._processors.per_task,
            level=logging.getLogger(PACKAGE).getEffectiveLevel(),
        )
        self._job = [ray.put(pickle.dumps(job))]
        self._function = ray.remote(num_cpus=self._processors.per_task, max_retries=0, scheduling_strategy="SPREAD")(call_on_node())
        for group in self._groups:
            group.remote = self._function
            self._avoid(group, group.check.problems_of(findings))
        self._most, self._refreshed = 0, 0.0
        self._link = Link(executor.cluster)
        self._outage = float("-inf")
        """Time at which this process last failed the check."""

    def _grouped(self) -> Iterator[_Group[Task]]:
        queues: Mapping[frozenset[str], Iterable[Task]] = self._executor.queues  # type: ignore[assignment]  # see RayExecutor.group
        for number, nodes in enumerate(sorted(queues, key=len)):
            needed = {folder for task in queues[nodes] for folder in self._executor.folders(task)}
            yield _Group(number=number, nodes=nodes, check=self._executor.check.needing(needed))

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        idle_since = time.monotonic()
        try:
            while True:
                yield from self._lost_tasks()
                if not self._begin():
                    return
                ended = interruptible(self._ended)
                if ended:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > _IDLE:
                    idle_since = time.monotonic()
                    self._processors.log_idleness(self._unfit(), _IDLE)
                for reference, returned in ended:
                    attempt = self._running.pop(reference)
                    attempt.group.running -= 1
                    outcome = self._outcome(returned, attempt)
                    self._begin()  # before the consumer does its part, so that no node waits for it
                    if outcome is not None:
                        yield attempt.task, outcome.outcome
        except ConnectionError:  # Ray Client has tried for a minute or two to connect again
            raise self._link.lost(f"the connection to the Ray cluster {self._executor.cluster.address} was lost") from None
        finally:
            self._cancel()

    def _begin(self) -> bool:
        """Submit as many tasks as the cluster can take. Return whether any are on the cluster."""
        self._refresh_size()
        for group in self._groups:
            queue = self._executor.queues[group.nodes]
            for _ in range(min(self._room(group), len(group.again) + len(queue))):
                attempt = group.again.pop() if group.again else _Attempt(task=self._executor.take(group.nodes), group=group)
                pickled = self._executor.pickling.dumps(attempt.task)
                reference = group.remote.remote(__version__, _RUN_TASK, self._id, self._job, group.number, pickled)
                self._running[reference] = attempt
                group.running += 1
        return bool(self._running)

    def _refresh_size(self) -> None:
        """Request the size of the cluster, at intervals."""
        if time.monotonic() - self._refreshed > _REFRESHED and self._link.answers():
            for group in self._groups:
                group.most = self._processors.most_tasks(group.unfit)
            self._most = min(self._executor.size, self._processors.most_tasks(self._unfit()))
            self._refreshed = time.monotonic()

    def _room(self, group: _Group[Task]) -> int:
        """Return how many more tasks of a group may be submitted."""
        return 0 if group.problem else max(0, min(group.most - group.running, self._most - len(self._running)))

    def _ended(self) -> list[tuple[Any, Any]]:
        """Wait briefly for a task to end. Return the references of all tasks that have ended, each with a pickled report or an error."""
        running = list(self._running)
        ready, _ = self._ray.wait(running, num_returns=1, timeout=POLLED, fetch_local=False)
        if ready and len(running) > 1:
            ready, _ = self._ray.wait(running, num_returns=len(running), timeout=0, fetch_local=False)
        return [(reference, self._returned(reference)) for reference in ready]

    def _unfit(self) -> set[str]:
        """Return the nodes that can run no task of any group."""
        return set.intersection(*(set(group.unfit) for group in self._groups))

    def _avoid(self, group: _Group[Task], unfit: Mapping[str, str]) -> None:
        """Submit no more tasks of a group to unfit nodes, and log each of these nodes once.

        Raises
        ------
        PhyagiAssetsError
            No node can run tasks of any group.
        """
        new = {node: problem for node, problem in unfit.items() if node not in group.unfit}
        if not new:
            return
        group.unfit |= new
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes()}
        named = {node: f"node {addresses.get(node, 'of the Ray cluster')} ({node[:8]}) {problem}" for node, problem in group.unfit.items()}
        if not any(self._processors.by_node(group.unfit)):
            group.problem = PhyagiAssetsError("\n".join(sorted(named.values())))
            if all(other.problem for other in self._groups):
                raise group.problem
            return
        for message in sorted({named[node] for node in new} - self._logged):
            logger.warning("%s; its tasks are run on other nodes", message)
            self._logged.add(message)
        group.remote = self._function.options(label_selector={_NODE_ID: f"!in({','.join(sorted(group.unfit))})"})

    def _lost_tasks(self) -> Iterator[tuple[Task, PhyagiAssetsError]]:
        """Take the tasks of the groups that no node can run any more, and yield them with the reason."""
        for group in self._groups:
            while group.problem and (group.again or self._executor.queues[group.nodes]):
                yield group.again.pop().task if group.again else self._executor.take(group.nodes), group.problem

    def _returned(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as problem:
            return problem

    def _outcome(self, returned: Any, attempt: _Attempt[Task]) -> Report | None:
        """Return the report of a task; None if the task is to be submitted again."""
        if isinstance(returned, self._ray.exceptions.RayTaskError):
            return Report(outcome=TaskCrashed(str(returned)))
        if isinstance(returned, Exception):
            why = reason_of_death(returned)
            if attempt.number == ATTEMPTS:
                return Report(outcome=WorkerDied(f"died in each of {ATTEMPTS} attempts; the last time, {why}"))
            logger.warning("%s; its task is run again, in attempt %d of %d", why, attempt.number + 1, ATTEMPTS)
            attempt.number += 1
            attempt.group.again.append(attempt)
            return None
        node, found = returned
        if isinstance(found, str):
            self._avoid(attempt.group, {node: found})
            attempt.group.again.append(attempt)
            return None
        report: Report = self._executor.pickling.loads(found)
        for record in report.records:
            logging.getLogger(record.name).handle(record)
        group = attempt.group
        if report.unfit and attempt.number < ATTEMPTS and not self._is_outage(group.check):  # otherwise, other nodes would not do better
            if node not in group.unfit:  # an outage for all may have ended between the two checks
                self._avoid(group, group.check.problems_of(check_nodes(group.check)))
            attempt.number += 1
            group.again.append(attempt)
            return None
        if report.consumed:
            self._executor.on_progress(attempt.task, report.consumed)
        return report

    def _is_outage(self, check: NodeCheck) -> bool:
        """Return whether this process fails the check too.

        Many tasks fail at once in an outage, and each check of a server that is down takes half a minute. So a recently detected outage
        counts for all tasks that have failed.
        """
        if time.monotonic() - self._outage > _OUTAGE and check.problem():
            self._outage = time.monotonic()
        return time.monotonic() - self._outage <= _OUTAGE

    def _cancel(self) -> None:
        """Interrupt the tasks on the cluster, and kill those that have not ended after a grace period."""
        left = list(self._running)
        self._running.clear()
        for is_forced in (False, True):
            for reference in left:
                if not self._ray.is_initialized():  # otherwise, Ray would start a cluster on this machine
                    return
                with suppress(Exception):  # it has ended, or the cluster is gone
                    self._ray.cancel(reference, force=is_forced)
            if left and not is_forced:
                with suppress(Exception):
                    timeout = 0 if self._link.is_cut_off else _TO_END
                    _, left = self._ray.wait(left, num_returns=len(left), timeout=timeout, fetch_local=False)
