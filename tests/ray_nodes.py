"""A Ray cluster of two nodes on this machine, which has scratch folders and environment variables of their own."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.store.scratch import SCRATCH_VARIABLE

_TO_START = 300
"""Time for a process of Ray to start, in seconds. On a busy machine, it takes longer than the half minute that Ray itself waits."""
_PAUSE = 0.1
"""Time between two attempts to find a node that starts, in seconds."""
_STARTED: list[Any] = []
"""All nodes that were started, so that they stay referenced. Otherwise only their exit handlers refer to nodes that have ended. A process
that is forked afterwards drops these handlers (from Python 3.13 on), and crashes when the connection of a node is freed without its
threads."""


@dataclass(kw_only=True)
class RayNodes:
    """A running cluster. Tasks run on all nodes but the first, which holds Ray's own services."""

    cluster: Any
    scratch: Path
    """Folder of the scratch folders of the nodes."""
    environment: Mapping[str, str]
    added: int = 0

    @property
    def address(self) -> RayAddress:
        return RayAddress(address=self.cluster.address, setting="--executor")

    def add(self, *, wait: bool = True, **environment: str) -> Any:
        """Add a node with one processor."""
        self.added += 1
        own = {SCRATCH_VARIABLE: str(self.scratch / f"node{self.added}")}
        with _slow_start_awaited():
            node = self.cluster.add_node(wait=wait, num_cpus=1, env_vars={**self.environment, **own, **environment})
        _STARTED.append(node)
        return node

    def workers(self, node: Any) -> list[int]:
        """Return the processes of a node that run tasks. If one of Ray's own processes dies, so does the node."""
        return [one for one in self._processes(node) if b"Agent" not in Path(f"/proc/{one}/cmdline").read_bytes()]

    def _processes(self, node: Any) -> list[int]:
        return children(node.all_processes["raylet"][0].process.pid)

    def kill(self, node: Any) -> None:
        """Kill a node with its processes at once, and wait until the cluster has noticed."""
        workers = self._processes(node)
        assert workers, "the node has no processes"  # it always has Ray's agent
        os.kill(node.all_processes["raylet"][0].process.pid, signal.SIGKILL)
        for worker in workers:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)


@contextmanager
def _slow_start_awaited() -> Iterator[None]:
    """Await nodes that start within the context for `_TO_START`. Ray has no setting for it."""
    from ray._private import services
    from ray.exceptions import RaySystemError

    get_node = services.get_node

    def awaited(*arguments: Any) -> Any:
        for _ in range(int(_TO_START / _PAUSE)):  # a number of attempts: a deadline may pass while the machine stands still
            with suppress(RuntimeError, RaySystemError):  # the node is not registered yet, or its cluster does not answer
                return get_node(*arguments)
            time.sleep(_PAUSE)
        return get_node(*arguments)

    services.get_node = awaited
    try:
        yield
    finally:
        services.get_node = get_node


def children(parent: int) -> list[int]:
    """Return the children of a process. Not every kernel lists them below the process, so the parent of every process is read."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process has ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


@contextmanager
def ray_nodes(scratch: Path, environment: Mapping[str, str]) -> Iterator[RayNodes]:
    """Run a cluster of two nodes, with none of Ray's services that tasks do not need and without reports of its use."""
    home = tempfile.mkdtemp(prefix="r")  # a short path: sockets lie in it
    settings = {
        "RAY_TMPDIR": home,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_server_port_wait_time_s": str(_TO_START),
        "RAY_agent_register_timeout_ms": str(_TO_START * 1000),
    }
    outside = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    handler = signal.getsignal(signal.SIGTERM)
    from ray.cluster_utils import Cluster

    switches = {"include_dashboard": False, "include_log_monitor": False, "no_monitor": True}
    with _slow_start_awaited():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **switches})
    _STARTED.append(cluster.head_node)
    try:
        nodes = RayNodes(cluster=cluster, scratch=scratch, environment=environment)
        for _ in range(2):
            nodes.add(wait=False)
        cluster.wait_for_nodes(_TO_START)
        signal.signal(signal.SIGTERM, handler)
        yield nodes
    finally:
        cluster.shutdown()
        signal.signal(signal.SIGTERM, handler)
        shutil.rmtree(home, ignore_errors=True)
        for name, value in outside.items():
            os.environ.pop(name)
            os.environ.update({name: value} if value is not None else {})
