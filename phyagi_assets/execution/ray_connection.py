"""The connection to a Ray cluster, and the check of its nodes before tasks run there."""

import logging
import os
import pickle
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from phyagi_assets import __version__
from phyagi_assets.errors import ClusterDownError, MissingPackageError, PhyagiAssetsError, translate_missing_packages
from phyagi_assets.execution.node_check import Findings, NodeCheck
from phyagi_assets.execution.ray_address import CLIENT_PORT, RayAddress
from phyagi_assets.formatting import one_line
from phyagi_assets.objects.daemon_threads import DaemonThreads

_TO_ANSWER = 10.0
"""Time for the server of a cluster to answer, in seconds."""
_TO_PROBE = 60.0
"""Time for a node to run the probe task, in seconds."""
POLLED = 1.0
"""Longest time of a call that waits for tasks, in seconds."""
_TOKEN = "; if it requires a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH here as well"

Value = TypeVar("Value")

logger = logging.getLogger(__name__)


@contextmanager
def connected(cluster: RayAddress) -> Iterator[None]:
    """Connect this process to a cluster within the context. A connection that exists already, as in a Ray job, is used and stays.

    Raises
    ------
    PhyagiAssetsError
        Ray is not installed, the cluster cannot be reached, or its versions of Ray or Python are not those of this process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with translate_missing_packages():
            import ray
    except MissingPackageError as problem:
        raise PhyagiAssetsError(f"{cluster.setting}: {problem}{cluster.remedy}") from None
    if ray.is_initialized():
        yield
        return
    _connect(cluster)
    try:
        with _messages_logged():
            yield
    finally:
        ray.shutdown()


def _connect(cluster: RayAddress) -> None:
    """Connect this process to a cluster."""
    import ray

    if server := cluster.server:
        _require_answer(cluster, *server)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with warnings.catch_warnings(action="ignore"):  # the error repeats the warnings
            ray.init(address=cluster.address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (ConnectionError, TimeoutError, ValueError) as problem:
        if cluster.address == "auto":
            message = (
                f"{cluster.setting}: no Ray cluster runs on this machine; name one, as in --executor ray:HOST:6379 or with $RAY_ADDRESS"
            )
            raise ClusterDownError(message) from None
        raise _unreachable(cluster, _reason(problem) + ("" if cluster.is_client else _not_here(cluster))) from None
    except RuntimeError as problem:
        if "mismatch" in str(problem).lower():
            raise PhyagiAssetsError(
                f"{cluster.setting}: {cluster.address}: {one_line(problem)}; use the same versions on all nodes"
            ) from None
        raise _unreachable(cluster, _reason(problem)) from None
    finally:
        if threading.current_thread() is threading.main_thread():  # Ray replaces them, and Dagster has its own
            for number, handler in handlers.items():
                signal.signal(number, handler)


@contextmanager
def _messages_logged() -> Iterator[None]:
    """Log the first lines of Ray's messages about the cluster within the context. Ray would print pages of its own logs to stdout."""
    from ray._private import worker

    printed = getattr(worker, "print_to_stdstream", None)

    def log(data: dict[str, Any], *_args: object, **_options: object) -> None:
        for line in data.get("lines", ()):
            logger.debug("Ray: %s", line.partition("\n")[0])

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = printed


def _reason(problem: Exception) -> str:
    """Return the first line of an error, followed by the last one if the first ends with a colon."""
    first = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
    return f"{first} {last_line(problem)}" if first.endswith(":") else first


def _not_here(cluster: RayAddress) -> str:
    """Return the end of a message about a cluster whose server answers, although this process cannot connect to it."""
    host = cluster.address.rpartition(":")[0]
    return f"; its server answers; only a node of the cluster connects to this address, any other machine to ray://{host}:{CLIENT_PORT}{_TOKEN}"


def _unreachable(cluster: RayAddress, why: str) -> ClusterDownError:
    is_other = cluster.is_client and cluster.server is not None and cluster.server[1] != CLIENT_PORT
    port = f"; the port of Ray Client is usually {CLIENT_PORT}" if is_other else ""
    return ClusterDownError(f"{cluster.setting}: the Ray cluster {cluster.address} cannot be reached: {why}{port}{cluster.remedy}")


def _require_answer(cluster: RayAddress, host: str, port: int) -> None:
    """Require that a server answers like those of Ray: Ray itself would wait for minutes, and end this process.

    Ray's servers speak HTTP/2, in which both sides begin with a frame of settings.
    """
    settings = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    try:
        with socket.create_connection((host, port), timeout=_TO_ANSWER) as connection:
            connection.settimeout(_TO_ANSWER)
            connection.sendall(settings)
            answer = b""
            while len(answer) < 9 and (more := connection.recv(9 - len(answer))):
                answer += more
    except OSError as problem:
        if isinstance(problem, socket.gaierror) and problem.errno == socket.EAI_NONAME:  # not one that is down: it is not tried again
            raise PhyagiAssetsError(
                f"{cluster.setting}: the Ray cluster {cluster.address} cannot be reached: no host has the name {host}; correct it"
                f"{cluster.remedy}"
            ) from None
        raise _unreachable(cluster, problem.strerror or str(problem) or type(problem).__name__) from None
    if len(answer) < 9 or answer[3] != 4:
        raise _unreachable(cluster, "the server there is not Ray; the port of a cluster is 6379, and with ray:// it is 10001") from None


def check_nodes(check: NodeCheck) -> dict[str, Findings]:
    """Run a probe task on every node with processors, and return what it finds, by node id. A node that died or is busy is left out."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    remote, probe = ray.remote(num_cpus=0, max_retries=0)(call_on_node()), pickle.dumps(check.findings)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    probes = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(__version__, probe): node
        for node in nodes
    }
    ready, left, until = list[Any](), list(probes), time.monotonic() + _TO_PROBE
    while left and time.monotonic() < until:
        ended, left = interruptible(partial(ray.wait, left, num_returns=len(left), timeout=POLLED))
        ready += ended
    found = {}
    for reference in ready:
        try:
            _, findings = interruptible(partial(ray.get, reference))
        except ray.exceptions.RayTaskError as crashed:
            findings = f"cannot run tasks: {last_line(crashed)}"
        except ray.exceptions.RayError:
            continue  # it has died, and runs no task
        found[probes[reference]] = Findings(problem=findings) if isinstance(findings, str) else findings
    return found


def call_on_node() -> Callable[..., tuple[str, Any]]:
    """Return a function that Ray can run on a node where this package is missing or has another version.

    The arguments are the required version of the package, a pickled function of the package, and the arguments of that function. The result
    is the id of the node, and the result of the function or a message about the requirement that the node does not meet.
    """

    # A function inside a function travels by value; it must not refer to anything outside.
    def call(version: str, function: bytes, *arguments: Any) -> tuple[str, Any]:
        import pickle

        import ray

        node = ray.get_runtime_context().get_node_id()
        remedy = f"install phyagi-assets {version} on all nodes, in the environment that Ray runs in"
        try:
            import phyagi_assets

            if phyagi_assets.__version__ != version:
                return node, f"has phyagi-assets {phyagi_assets.__version__}, and this command {version}; {remedy}"
            called = pickle.loads(function)
        except ImportError as problem:
            return node, f"cannot run tasks: {problem}; {remedy}"
        return node, called(*arguments)

    return call


def interruptible(call: Callable[[], Value]) -> Value:
    """Return the result of a call that waits for Ray, which is made in another thread.

    In the main thread, Ray would turn the exception of a signal's handler, such as `KeyboardInterrupt`, into an error of its own.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    future = DaemonThreads(1).submit(call)
    try:
        return future.result()
    finally:
        wait([future])  # an interrupt waits for the call, which does not take long


def last_line(problem: Exception) -> str:
    """Return the last line of an error, which says what a traceback ended with."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[-1]
