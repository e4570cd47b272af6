"""An executor that runs tasks on a Ray cluster.

Each task is a Ray task of its own. The driver, this process, keeps the queue, submits a bounded number of tasks, and takes their results
as they come; Ray chooses the nodes. A task writes what it makes to the store, so that only a small report comes back. If the process or
the node of a task dies, the driver submits the task again, a few times.

Only this module, `phyagi_assets.execution.ray_connection` and `phyagi_assets.execution.ray_worker` know Ray, and import it inside
functions.
"""

import logging
import pickle
import socket
import sys
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic

from phyagi_assets import __version__
from phyagi_assets.errors import ClusterDownError, PhyagiAssetsError
from phyagi_assets.execution.executor import PACKAGE, Executor, Result, Task, TaskCrashed, WorkerDied
from phyagi_assets.execution.node_check import NodeCheck
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_connection import POLLED, call_on_node, check_nodes, connected, interruptible
from phyagi_assets.execution.ray_worker import Job, Report, run_task
from phyagi_assets.store.pickling import Pickling

ATTEMPTS = 4
"""Number of times that a task is begun before it has failed, if its process dies each time."""
_TO_END = 10.0
"""Time for interrupted tasks to end, in seconds."""
_REFRESHED = 5.0
"""Time after which the cluster is asked for its size again, in seconds."""
_OUTAGE = 5.0
"""Time for which an outage that was found also counts for the tasks that failed meanwhile, in seconds."""
_TO_RECOVER = 30.0
"""Time for the server of a cluster to answer again, in seconds; after twice this time, Ray gives up."""
_IDLE = 60.0
"""Time between two warnings that no node runs any task, in seconds."""
_NODE_ID = "ray.io/node-id"
"""Label in which Ray keeps the id of each node."""
_ALL_FOLDERS = "all folders that it needs; mount them at the same path on all nodes, or move them to a bucket"
_RUN_TASK = pickle.dumps(run_task)

logger = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class _Attempt(Generic[Task]):
    task: Task
    number: int


@dataclass(kw_only=True, eq=False)
class RayExecutor(Executor[Task, Result]):
    """Executor that runs tasks on a Ray cluster."""

    cluster: RayAddress
    pickling: Pickling
    check: NodeCheck
    """The check that each node has to pass before it runs tasks."""
    folders: Callable[[Task], Collection[Path]]
    """Returns the folders of the check that a task needs and others may not need. Tasks are grouped by the nodes that see their
    folders, and the groups are run one after the other. Tasks that no node can run fail alone."""
    size: int = sys.maxsize
    """Largest number of tasks that run at the same time; by default, as many as the cluster has processors for."""
    processors: int = 1
    """Number of processors that a task keeps busy. On a cluster with smaller nodes, a task uses those of the smallest node."""

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        """Run all tasks that were submitted, including those submitted meanwhile; see `Executor.results`.

        Raises
        ------
        PhyagiAssetsError
            The cluster cannot be reached, or no node can run the tasks.
        """
        if self.waiting:
            with connected(self.cluster), self.check.marked():
                findings = check_nodes(self.check)
                unseen = {node: frozenset(folder.path for folder in of.unseen) for node, of in findings.items() if not of.problem}
                by_nodes = self._by_nodes(unseen)
                if unseen:
                    yield from self._failed(by_nodes.pop(frozenset(), ()), frozenset.intersection(*unseen.values()))
                for tasks in by_nodes.values():
                    self.waiting.extend(tasks)
                    check = self.check.needing({folder for task in tasks for folder in self.folders(task)})
                    yield from _Run(self, check, check.problems_of(findings)).results()

    def _by_nodes(self, unseen: Mapping[str, frozenset[Path]]) -> dict[frozenset[str], deque[Task]]:
        """Take all waiting tasks, and return them by the nodes that see the folders that they need.

        Parameters
        ----------
        unseen
            The folders that a node does not see, by node id.
        """

        @cache
        def seeing(needed: frozenset[Path]) -> frozenset[str]:
            return frozenset(node for node, lacking in unseen.items() if lacking.isdisjoint(needed))

        by_nodes = defaultdict[frozenset[str], deque[Task]](deque)
        while self.waiting:
            task = self.waiting.popleft()
            by_nodes[seeing(frozenset(self.folders(task)))].append(task)
        return by_nodes

    def _failed(self, tasks: Iterable[Task], nowhere: frozenset[Path]) -> Iterator[tuple[Task, PhyagiAssetsError]]:
        """Yield tasks that no node can run with the reason, given the folders that no node sees."""
        for task in tasks:
            lacking = (folder.named for folder in self.check.folders if folder.path in nowhere.intersection(self.folders(task)))
            yield task, PhyagiAssetsError(f"no node of the Ray cluster sees {next(lacking, _ALL_FOLDERS)}")


class _Run(Generic[Task, Result]):
    """The tasks on the cluster.

    Parameters
    ----------
    check
        The check, without the folders that no task of the run needs.
    """

    def __init__(self, executor: RayExecutor[Task, Result], check: NodeCheck, unfit: Mapping[str, str]) -> None:
        import ray

        self._ray, self._executor, self._check = ray, executor, check
        self._again: list[_Attempt[Task]] = []
        self._running: dict[Any, _Attempt[Task]] = {}
        self._unfit = dict[str, str]()
        """Requirements that nodes do not meet, by node id."""
        self._each = min(executor.processors, min(filter(None, self._processors()), default=1))  # a node of an unknown size may come later
        """Number of processors of a task."""
        self._id = uuid.uuid4().bytes
        job = Job(
            pickling=executor.pickling,
            check=check,
            run=executor.pickling.dumps(executor.run),
            name=executor.name,
            threads=self._each,
            level=logging.getLogger(PACKAGE).getEffectiveLevel(),
        )
        self._job = [ray.put(pickle.dumps(job))]
        self._remote = self._function = ray.remote(num_cpus=self._each, max_retries=0, scheduling_strategy="SPREAD")(call_on_node())
        self._avoid(unfit)
        self._most, self._looked, self._answered = 0, 0.0, time.monotonic()
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._server = executor.cluster.server or (host, int(port))
        self._own_node = None if executor.cluster.is_client else own_node()
        self._is_cut_off = False
        """Whether the node of this process has died."""
        self._outage = float("-inf")
        """Time at which this process last failed the check."""

    def results(self) -> Generator[tuple[Task, Result | Exception], None, None]:
        idle_since = time.monotonic()
        try:
            while self._begin():
                ended = interruptible(self._ended)
                if ended:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > _IDLE:
                    idle_since = time.monotonic()
                    self._warn_if_idle()
                for reference, returned in ended:
                    attempt = self._running.pop(reference)
                    outcome = self._outcome(returned, attempt)
                    self._begin()  # before the consumer does its part, so that no node waits for it
                    if outcome is not None:
                        yield attempt.task, outcome.outcome
        except ConnectionError:  # Ray Client has tried for a minute or two to connect again
            self._is_cut_off = True
            raise self._lost(f"the connection to the Ray cluster {self._executor.cluster.address} was lost") from None
        finally:
            self._cancel()

    def _begin(self) -> bool:
        """Submit as many tasks as the cluster can take. Return whether any are on the cluster."""
        for _ in range(min(self._room(), len(self._again) + len(self._executor.waiting))):
            attempt = self._again.pop() if self._again else _Attempt(task=self._executor.take(), number=1)
            pickled = self._executor.pickling.dumps(attempt.task)
            reference = self._remote.remote(__version__, _RUN_TASK, self._id, self._job, pickled)
            self._running[reference] = attempt
        return bool(self._running)

    def _room(self) -> int:
        """Return how many more tasks may be submitted: as many as run at the same time, and as many again, so that no node waits."""
        if time.monotonic() - self._looked > _REFRESHED and self._answers():
            fit = sum(processors // self._each for processors in self._processors())
            self._most = min(self._executor.size, 2 * max(1, fit))
            self._looked = time.monotonic()
        return max(0, self._most - len(self._running))

    def _answers(self) -> bool:
        """Return whether the cluster's server answers.

        Raises
        ------
        PhyagiAssetsError
            It has not answered for some time, or the node through which this process is connected to it has died. Ray would end this
            process without a message.
        """
        if self._own_node and _is_closed(self._own_node):
            self._is_cut_off = True
            raise self._lost(f"the Ray node at {self._own_node[0]}, through which this process is connected to the cluster, has died")
        try:
            with socket.create_connection(self._server, timeout=_REFRESHED):
                self._answered = time.monotonic()
                return True
        except OSError:
            if time.monotonic() - self._answered < _TO_RECOVER:
                return False
            raise self._lost(f"the Ray cluster {self._executor.cluster.address} does not answer any more") from None

    def _lost(self, why: str) -> ClusterDownError:
        """Return the error about a lost connection, after logging it: Ray may end this process while the connection is being closed."""
        message = f"{self._executor.cluster.setting}: {why}; run the command again"
        logger.error("%s", message)
        return ClusterDownError(message)

    def _ended(self) -> list[tuple[Any, Any]]:
        """Wait briefly for a task to end. Return the references of all tasks that have ended, each with a pickled report or an error."""
        running = list(self._running)
        ready, _ = self._ray.wait(running, num_returns=1, timeout=POLLED, fetch_local=False)
        if ready and len(running) > 1:
            ready, _ = self._ray.wait(running, num_returns=len(running), timeout=0, fetch_local=False)
        return [(reference, self._returned(reference)) for reference in ready]

    def _processors(self) -> list[int]:
        """Return the number of processors of each node that is alive and not known to be unfit."""
        nodes = (node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in self._unfit)
        return [int(node["Resources"].get("CPU", 0)) for node in nodes]

    def _avoid(self, unfit: Mapping[str, str]) -> None:
        """Submit no more tasks to unfit nodes, and log each of these nodes once."""
        new = {node: problem for node, problem in unfit.items() if node not in self._unfit}
        if not new:
            return
        self._unfit |= new
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in self._ray.nodes()}
        named = {node: f"node {addresses.get(node, 'of the Ray cluster')} ({node[:8]}) {problem}" for node, problem in self._unfit.items()}
        if not any(self._processors()):
            raise PhyagiAssetsError("\n".join(sorted(named.values())))
        for node in new:
            logger.warning("%s; its tasks are run on other nodes", named[node])
        self._remote = self._function.options(label_selector={_NODE_ID: f"!in({','.join(sorted(self._unfit))})"})

    def _returned(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as problem:
            return problem

    def _outcome(self, returned: Any, attempt: _Attempt[Task]) -> Report | None:
        """Return what has come of a task; None if it is to be submitted again."""
        if isinstance(returned, self._ray.exceptions.RayTaskError):
            return Report(outcome=TaskCrashed(str(returned)))
        if isinstance(returned, Exception):
            why = _death(returned)
            if attempt.number == ATTEMPTS:
                return Report(outcome=WorkerDied(f"died in each of {ATTEMPTS} attempts; the last time, {why}"))
            logger.warning("%s; its task is run again, in attempt %d of %d", why, attempt.number + 1, ATTEMPTS)
            attempt.number += 1
            self._again.append(attempt)
            return None
        node, found = returned
        if isinstance(found, str):
            self._avoid({node: found})
            self._again.append(attempt)
            return None
        report: Report = self._executor.pickling.loads(found)
        for record in report.records:
            logging.getLogger(record.name).handle(record)
        if report.unfit and attempt.number < ATTEMPTS and not self._is_outage():  # otherwise, other nodes would not do better
            if node not in self._unfit:
                self._avoid(self._check.problems_of(check_nodes(self._check)))  # an outage for all may have ended between the two checks
            attempt.number += 1
            self._again.append(attempt)
            return None
        if report.consumed:
            self._executor.on_progress(attempt.task, report.consumed)
        return report

    def _is_outage(self) -> bool:
        """Return whether this process fails the check too.

        Many tasks fail at once in an outage, and each check of a server that is down takes half a minute. So an outage that was just found
        counts for the tasks that failed meanwhile.
        """
        if time.monotonic() - self._outage > _OUTAGE and self._check.problem():
            self._outage = time.monotonic()
        return time.monotonic() - self._outage <= _OUTAGE

    def _warn_if_idle(self) -> None:
        """Log why no task has ended for some time, as far as the cluster shows it."""
        nodes = self._processors()
        avoided = sum(int(node["Resources"].get("CPU", 0)) for node in self._ray.nodes() if node["Alive"]) - sum(nodes)
        free = int(self._ray.available_resources().get("CPU", 0)) - avoided
        if max(nodes, default=0) < self._each:
            logger.warning("no node of the Ray cluster has %d processors for a task; waiting for one", self._each)
        elif free < self._each:
            logger.info(
                "no task has ended for %.0f s: all %d processors of the Ray cluster are in use, by tasks of this run or by other programs; "
                "waiting tasks begin when processors are free",
                _IDLE,
                sum(nodes),
            )

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
                    timeout = 0 if self._is_cut_off else _TO_END
                    _, left = self._ray.wait(left, num_returns=len(left), timeout=timeout, fetch_local=False)


def own_node() -> tuple[str, int] | None:
    """Return the host and the port of the node to which this process is connected; None if it is unknown."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(((node["NodeManagerAddress"], node["NodeManagerPort"]) for node in ray.nodes() if node["NodeID"] == own), None)


def _is_closed(server: tuple[str, int]) -> bool:
    try:
        socket.create_connection(server, timeout=_REFRESHED).close()
    except OSError as problem:  # unless it refuses, the node may only be slow
        return isinstance(problem, ConnectionRefusedError)
    return False


def _death(problem: Exception) -> str:
    kinds = {
        "WorkerCrashedError": "a process of the Ray cluster died",
        "OutOfMemoryError": "a process of the Ray cluster was killed, because its node ran out of memory",
        "NodeDiedError": "a node of the Ray cluster died",
        "LocalRayletDiedError": "a node of the Ray cluster died",
        "ObjectLostError": "the node of the Ray cluster that held a result died",
        "OwnerDiedError": "the node of the Ray cluster that held a result died",
        "ObjectFetchTimedOutError": "the node of the Ray cluster that held a result cannot be reached",
        "TaskCancelledError": "a task was cancelled from outside",
    }
    found = next((kinds[kind.__name__] for kind in type(problem).__mro__ if kind.__name__ in kinds), "")
    return found or f"the Ray cluster reports {type(problem).__name__}"
