"""The part of the Ray executor that runs in the processes of the cluster: prepare once, then run one task after another.

Ray keeps a process for the next tasks of the same run. As in the local pool, a process keeps what it has prepared.
"""

import logging
import logging.handlers
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.executor import PACKAGE, Run, outcome_of
from phyagi_assets.execution.node_check import NodeCheck
from phyagi_assets.processors import THREADS
from phyagi_assets.store.pickling import Pickling

_MOST_RECORDS = 1_000
"""Largest number of log records that a task returns."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """The data that all tasks of a run share."""

    pickling: Pickling
    checks: Sequence[NodeCheck]
    """The check for the tasks of each group."""
    run: bytes
    """The function that runs a task, pickled."""
    name: Callable[[Any], str]
    threads: int
    level: int
    """Level of the log records that come back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Result that a task sends to the driver."""

    outcome: Any
    """Result of the task, or the exception that ended it."""
    consumed: int = 0
    records: list[logging.LogRecord] = field(default_factory=list)
    unfit: str = ""
    """Requirement that the node has ceased to meet, if the task failed; otherwise empty."""


@dataclass(kw_only=True, slots=True)
class _Process:
    """State that this process has prepared for a run."""

    number: bytes = b""
    """Identity of the run."""
    job: Job | None = None
    run: Run[Any, Any] | None = None
    passed: set[int] = field(default_factory=set)
    """The groups whose check this process has passed."""
    consumed: int = 0


_process = _Process()


class UnfitNodeError(PhyagiAssetsError):
    """A requirement for running tasks that this node does not meet."""


def run_task(number: bytes, job: Sequence[Any], group: int, task: bytes) -> bytes | str:
    """Run a task in a process of the cluster.

    Parameters
    ----------
    number
        Identity of the run.
    job
        Reference to the pickled `Job`, in a list, so that it is fetched only if this process has not prepared for this run.
    group
        Index of the check that this node has to pass.

    Returns
    -------
    bytes or str
        A pickled `Report`, or a message about a requirement that this node does not meet.
    """
    records = _Records()
    logger = logging.getLogger(PACKAGE)
    logger.addHandler(records)
    try:
        outcome = outcome_of("preparing a process", lambda: _run(number, job, group, task))
    finally:
        logger.removeHandler(records)
    if isinstance(outcome, UnfitNodeError):
        return str(outcome)
    shared = _process.job
    # A node that has lost the store would fail one task after another, and so take them from the nodes that can run them.
    unfit = shared.checks[group].problem() if isinstance(outcome, Exception) and shared else ""
    report = Report(outcome=outcome, consumed=_process.consumed, records=records.kept, unfit=unfit)
    return shared.pickling.dumps(report) if shared else pickle.dumps(report)


def _run(number: bytes, job: Sequence[Any], group: int, task: bytes) -> Any:
    """Return the outcome of a task, after preparing this process if necessary."""
    import ray

    _process.consumed = 0
    if number != _process.number:
        _process.number, _process.job, _process.run, _process.passed = b"", None, None, set()
        _process.job = pickle.loads(ray.get(job[0]))
        _process.number = number
    shared = _process.job
    assert shared is not None
    if group not in _process.passed:
        os.environ[THREADS] = str(shared.threads)
        logging.getLogger(PACKAGE).setLevel(shared.level)
        if problem := shared.checks[group].problem():  # a node that joined during the run
            raise UnfitNodeError(problem)
        _process.passed.add(group)
    _process.run = _process.run or shared.pickling.loads(shared.run)
    loaded = shared.pickling.loads(task)
    return outcome_of(shared.name(loaded), partial(_process.run, loaded, _progressed))


def _progressed(consumed: int) -> None:
    _process.consumed += consumed


def node_name() -> str:
    """Return the name of the node of this process, for messages."""
    import ray

    return f"node {ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"


class _Records(logging.handlers.QueueHandler):
    """Keeps log records, as text that can be pickled."""

    def __init__(self) -> None:
        self.kept: list[logging.LogRecord] = []
        super().__init__(self)  # type: ignore[arg-type]

    def put_nowait(self, record: logging.LogRecord) -> None:
        if len(self.kept) < _MOST_RECORDS:
            self.kept.append(record)
