"""The choice of a Ray cluster, and clusters that cannot be reached."""

import socket
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.execution.ray_address import RayAddress, chosen_executor, default_executor
from phyagi_assets.execution.ray_connection import _unreachable, connected


@pytest.mark.parametrize("choice", ["", "rays", "ray:", "ray:http://host:80", "ray:host", "ray:host:0", "ray:host:99999", "ray:a b:6379"])
def test_invalid_executor_names_the_setting_and_the_valid_values(choice: str) -> None:
    with pytest.raises(PhyagiAssetsError, match=r"^--executor: '.*' is not .*; use (local, ray, or ray:ADDRESS|auto, HOST:PORT)"):
        chosen_executor(choice)


def test_address_comes_from_the_environment_unless_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen_executor("ray") == RayAddress(address="auto", setting="--executor")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert chosen_executor("ray") == RayAddress(address="head:6379", setting="$RAY_ADDRESS")
    assert chosen_executor("ray:ray://10.0.0.1:10001", "executor") == RayAddress(address="ray://10.0.0.1:10001", setting="executor")
    monkeypatch.setenv("RAY_ADDRESS", "http://head:8265")
    with pytest.raises(PhyagiAssetsError, match=r"^\$RAY_ADDRESS: 'http://head:8265' is not the address of a Ray cluster; use auto"):
        chosen_executor("ray")


def test_cluster_that_the_environment_names_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert default_executor() == "local"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert default_executor() == "ray"
    for other in ("http://head:8265", "local"):  # for the command `ray job`, and for a cluster that Ray starts
        monkeypatch.setenv("RAY_ADDRESS", other)
        assert default_executor() == "local"


class _Web(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def refusal(cluster: RayAddress) -> str:
    with pytest.raises(PhyagiAssetsError) as raised, connected(cluster):
        pass
    return str(raised.value)


def test_cluster_that_cannot_be_reached_is_named() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for scheme in ("", "ray://"):
            address = RayAddress(address=f"{scheme}127.0.0.1:{port}", setting="--executor")
            hint = "; the port of Ray Client is usually 10001" if scheme else ""
            expected = f"--executor: the Ray cluster {scheme}127.0.0.1:{port} cannot be reached: Connection refused{hint}"
            assert refusal(address) == expected
            by_environment = refusal(replace(address, setting="$RAY_ADDRESS"))
            assert by_environment == f"$RAY_ADDRESS{expected[10:]}; to build on this machine, choose the executor local"
    with HTTPServer(("127.0.0.1", 0), _Web) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        assert "the server there is not Ray; the port of a cluster is 6379" in refusal(
            RayAddress(address=f"127.0.0.1:{server.server_port}", setting="executor")
        )
        server.shutdown()


def test_port_of_ray_client_is_named_unless_it_is_that_of_the_address() -> None:
    for port, is_named in ((6379, True), (10001, False)):
        told = f"{_unreachable(RayAddress(address=f'ray://head:{port}', setting='executor'), 'Connection refused')}"
        assert told.endswith("; the port of Ray Client is usually 10001" if is_named else "Connection refused")


def test_reason_that_ray_gives_in_its_last_line_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def fail(**_: object) -> None:
        raise RuntimeError("Initialization failure from server:\n\nTraceback:\n  ...\nTimeoutError: the server did not start")

    monkeypatch.setattr(ray, "init", fail)
    told = refusal(RayAddress(address="auto", setting="executor"))
    assert told.endswith("cannot be reached: Initialization failure from server: TimeoutError: the server did not start")


def test_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    missing = "ray is not installed; install it with: pip install 'phyagi-assets[ray]'"
    assert refusal(RayAddress(address="127.0.0.1:1", setting="--executor")) == f"--executor: {missing}"
    by_environment = RayAddress(address="127.0.0.1:1", setting="$RAY_ADDRESS")
    assert refusal(by_environment) == f"$RAY_ADDRESS: {missing}; to build on this machine, choose the executor local"
