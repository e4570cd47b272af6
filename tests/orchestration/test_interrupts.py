"""Signals to a command that downloads: the command and its processes end soon."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from phyagi_assets.steps.step import Workspace
from tests.support import declare_corpus

PROGRAM = """
import signal, sys
# A background job of a shell ignores SIGINT, and Dagster then ignores SIGTERM in the process of the tests; neither is inherited here.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from phyagi_assets.cli import main
sys.argv[0] = "phyagi-assets"
main()
"""
SIZE = 1 << 20
KEYS = [f"plays/{name}.txt" for name in ("a", "b", "c", "d")]


class SlowBucket(ThreadingHTTPServer):
    """An S3 bucket that sends objects byte by byte without end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked = threading.Semaphore(0)
        self.stopped = threading.Event()

    def handle_error(self, *_: object) -> None:
        """Clients that are interrupted hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: SlowBucket

    def do_GET(self) -> None:
        if "list-type" in self.path:
            each = "".join(
                f"<Contents><Key>{key}</Key><Size>{SIZE}</Size><ETag>&quot;{hashlib.md5(key.encode()).hexdigest()}&quot;</ETag>"
                "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
                for key in KEYS
            )
            content = f"<ListBucketResult><IsTruncated>false</IsTruncated>{each}</ListBucketResult>".encode()
            self._head(200, len(content))
            self.wfile.write(content)
            return
        self._head(206, SIZE)
        self.server.asked.release()
        while not self.server.stopped.wait(0.05):
            self.wfile.write(b"x")

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[SlowBucket]:
    with SlowBucket() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        yield server
        server.stopped.set()
        server.shutdown()


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_two_simultaneous_signals_end_a_command_that_downloads(workspace: Workspace, bucket: SlowBucket, jobs: str) -> None:
    declare_corpus(workspace.data, "plays", "s3://raw/plays/*.txt", partition_by="file")
    settings = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{bucket.server_port}", "AWS_REGION": "us-east-1"}
    settings |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
    words = [sys.executable, "-c", PROGRAM, "materialize", "--jobs", jobs, "--data", str(workspace.data)]
    running = subprocess.Popen(
        words, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        for _ in range(int(jobs)):
            assert bucket.asked.acquire(timeout=120)
        running.send_signal(signal.SIGINT)
        running.send_signal(signal.SIGTERM)
        said, _ = running.communicate(timeout=60)  # the output ends with the last process that has it; an object would take hours
        assert running.returncode != 0
        assert "Traceback" not in said
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
    assert not bucket.asked.acquire(blocking=False)  # and nothing further was fetched
