"""The port of the UI is probed before anything is started."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from phyagi_assets.cli.ports import require_free_port
from phyagi_assets.errors import PhyagiAssetsError


class AnswersAsDagster(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"dagster_webserver_version": "1.13.27"}')

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_free_port_is_accepted() -> None:
    with listening() as port:
        pass
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):
        require_free_port(host, port)


def test_port_of_a_dagster_ui_is_refused_with_a_free_one() -> None:
    with HTTPServer(("127.0.0.1", 0), AnswersAsDagster) as server:
        port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(PhyagiAssetsError, match=rf"port {port} of 127.0.0.1 is taken by a Dagster UI \(1.13.27\); .* --port \d+"):
                require_free_port("127.0.0.1", port)
        finally:
            server.shutdown()
            thread.join()


def test_port_of_another_program_is_refused() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def hang_up() -> None:
            for _ in range(2):  # the probe, and the question what listens
                server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(PhyagiAssetsError, match="is taken by another program; open it in your browser, stop it, or use another port"):
            require_free_port("127.0.0.1", server.getsockname()[1])
        thread.join()


def test_host_of_another_machine_is_refused() -> None:
    with pytest.raises(PhyagiAssetsError, match=r"--host: 192\.0\.2\.1 is not an address of this machine"):
        require_free_port("192.0.2.1", 3000)
    with pytest.raises(PhyagiAssetsError, match=r"--host: 'no\.such\.host\.invalid' is not known"):
        require_free_port("no.such.host.invalid", 3000)
