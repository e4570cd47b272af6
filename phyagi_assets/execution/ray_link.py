"""The link of this process to a Ray cluster: detect its loss, and explain Ray's errors."""

import logging
import socket
import time

from phyagi_assets.errors import ClusterDownError
from phyagi_assets.execution.ray_address import RayAddress

_TO_CONNECT = 5.0
"""Time to connect to a server of the cluster, in seconds."""
_TO_RECOVER = 30.0
"""Time for the server of a cluster to answer again, in seconds; after twice this time, Ray gives up."""

logger = logging.getLogger(__name__)


class Link:
    """The link of this process to the cluster that it is connected to."""

    def __init__(self, cluster: RayAddress) -> None:
        import ray

        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self._cluster = cluster
        self._server = cluster.server or (host, int(port))
        self._own_node = None if cluster.is_client else own_node()
        self._answered = time.monotonic()
        self.is_cut_off = False
        """Whether the link is lost."""

    def answers(self) -> bool:
        """Return whether the cluster's server answers.

        Raises
        ------
        PhyagiAssetsError
            It has not answered for some time, or the node through which this process is connected to it has died. Ray would end this
            process without a message.
        """
        if self._own_node and _is_closed(self._own_node):
            raise self.lost(f"the Ray node at {self._own_node[0]}, through which this process is connected to the cluster, has died")
        try:
            with socket.create_connection(self._server, timeout=_TO_CONNECT):
                self._answered = time.monotonic()
                return True
        except OSError:
            if time.monotonic() - self._answered < _TO_RECOVER:
                return False
            raise self.lost(f"the Ray cluster {self._cluster.address} does not answer any more") from None

    def lost(self, why: str) -> ClusterDownError:
        """Return the error about a lost connection, after logging it: Ray may end this process while the connection is being closed."""
        self.is_cut_off = True
        message = f"{self._cluster.setting}: {why}; run the command again"
        logger.error("%s", message)
        return ClusterDownError(message)


def own_node() -> tuple[str, int] | None:
    """Return the host and the port of the node to which this process is connected; None if it is unknown."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(((node["NodeManagerAddress"], node["NodeManagerPort"]) for node in ray.nodes() if node["NodeID"] == own), None)


def _is_closed(server: tuple[str, int]) -> bool:
    try:
        socket.create_connection(server, timeout=_TO_CONNECT).close()
    except OSError as problem:  # unless it refuses, the node may only be slow
        return isinstance(problem, ConnectionRefusedError)
    return False


def reason_of_death(problem: Exception) -> str:
    """Return why a task did not end, given the error that Ray reports."""
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
