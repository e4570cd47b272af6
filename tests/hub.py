"""A local server with the protocol of the Hub, which serves the sample data as repositories.

The clients read where the Hub is when they are imported. Code that meets this one therefore runs in another process: a command with
`Hub.environment`, or functions of a test module in a `worker`.
"""

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support import DATA, GPT2, save_small_gpt2, write_jsonl, write_text

RENAMED = {"datasets/wikitext": "Salesforce/wikitext", "datasets/glue": "nyu-mll/glue", "models/gpt2": "openai-community/gpt2"}
WIKITEXT = "wikitext-2-raw-v1"
JSON_LINES = "NeelNanda/pile-10k"
_EXPIRED = "/expired"
"""Path of an address whose signature has expired."""
_VERBS = ("revision", "tree", "paths-info", "refs", "resolve")


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A folder, with the hashes that git and the Hub compute for its content."""

    id: str
    folder: Path

    @cached_property
    def commit(self) -> str:
        names = [f"{path.relative_to(self.folder)} {hashlib.sha1(path.read_bytes()).hexdigest()}" for path in self.files]
        return hashlib.sha1("\n".join(names).encode()).hexdigest()

    @property
    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def info(self) -> dict[str, Any]:
        siblings = [{"rfilename": path.relative_to(self.folder).as_posix()} for path in self.files]
        about = {"private": False, "disabled": False, "gated": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings}
        date = "2024-01-01T00:00:00.000Z"
        return {**about, "_id": self.commit[:24], "id": self.id, "sha": self.commit, "lastModified": date, "createdAt": date}

    def entry(self, path: Path) -> dict[str, Any]:
        """Return the Hub's metadata of a file or folder."""
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "path": name, "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0}
        content = path.read_bytes()
        of_git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        entry = {"type": "file", "path": name, "oid": of_git, "size": len(content)}
        if path.suffix == ".parquet":  # large files are kept elsewhere, under another name
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
        return entry


class _Route(NamedTuple):
    """The parts of an address; `verb` is empty where it is the repository's own."""

    kind: str
    repository: str
    verb: str
    revision: str
    path: str

    @classmethod
    def of(cls, address: str) -> "_Route":
        parts = [unquote(part) for part in urlsplit(address).path.strip("/").split("/")]
        parts = parts[1:] if parts[0] == "api" else parts
        kind, rest = (parts[0], parts[1:]) if parts[0] in ("models", "datasets") else ("models", parts)
        at = next((i for i in (1, 2) if rest[i : i + 1] and rest[i] in _VERBS), len(rest))
        verb, revision, *path = (*rest[at:], "", "")[: max(2, len(rest) - at)]
        return cls(kind, "/".join(rest[:at]), verb, revision or "main", "/".join(path))


@dataclass(kw_only=True)
class Traffic:
    """Requests received so far, and faults to inject into the next answers."""

    contents: list[str] = field(default_factory=list)
    """Files whose content was requested."""
    commits: list[str] = field(default_factory=list)
    """The repositories and revisions, as ``org/name@main``, whose commit was requested."""
    unavailable: int = 0
    """Number of the next requests to answer with 503."""
    refusal: int = 0
    """Status with which all requests are refused."""
    wait: str = ""
    """Value of ``Retry-After`` in these answers."""
    error: str = ""
    """Value of ``X-Error-Code`` in these answers."""
    refused: str = ""
    """Part of the addresses that are refused."""
    expired: int = 0
    """Number of the next contents that are redirected to another host, which answers with 403 as for a signed address that has expired."""
    cut: list[int] = field(default_factory=list)
    """Numbers of bytes after which the next contents are cut off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # contents would wait 40 ms for the acknowledgement of their headers
    root: Path
    traffic: Traffic

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        if self.traffic.unavailable:
            self.traffic.unavailable -= 1
            self._answer(503)
            return
        if self.traffic.refusal and self.traffic.refused in self.path:
            headers = {"Retry-After": self.traffic.wait, "X-Error-Code": self.traffic.error}
            self._answer(self.traffic.refusal, **{name: value for name, value in headers.items() if value})
            return
        if self.path == _EXPIRED:
            self._answer(403)
            return
        route = _Route.of(self.path)
        name = f"{route.kind}/{route.repository}"
        if name in RENAMED:
            self._answer(307, Location=self.path.replace(route.repository, RENAMED[name], 1))
            return
        repository = Repository(id=route.repository, folder=self.root / name)
        if not route.repository or not repository.folder.is_dir():
            self._missing("RepoNotFound")
        elif route.revision not in ("main", repository.commit):
            self._missing("RevisionNotFound")
        elif route.verb == "refs":
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repository.commit}
            self._json({"branches": [main], "tags": [], "converts": []})
        elif route.verb == "tree":
            self._tree(repository, repository.folder / route.path)
        elif route.verb == "paths-info":
            found = (repository.folder / path for path in parse_qs(body)["paths"])
            self._json([repository.entry(path) for path in found if path.exists()])
        elif route.verb == "resolve":
            self._file(repository, repository.folder / route.path)
        else:
            self.traffic.commits.append(f"{route.repository}@{route.revision}")
            self._json(repository.info())

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        self.do_GET()

    def _tree(self, repository: Repository, folder: Path) -> None:
        if not folder.is_dir():
            self._missing("EntryNotFound")
            return
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() in ("true", "1")
        self._json([repository.entry(path) for path in sorted(folder.rglob("*") if recursive else folder.iterdir())])

    def _file(self, repository: Repository, path: Path) -> None:
        headers = {"X-Repo-Commit": repository.commit, "Accept-Ranges": "bytes"}
        if not path.is_file():
            self._missing("EntryNotFound", **headers)
            return
        if self.command == "GET" and self.traffic.expired:
            self.traffic.expired -= 1
            port = self.headers["Host"].rpartition(":")[2]
            self._answer(302, Location=f"http://localhost:{port}{_EXPIRED}", **headers)
            return
        entry, content = repository.entry(path), path.read_bytes()
        headers["ETag"] = f'"{entry["oid"]}"'
        if "lfs" in entry:
            headers |= {"ETag": f'"{entry["lfs"]["oid"]}"', "X-Linked-ETag": f'"{entry["lfs"]["oid"]}"', "X-Linked-Size": str(len(content))}
        if self.command == "GET":
            self.traffic.contents.append(path.name)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, content, **headers)
            return
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._answer(206, content[first : last + 1], **headers)

    def _missing(self, code: str, **headers: str) -> None:
        self._answer(404, b'{"error": "not found"}', **{"X-Error-Code": code, "X-Error-Message": f"{code}: {self.path}", **headers})

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            is_cut = self.traffic.cut and self.path.partition("?")[0].count("/resolve/")
            self.close_connection |= bool(is_cut)
            self.wfile.write(content[: self.traffic.cut.pop(0)] if is_cut else content)

    def log_message(self, *_: object) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class Hub:
    """The server, and a home folder for its clients."""

    url: str
    home: Path
    repositories: Path
    """The folder of the repositories: ``datasets/<org>/<name>``. A change in one is a commit to its main branch."""
    traffic: Traffic

    def environment(self, store: Path) -> dict[str, str]:
        """Return environment variables that direct clients to this server, and the library to a store."""
        theirs = re.compile(r"(HF|HUGGINGFACE|TRANSFORMERS|TOKENIZERS)_.*|.*_proxy", re.IGNORECASE)
        mine = {name: value for name, value in os.environ.items() if not theirs.fullmatch(name)}
        switches = {"HF_UPDATE_DOWNLOAD_COUNTS": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return {**mine, **switches, "HF_ENDPOINT": self.url, "HF_HOME": str(self.home), "PHYAGI_ASSETS_STORE": str(store)}


@contextmanager
def served(folder: Path, plays: int | None = None) -> Iterator[Hub]:
    """Create the sample repositories in a folder and serve them on a free port.

    With a number of plays, wikitext has only the first ones, and GPT-2's tokenizer is the small one.
    """
    _make_repositories(folder / "hub", plays)
    traffic = Traffic()
    handler = type("Handler", (_Handler,), {"root": folder / "hub", "traffic": traffic})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            url = f"http://127.0.0.1:{server.server_port}"
            yield Hub(url=url, home=folder / "home", repositories=folder / "hub", traffic=traffic)
        finally:
            server.shutdown()


@contextmanager
def worker(environment: dict[str, str]) -> Iterator[ProcessPoolExecutor]:
    """Start a process with environment variables that runs several functions: ``worker.submit(function, …).result()``."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        with mock.patch.dict(os.environ, environment, clear=True):
            pool.submit(os.getpid).result()
        yield pool


def _make_repositories(root: Path, plays: int | None) -> None:
    datasets, models = root / "datasets", root / "models"
    test, validation, *train = sorted((DATA / "raw" / "shakespeare").glob("*.txt"))[:plays]
    wikitext = {"test": [test], "train": train, "validation": [validation]}
    tables = {split: pa.table({"text": list(chain.from_iterable(map(_as_wikitext, plays)))}) for split, plays in wikitext.items()}
    _write_parquet(datasets / "Salesforce/wikitext", WIKITEXT, tables)
    countries = [json.loads(line) for path in sorted((DATA / "raw" / "factbook").glob("*.jsonl")) for line in path.open(encoding="utf-8")]
    sentences = [sentence for country in countries for sentence in re.findall(r"[A-Z][^.:#\n]{20,120}\.", country["text"])]
    sst2 = {"train": sentences[1000:], "validation": sentences[:500], "test": sentences[500:1000]}
    _write_parquet(datasets / "nyu-mll/glue", "sst2", {split: _as_sst2(of_split) for split, of_split in sst2.items()})
    write_jsonl(datasets / JSON_LINES / "countries.jsonl", countries)
    if plays is None:
        shutil.copytree(GPT2, models / "openai-community/gpt2")
    else:
        save_small_gpt2(models / "openai-community/gpt2")
    shutil.copytree(GPT2, models / "microsoft/phi-2")
    _make_phi(models / "microsoft/phi-2" / "tokenizer_config.json")


def _as_wikitext(play: Path) -> list[str]:
    """Return rows like those of wikitext: titles, paragraphs, and empty rows between them."""
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", play.read_text(encoding="utf-8")))
    title, *paragraphs = filter(None, blocks)
    return ["", f" = {title.title()} = \n", "", *(f" {paragraph} \n" if i % 8 else "" for i, paragraph in enumerate(paragraphs, 1))]


def _as_sst2(sentences: list[str]) -> pa.Table:
    return pa.table({"sentence": sentences, "label": [len(sentence) % 2 for sentence in sentences], "idx": range(len(sentences))})


def _write_parquet(folder: Path, name: str, splits: dict[str, pa.Table]) -> None:
    """Write a configuration of a dataset: its Parquet files, and its declaration in the README, as on the Hub."""
    declared = "\n".join(f"  - split: {split}\n    path: {name}/{split}-*" for split in splits)
    write_text(folder / "README.md", f"---\nconfigs:\n- config_name: {name}\n  data_files:\n{declared}\n---\n")
    for split, table in splits.items():
        (folder / name).mkdir(exist_ok=True)
        pq.write_table(table, folder / name / f"{split}-00000-of-00001.parquet")


def _make_phi(config: Path) -> None:
    """Add tokens for runs of spaces and tabs to GPT-2's, as phi-2 does."""
    runs = [" " * length for length in range(31, 1, -1)] + ["\t" * length for length in range(9, 1, -1)]
    flags = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False, "special": False}
    added = {str(50_257 + i): {"content": run, **flags} for i, run in enumerate(runs)}
    settings = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**settings, "tokenizer_class": "CodeGenTokenizer", "added_tokens_decoder": added}), encoding="utf-8")
