"""A real S3 server behind a proxy that counts requests and injects faults."""

import ctypes
import http.client
import os
import random
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store

KEY, SECRET = "AKIDOFTHETESTS", "TheSecretOfTheTests/0123456789"
BUCKET = "raw"
_GRPC = 10_000
"""Distance from a port of the server to that of the same service by gRPC."""


class Storm:
    """Faults at random requests: answers 500 and 503, connections that drop before or after the server acts, contents cut off, and stalls.

    Parameters
    ----------
    seed
        Seed of the choice.
    share
        Share of the requests that fail, of which one in ten stalls.
    stall
        Time after which a stalled connection is closed, in seconds.
    """

    KINDS = ("500", "503", "dropped", "unanswered", "cut")

    def __init__(self, seed: int, share: float, stall: float) -> None:
        self._random, self._share, self.stall = random.Random(seed), share, stall
        self.raised: Counter[str] = Counter()

    def fault(self) -> str:
        """Return the fault of the next request; empty if it has none."""
        if self._random.random() >= self._share:
            return ""
        kind = "stalled" if self._random.random() < 0.1 else self._random.choice(self.KINDS)
        self.raised[kind] += 1
        return kind


@dataclass(kw_only=True)
class Faults:
    """Faults for the proxy to inject, and the requests that it received."""

    unavailable: int = 0
    """Number of the next requests to answer with 503."""
    forbidden: int = 0
    """Number of the next requests to answer with 403."""
    cut: list[int] = field(default_factory=list)
    """Numbers of bytes after which the next contents are cut off."""
    flipped: int = 0
    """Number of the next contents whose first byte is changed."""
    is_down: bool = False
    storm: Storm | None = None
    """Faults at random requests."""
    unlisted: tuple[str, ...] = ()
    """Elements that are left out of each object in listings, such as ``ETag``."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Keys that listings report under another name, because the server cannot store keys that end in a slash."""
    ahead: int = 0
    """Seconds by which the clock of the server is ahead of the times at which objects were written."""
    listings: int = 0
    prefixes: list[str] = field(default_factory=list)
    """Prefixes that were listed, including nested ones."""
    requests: Counter[str] = field(default_factory=Counter)
    """Number of requests that reached the server, by method."""
    is_read_only: bool = False
    """Whether requests that write are refused."""
    refused_after: int | None = None
    """Number of further requests that write, after which they are refused; None if none is."""
    latency: float = 0.0
    """Time by which each request is delayed, in seconds."""
    contents: list[str] = field(default_factory=list)
    """Keys whose content was requested."""
    bytes_sent: int = 0
    """Size of the contents that were sent."""
    sent: Counter[str] = field(default_factory=Counter)
    """Size of the contents that were sent, by key."""


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """The server, with one bucket."""

    direct: str
    proxy: str
    faults: Faults

    @property
    def environment(self) -> dict[str, str]:
        """Return environment variables with credentials and the endpoint of the proxy."""
        return {"AWS_ENDPOINT_URL": self.proxy, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

    def wait_for_bucket(self) -> None:
        """Wait until the bucket exists, which is a moment after the server starts."""
        for _ in range(100):
            try:
                list(obstore.list(self._store))
                return
            except obstore.exceptions.BaseError:
                time.sleep(0.1)
        raise AssertionError("the S3 server has no bucket")

    def put(self, key: str, content: bytes | Path, **headers: str) -> None:
        """Put an object without the proxy."""
        content = content if isinstance(content, bytes) else content.read_bytes()
        obstore.put(self._store, key, content, attributes=headers or None, use_multipart=False)

    def put_in_parts(self, key: str, content: bytes, size: int = 5 << 20) -> None:
        """Put an object by multipart upload, so that its ETag is not a checksum of its content."""
        obstore.put(self._store, key, content, use_multipart=True, chunk_size=size)

    def listed(self) -> list[str]:
        """Return the keys of all objects."""
        return [found["path"] for page in obstore.list(self._store) for found in page]

    def delete(self, prefix: str = "") -> None:
        """Remove all objects with a prefix, and reset faults and counts."""
        for page in obstore.list(self._store, prefix or None):
            obstore.delete(self._store, [found["path"] for found in page])
        for name, value in vars(Faults()).items():
            setattr(self.faults, name, value)

    @cached_property
    def _store(self) -> S3Store:
        options: dict[str, Any] = {"client_options": {"allow_http": True}, "retry_config": {"max_retries": 0}}
        return S3Store(BUCKET, endpoint=self.direct, access_key_id=KEY, secret_access_key=SECRET, region="us-east-1", **options)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """Run SeaweedFS in a folder, on free ports, behind the proxy."""
    folder.mkdir(parents=True)
    server, ports = _started(folder)
    try:
        port = ports["s3.port"]
        with _proxy(port) as (proxy, faults):
            running = S3Server(direct=f"http://127.0.0.1:{port}", proxy=f"http://127.0.0.1:{proxy}", faults=faults)
            running.wait_for_bucket()
            yield running
    finally:
        _stop(server, ports)


def _started(folder: Path, attempts: int = 5) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    """Start a server, and return it with its ports; try other ports if another process has taken one."""
    for attempt in range(attempts):
        server, ports = _start(folder, attempt)
        for _ in range(600):
            if server.poll() is not None:
                break
            if _answers(ports["s3.port"]):
                return server, ports
            time.sleep(0.1)
        _stop(server, ports)
    raise AssertionError((folder / "log").read_text(errors="replace")[-2000:])


def _stop(server: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
    """Kill a server, which would take half a minute to end in order, and delete its sockets, whose folder is fixed."""
    server.kill()
    server.wait()
    for port in ports.values():
        for socket_of_port in (*Path("/tmp").glob(f"seaweedfs-*-{port}.sock"), *Path("/tmp").glob(f"seaweedfs-*-{port + _GRPC}.sock")):
            socket_of_port.unlink(missing_ok=True)


def _start(folder: Path, attempt: int) -> tuple[subprocess.Popen[bytes], dict[str, int]]:
    names = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")
    ports = dict(zip(names, _free_ports(len(names), attempt), strict=True))
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    options += ["-master.telemetry=false"]
    weed = Path(sysconfig.get_path("scripts")) / "weed"  # the environment may not be on the PATH
    command = [str(weed), "mini", f"-dir={folder}", f"-bucket={BUCKET}", *options, *(f"-{name}={port}" for name, port in ports.items())]
    # Garbage collection takes a fifth of the time of requests, and threads that look for work another one.
    environment = {**os.environ, "GOGC": "300", "GOMAXPROCS": "1", "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    with (folder / "log").open("ab") as log:
        # Before any thread of the tests' is begun that holds a lock which the child would wait for.
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder, preexec_fn=_die_with_parent)  # noqa: PLW1509
    return server, ports


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # contents would wait 40 ms for the acknowledgement of their headers
    upstream: int
    faults: Faults

    def setup(self) -> None:
        super().setup()
        self._connection = http.client.HTTPConnection("127.0.0.1", self.upstream)

    def finish(self) -> None:
        self._connection.close()
        super().finish()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        faults, key = self.faults, self.path.partition("?")[0].removeprefix(f"/{BUCKET}").lstrip("/")
        faults.listings += not key
        query = urllib.parse.parse_qs(self.path.partition("?")[2])
        if not key and "delimiter" not in query:
            faults.prefixes += query.get("prefix", [""])
        fault = faults.storm.fault() if faults.storm else ""
        if self._is_refused(fault):
            return
        time.sleep(faults.latency)
        status, received, content = self._forwarded(body)
        if fault in ("unanswered", "stalled"):
            time.sleep(faults.storm.stall if faults.storm and fault == "stalled" else 0)
            self._drop()
            return
        if key and self.command == "GET":
            faults.contents.append(key)
            faults.bytes_sent += len(content)
            faults.sent[key] += len(content) * (status < 300)
            if content and faults.flipped:
                faults.flipped -= 1
                content = bytes([content[0] ^ 1]) + content[1:]
        own = ("connection", "transfer-encoding", "date")
        headers = {name: value for name, value in received if name.lower() not in own}
        if not key and (faults.unlisted or faults.renamed):
            for name, other in faults.renamed.items():
                content = content.replace(f"<Key>{name}</Key>".encode(), f"<Key>{other}</Key>".encode())
            for element in faults.unlisted:
                content = re.sub(rf"<{element}>.*?</{element}>".encode(), b"", content, flags=re.DOTALL)
            headers["Content-Length"] = str(len(content))
        headers.setdefault("Content-Length", str(len(content)))
        if fault == "cut" and key and self.command == "GET":  # otherwise, later contents would be cut off instead
            faults.cut.append(len(content) // 2)
        self._answer(status, headers, content, cuttable=bool(key))

    def _is_refused(self, fault: str) -> bool:
        """Refuse the request, or drop it, if a fault wants that, and return whether one did; other requests reach the server."""
        faults = self.faults
        if faults.is_down or fault == "dropped":
            self._drop()
            return True
        if fault.isdigit() or faults.unavailable:
            faults.unavailable -= not fault.isdigit()
            self._answer(int(fault) if fault.isdigit() else 503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return True
        faults.requests[self.command] += 1
        if faults.forbidden:
            faults.forbidden -= 1
            self._answer(403, {}, b"<html>Forbidden</html>")
            return True
        if self.command in {"GET", "HEAD"}:
            return False
        if faults.refused_after is not None:
            faults.refused_after -= 1
            faults.is_read_only = faults.refused_after < 0
        if faults.is_read_only:
            self._answer(403, {}, b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>")
        return faults.is_read_only

    def _forwarded(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        """Return the status, the headers and the content of the server's answer."""
        connection = self._connection
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():  # the host among them, which is signed
            connection.putheader(name, value)
        connection.endheaders(body or None)
        found = connection.getresponse()
        return found.status, found.getheaders(), found.read()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _drop(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cuttable: bool = False) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET" and cuttable and self.faults.cut:
            content = content[: self.faults.cut.pop(0)]
            self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(content)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.faults.ahead)

    def log_message(self, *_: object) -> None:
        pass


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that the client has given up."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def _proxy(upstream: int) -> Iterator[tuple[int, Faults]]:
    faults = Faults()
    handler = type("Handler", (_Handler,), {"upstream": upstream, "faults": faults})
    with _Proxy(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield server.server_port, faults
        finally:
            server.shutdown()


def _free_ports(count: int, attempt: int) -> list[int]:
    """Return free ports whose gRPC ports are free too, below the range that the system assigns to clients."""
    found: list[int] = []
    port = 11_000 + (os.getpid() * 16 + attempt * 1_000) % 9_000
    while len(found) < count:
        port += 1
        if all(_is_free(one) for one in (port, port + _GRPC)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False


def _die_with_parent() -> None:
    """End the server with its parent, so that no server remains if the tests are killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
