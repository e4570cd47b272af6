"""A server with the answers of S3, Google Cloud Storage and Azure that a reader of objects needs."""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

SECRET = "VGhlU2VjcmV0T2ZUaGVUZXN0cw=="
WRITTEN = "Mon, 01 Jan 2024 00:00:00 GMT"
WRITTEN_ISO = "2024-01-01T00:00:00.000Z"


class BucketServer(ThreadingHTTPServer):
    """The bucket or container ``lake``. Requests without credentials are refused."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.is_busy = False
        self.is_public = False
        self.region = ""
        """Region that requests to S3 must be signed for; if empty, any region."""
        self.etag = ""
        """ETag of every object, instead of one computed from the content."""
        self.refusal = ""
        """Code with which all requests are refused."""
        self.fetched: list[str] = []
        """Keys whose content was requested."""

    @property
    def environments(self) -> dict[str, dict[str, str]]:
        """Environment variables that lead to the server and give it credentials, by scheme."""
        address = f"http://127.0.0.1:{self.server_port}"
        return {
            "s3": {"AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET},
            "gs": {"GOOGLE_BASE_URL": address, "GOOGLE_BEARER_TOKEN": SECRET},
            "az": {"AZURE_STORAGE_ENDPOINT": address, "AZURE_STORAGE_ACCOUNT_NAME": "lab", "AZURE_STORAGE_ACCOUNT_KEY": SECRET},
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # contents would wait 40 ms for the acknowledgement of their headers
    server: BucketServer

    def do_GET(self) -> None:
        objects = self.server.objects
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).removeprefix("/").partition("/")
        asked = {name: values[0] for name, values in parse_qs(address.query).items()}
        if self.server.is_busy:
            self._error(503, "ServerBusy")
        elif self.server.refusal:
            self._error(301 if "Redirect" in self.server.refusal else 403, self.server.refusal)
        elif self.server.region and f"/{self.server.region}/" not in self.headers.get("Authorization", ""):
            self._answer(301, b"", {"x-amz-bucket-region": self.server.region})
        elif "Authorization" not in self.headers and not self.server.is_public:
            self._error(403, "AccessDenied")
        elif bucket != "lake":
            self._error(404, "ContainerNotFound" if "comp" in asked else "NoSuchBucket")
        elif not key:
            names = [name for name in sorted(self.server.objects) if name.startswith(asked.get("prefix", ""))]
            self._answer(200, (self._azure(names) if "comp" in asked else self._google(names)).encode())
        elif key not in objects:
            self._error(404, "NoSuchKey")
        elif self.headers.get("If-Match", etag := self._etag(key)) != etag:
            self._error(412, "PreconditionFailed")
        else:
            if self.command == "GET":
                self.server.fetched.append(key)
            headers, part = {"ETag": etag, "Last-Modified": WRITTEN}, re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if part is None:
                self._answer(200, objects[key], headers)
                return
            start, last = int(part[1]), min(int(part[2]), len(objects[key]) - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/{len(objects[key])}"
            self._answer(206, objects[key][start : last + 1], headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def _google(self, names: list[str]) -> str:
        each = (
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.server.objects[name])}</Size>"
            f"<ETag>{escape(self._etag(name))}</ETag><LastModified>{WRITTEN_ISO}</LastModified></Contents>"
            for name in names
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(each)}</ListBucketResult>"

    def _azure(self, names: list[str]) -> str:
        each = (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{WRITTEN}</Last-Modified>"
            f"<Content-Length>{len(self.server.objects[name])}</Content-Length><Content-Type>text/plain</Content-Type>"
            f"<Etag>{self._etag(name)[1:-1]}</Etag></Properties></Blob>"
            for name in names
        )
        return f"<EnumerationResults><Blobs>{''.join(each)}</Blobs><NextMarker/></EnumerationResults>"

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>Refused.</Message></Error>".encode())

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _etag(self, key: str) -> str:
        return f'"{self.server.etag or hashlib.sha256(self.server.objects[key]).hexdigest()[:12]}"'

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def bucket_server() -> Iterator[BucketServer]:
    """Run the server in a thread."""
    with BucketServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield server
        finally:
            server.shutdown()
