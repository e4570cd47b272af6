"""A server with the answers of S3, Google Cloud Storage and Azure that a reader of objects needs, and those of the latter two for writing.

The answers for writing to Azure are those of Azurite.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

SECRET = "VGhlU2VjcmV0T2ZUaGVUZXN0cw=="
WRITTEN = datetime(2024, 1, 1, tzinfo=UTC)


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
        self.is_read_only = False
        """Whether requests that write are refused."""
        self.written: dict[str, datetime] = {}
        """Times of writing; other objects were written in 2024."""
        self.parts: dict[str, dict[str, bytes]] = {}
        """Parts of unfinished uploads, by key."""

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
        key, asked = self._asked()
        if self._is_refused():
            return
        if not key:
            names = [name for name in sorted(self.server.objects) if name.startswith(asked.get("prefix", ""))]
            self._answer(200, (self._azure(names) if "comp" in asked else self._google(names)).encode())
        elif key not in objects:
            self._error(404, "NoSuchKey")
        elif self.headers.get("If-Match", etag := self._etag(key)) != etag:
            self._error(412, "PreconditionFailed")
        else:
            if self.command == "GET":
                self.server.fetched.append(key)
            headers = {"ETag": etag, "Last-Modified": self._written(key)}
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if part is None:
                self._answer(200, objects[key], headers)
                return
            start, last = int(part[1]), min(int(part[2]), len(objects[key]) - 1)
            headers["Content-Range"] = f"bytes {start}-{last}/{len(objects[key])}"
            self._answer(206, objects[key][start : last + 1], headers)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, asked = self._asked()
        if self._is_refused(is_write=True):
            return
        objects, parts = self.server.objects, self.server.parts
        source = unquote(urlsplit(self.headers.get("x-goog-copy-source") or self.headers.get("x-ms-copy-source", "")).path)
        if part := asked.get("partNumber") or asked.get("blockid"):
            parts.setdefault(key, {})[part] = content
            self._answer(201 if "blockid" in asked else 200, b"", {"ETag": f'"{part}"'})
        elif key in objects and (self.headers.get("x-goog-if-generation-match") == "0" or self.headers.get("If-None-Match") == "*"):
            self._error(409 if self._is_azure else 412, "BlobAlreadyExists" if self._is_azure else "PreconditionFailed")
        else:
            if asked.get("comp") == "blocklist":
                found = parts.pop(key)
                content = b"".join(found[block] for block in re.findall(r"<Uncommitted>(.*?)</Uncommitted>", content.decode()))
            elif source:
                content = objects[source.removeprefix("/").partition("/")[2]]
            self._put(key, content)
            if source and not self._is_azure:
                self._answer(200, f"<CopyObjectResult><ETag>{escape(self._etag(key))}</ETag></CopyObjectResult>".encode())
            else:
                status = (202 if source else 201) if self._is_azure else 200
                self._answer(status, b"", {"ETag": self._etag(key), **({"x-ms-copy-status": "success"} if source else {})})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key, asked = self._asked()
        if self._is_refused(is_write=True):
            return
        if asked.get("comp") == "batch":
            self._delete_many(content.decode())
        elif "uploads" in asked:
            self._answer(200, b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        else:
            found = self.server.parts.pop(key)
            self._put(key, b"".join(found[number] for number in sorted(found, key=int)))
            self._answer(
                200, f"<CompleteMultipartUploadResult><ETag>{escape(self._etag(key))}</ETag></CompleteMultipartUploadResult>".encode()
            )

    def do_DELETE(self) -> None:
        key, asked = self._asked()
        if self._is_refused(is_write=True):
            return
        if "uploadId" in asked:
            self.server.parts.pop(key, None)
            self._answer(204, b"")
        elif self.server.objects.pop(key, None) is None:
            self._error(404, "BlobNotFound" if self._is_azure else "NoSuchKey")
        else:
            self._answer(202 if self._is_azure else 204, b"")

    def _delete_many(self, batch: str) -> None:
        """Answer a batch of requests to Azure."""
        answers = []
        for number, path in re.findall(r"Content-ID: (\d+).*?DELETE (\S+) HTTP", batch, re.DOTALL):
            key = unquote(urlsplit(path).path).removeprefix("/").partition("/")[2]
            status = "202 Accepted" if self.server.objects.pop(key, None) is not None else "404 Not Found"
            refusal = "x-ms-error-code: BlobNotFound\r\n" if status.startswith("404") else ""
            answers.append(f"--batch\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\nHTTP/1.1 {status}\r\n{refusal}\r\n")
        self._answer(202, ("".join(answers) + "--batch--").encode(), {"Content-Type": "multipart/mixed; boundary=batch"})

    def _put(self, key: str, content: bytes) -> None:
        self.server.objects[key] = content
        self.server.written[key] = datetime.now(UTC)

    def _asked(self) -> tuple[str, dict[str, str]]:
        """Return the key of a request, and the values of its query."""
        address = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(address.query, keep_blank_values=True).items()}
        return unquote(address.path).removeprefix("/").partition("/")[2], asked

    @property
    def _is_azure(self) -> bool:
        return "x-ms-version" in self.headers

    def _is_refused(self, *, is_write: bool = False) -> bool:
        """Refuse the request if it is not allowed, and return whether it is refused."""
        server, bucket = self.server, unquote(urlsplit(self.path).path).split("/")[1]
        if server.is_busy:
            self._error(503, "ServerBusy")
        elif server.refusal:
            self._error(301 if "Redirect" in server.refusal else 403, server.refusal)
        elif server.region and f"/{server.region}/" not in self.headers.get("Authorization", ""):
            self._answer(301, b"", {"x-amz-bucket-region": server.region})
        elif "Authorization" not in self.headers and not server.is_public:
            self._error(403, "AccessDenied")
        elif bucket != "lake":
            self._error(404, "ContainerNotFound" if self._is_azure else "NoSuchBucket")
        elif is_write and server.is_read_only:
            self._error(403, "AuthorizationPermissionMismatch" if self._is_azure else "AccessDenied")
        else:
            return False
        return True

    def _google(self, names: list[str]) -> str:
        written = {name: f"{self.server.written.get(name, WRITTEN):%Y-%m-%dT%H:%M:%S.%fZ}" for name in names}
        each = (
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.server.objects[name])}</Size>"
            f"<ETag>{escape(self._etag(name))}</ETag><LastModified>{written[name]}</LastModified></Contents>"
            for name in names
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(each)}</ListBucketResult>"

    def _azure(self, names: list[str]) -> str:
        each = (
            f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{self._written(name)}</Last-Modified>"
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
        if self.command != "HEAD":
            self.wfile.write(content)

    def _written(self, key: str) -> str:
        return format_datetime(self.server.written.get(key, WRITTEN), usegmt=True)

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
