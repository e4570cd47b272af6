"""Check the port on which the UI is to listen."""

import json
import socket
import urllib.error
import urllib.request
from contextlib import suppress

from phyagi_assets.errors import PhyagiAssetsError

_TRIED = 100
"""Number of ports after a taken one among which a free one is proposed."""


def require_free_port(host: str, port: int) -> None:
    """Check that nothing listens on a port yet.

    Raises
    ------
    PhyagiAssetsError
        The port is taken, or the host is not an address of this machine. The message says what listens there, and proposes a free port.
    """
    try:
        problem = _problem(host, port)
    except socket.gaierror:
        raise PhyagiAssetsError(f"--host: {host!r} is not known; use 127.0.0.1, 0.0.0.0 or an address of this machine") from None
    if problem is None:
        return
    if isinstance(problem, PermissionError):
        raise PhyagiAssetsError(f"--port: only root may listen on port {port}; use a port from 1024 up")
    if not _is_taken(host, port):
        raise PhyagiAssetsError(f"--host: {host} is not an address of this machine ({problem.strerror}); use 127.0.0.1 or 0.0.0.0")
    free = next((other for other in range(port + 1, min(port + _TRIED, 1 << 16)) if _problem(host, other) is None), None)
    advice = f"open it in your browser, stop it, or use another port{f': --port {free}' if free else ''}"
    raise PhyagiAssetsError(f"port {port} of {host} is taken by {_listener(host, port)}; {advice}")


def _problem(host: str, port: int) -> OSError | None:
    """Return the error of listening on a port, or None if it is free."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as problem:
            return problem
    return None


def _is_taken(host: str, port: int) -> bool:
    with suppress(OSError), socket.create_connection((_reachable(host), port), timeout=1):
        return True
    return False


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on a host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _listener(host: str, port: int) -> str:
    """Return the kind of server that listens on a port."""
    place = f"[{_reachable(host)}]" if ":" in host else _reachable(host)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{place}:{port}/server_info", timeout=2) as answer:
            version = json.loads(answer.read(1 << 16)).get("dagster_webserver_version")
            return f"a Dagster UI ({version})" if version else "a web server"
    except urllib.error.HTTPError:
        return "a web server"
    except (OSError, ValueError, AttributeError):
        return "another program"
