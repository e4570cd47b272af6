"""Sources in object stores: S3 and compatible stores, Google Cloud Storage, and Azure."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import PreconditionError
from obstore.store import ObjectStore

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceChangedError
from phyagi_assets.objects.answers import lacks_bucket
from phyagi_assets.objects.clients import Clients
from phyagi_assets.objects.daemon_threads import DaemonThreads
from phyagi_assets.objects.retries import RetryPolicy, TransientError
from phyagi_assets.sources.files import LeftOut, Listing, SourceFile, also_left_out
from phyagi_assets.sources.globs import Glob, fixed_prefix
from phyagi_assets.sources.readable import Stamp
from phyagi_assets.sources.small_objects import SmallObjects
from phyagi_assets.sources.transfer import Fetched, OnBytes, append_chunks, digest_by

_MD5 = re.compile(r"[0-9a-f]{32}")
_THREADS = 16
"""Number of parts of objects that are fetched at the same time."""
_IDLE = 10.0
"""Time after which an idle thread ends, in seconds."""
_QUIET = timedelta(seconds=2)
"""Shortest time between the writing and the listing of an object without an ETag. Servers report the time of writing in seconds, so that
two objects written to one key within the same second cannot be told apart."""


class Buckets:
    """Client that lists and fetches the objects of buckets in one kind of object store.

    Parameters
    ----------
    scheme
        Scheme of the URIs, one of `SCHEMES`.
    """

    def __init__(self, scheme: str, retry_policy: RetryPolicy) -> None:
        self._scheme, self._retry_policy = scheme, retry_policy
        self._clients = Clients(scheme)
        self.threads = DaemonThreads(_THREADS, idle=_IDLE)
        """Threads that fetch parts of objects ahead of their readers."""
        self.small = SmallObjects()
        self._digests: dict[str, str] = {}
        self._opaque: set[str] = set()

    def __reduce__(self) -> tuple[type["Buckets"], tuple[str, RetryPolicy]]:
        """Reduce to the arguments: another process opens connections of its own."""
        return Buckets, (self._scheme, self._retry_policy)

    def files(self, corpus: Corpus, declared: str) -> Listing:
        """List the objects that a glob matches.

        Raises
        ------
        DeclarationError
            The path names no bucket or no objects, or its glob matches nothing.
        SourceError
            The bucket cannot be listed.
        """
        bucket, _, pattern = declared.removeprefix(self._scheme).partition("/")
        if not bucket or not pattern or pattern.endswith("/"):
            raise corpus.error(
                f"{declared!r} names no objects; name them, as in {self._scheme}{bucket or 'bucket'}/folder/*.jsonl", "source", "path"
            )
        if bucket.startswith("arn:"):
            raise corpus.error(f"{declared!r} names an ARN; name the bucket, or the alias of the access point", "source", "path")
        glob, prefix = Glob(pattern), fixed_prefix(pattern)
        what, matching = f"{self._scheme}{bucket}/{prefix}", partial(self._matching, bucket, prefix, glob)
        objects, files = self._clients.with_retries(self._retry_policy, what, matching, lists=True)
        left_out = tuple(
            LeftOut(origin=self._origin(bucket, found), reason=reason) for found in objects if (reason := glob.left_out(found["path"]))
        )
        if not files:
            raise corpus.error(f"no object matches {declared}{also_left_out(left_out)}", "source", "path")
        return Listing(files=files, left_out=left_out)

    def _matching(self, bucket: str, prefix: str, glob: Glob) -> tuple[list[Mapping[str, Any]], tuple[SourceFile, ...]]:
        """List the objects with a prefix; return them, and the files for those that match."""
        objects = self._clients.listed(bucket, lambda store: list(_listed(store, prefix)))
        time_before = datetime.min.replace(tzinfo=UTC)
        if any(not found["e_tag"] for found in objects):
            time_before = self._clients.time()
            objects = self._clients.ask(bucket, lambda store: list(_listed(store, prefix)))
        objects = [found for found in objects if found["size"] or not self._is_placeholder(bucket, found)]
        matching = (found for found in objects if glob.matches(found["path"]))
        return objects, tuple(self._file(bucket, found, glob.fixed, time_before) for found in matching)

    def _is_placeholder(self, bucket: str, found: Mapping[str, Any]) -> bool:
        """Return whether an empty object is a folder made by a console: its key ends in a slash, which obstore does not report."""
        if "." in found["path"].rpartition("/")[2]:
            return False
        there = self._clients.ask(bucket, lambda store: _head(store, found["path"]))
        return there is None or there["size"] != 0

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch an object; see `Remote.fetch`."""
        bucket, _, key = file.origin.removeprefix(self._scheme).partition("/")
        precondition = _precondition(file.stamp)
        encoding = ""

        def chunks(start: int) -> Iterator[bytes]:
            nonlocal encoding
            options: Any = {"range": {"offset": start}, **precondition} if start else precondition
            answer = self._clients.ask(bucket, lambda store: obstore.get(store, key, options=options))
            if not _is_as_old(answer.meta["last_modified"], file.stamp):  # the server ignored the precondition
                raise SourceChangedError("the object has changed since it was listed; list the source again")
            encoding = str(answer.attributes.get("Content-Encoding", ""))
            with self._clients.translated():
                for chunk in answer.stream(
                    min_chunk_size=1
                ):  # as it comes, because a larger chunk would be lost if the transfer breaks off
                    yield bytes(chunk)

        path = append_chunks(folder / "object", file.size, chunks, on_bytes)
        self._verify(file, bucket, path)
        return Fetched(path=path, encoding=encoding)

    def read_part(self, origin: str, stamp: Stamp, start: int, stop: int) -> bytes:
        """Return a part of an object.

        Parameters
        ----------
        start, stop
            First byte, and the byte after the last one.

        Raises
        ------
        SourceError
            The object has another stamp, is gone, or cannot be read.
        """
        bucket, _, key = origin.removeprefix(self._scheme).partition("/")
        place: Any = {"range": (start, stop)} if stop > start else {}

        def part(store: ObjectStore) -> bytes:
            try:
                answer = obstore.get(store, key, options=place | _precondition(stamp))
                if not _is_as_pinned(answer.meta, stamp):
                    raise _ChangedError
                content = bytes(answer.bytes()) if place else b""
            except PreconditionError:
                raise _ChangedError from None
            except FileNotFoundError as problem:
                if lacks_bucket(problem):
                    raise
                raise _ChangedError from None
            if len(content) != stop - start:
                raise TransientError(f"{len(content):,} bytes arrived, and {stop - start:,} were requested")
            return content

        def once() -> bytes:
            try:
                return self._clients.ask(bucket, part)
            except _ChangedError:
                now = self._clients.ask(bucket, lambda store: _head(store, key))
                found = f"it is {_described(now['e_tag'], now['size'], now['last_modified'])} now" if now else "it is gone now"
            pinned = _described(str(stamp[0]), int(stamp[1]), *stamp[2:])
            message = f"has changed: it was pinned as {pinned}, and {found}; materialize again to pin what is there now"
            raise SourceChangedError(message)

        return self._clients.with_retries(self._retry_policy, origin, once)

    def _verify(self, file: SourceFile, bucket: str, path: Path) -> None:
        """Compare a fetched object with its ETag, which is the MD5 of the content, unless the object is encrypted with a user's key.

        obstore does not report the encryption. If an object arrives twice with the same content, the ETag is not its MD5, and neither are
        those of the other objects in the bucket.
        """
        etag = str(file.stamp[0])
        if not file.size or bucket in self._opaque or not _MD5.fullmatch(etag):
            return
        found = digest_by(path, "md5")
        if found == etag:
            return
        if self._digests.get(file.origin) != found:
            self._digests[file.origin] = found
            path.unlink()
            raise TransientError(f"what arrived has the md5 checksum {found}, and the source states {etag}")
        self._opaque.add(bucket)

    def _origin(self, bucket: str, found: Mapping[str, Any]) -> str:
        return f"{self._scheme}{bucket}/{found['path']}"

    def _file(self, bucket: str, found: Mapping[str, Any], fixed: int, listed: datetime) -> SourceFile:
        """Return a listed object as a source file; `listed` is a time before the listing by the server's clock."""
        origin, etag, size, modified = self._origin(bucket, found), (found["e_tag"] or "").strip('"'), found["size"], found["last_modified"]
        stamp: Stamp = (etag, size)
        if not etag:
            if modified + _QUIET > listed:
                raise TransientError(
                    f"{origin}: is listed with no ETag and was written at {modified:%H:%M:%S}, too short before this listing to tell "
                    "it from an object written after it; wait a few seconds, or use a server that gives ETags"
                )
            stamp = ("", size, modified.isoformat())
        return SourceFile(name="/".join(found["path"].split("/")[fixed:]), origin=origin, size=size, stamp=stamp)


def _listed(store: ObjectStore, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Yield the objects whose keys have a prefix. obstore lists whole folders."""
    folder, _, beginning = prefix.rpartition("/")
    folders = [folder or None]
    if beginning:
        found = obstore.list_with_delimiter(store, folder or None)
        yield from (each for each in found["objects"] if each["path"].startswith(prefix))
        folders = [each for each in found["common_prefixes"] if each.startswith(prefix)]
    for each in folders:
        for page in obstore.list(store, each, chunk_size=1000):
            yield from page


def _head(store: ObjectStore, key: str) -> Mapping[str, Any] | None:
    try:
        return obstore.head(store, key)
    except FileNotFoundError:
        return None


class _ChangedError(Exception):
    """An object is gone, or has another stamp than it was pinned with."""


def _is_as_pinned(found: Mapping[str, Any], stamp: Stamp) -> bool:
    """Return whether an object has a stamp, in case the server ignores preconditions."""
    etag, size = stamp[:2]
    is_same = found["size"] == size and (not etag or not found["e_tag"] or found["e_tag"].strip('"') == etag)
    return bool(is_same and _is_as_old(found["last_modified"], stamp))


def _is_as_old(written: datetime, stamp: Stamp) -> bool:
    """Return whether an object was written in the second that its stamp states; True if the stamp has an ETag instead."""
    _, _, *modified = stamp
    return not modified or written.replace(microsecond=0) == datetime.fromisoformat(str(modified[0])).replace(microsecond=0)


def _described(etag: str | None, size: int, written: object = None) -> str:
    """Return the stamp of an object for messages."""
    tag = (etag or "").strip('"')
    when = written.strftime("%Y-%m-%d %H:%M:%S UTC") if isinstance(written, datetime) else written
    return ", ".join([*([f"ETag {tag}"] if tag else []), f"{size:,} bytes", *([f"written {when}"] if when else [])])


def _precondition(stamp: Stamp) -> dict[str, Any]:
    """Return the precondition by which a request fails if the object has changed since its listing; some servers have no ETags."""
    etag, _, *modified = stamp
    return {"if_unmodified_since": datetime.fromisoformat(str(modified[0]))} if modified else {"if_match": f'"{etag}"'}
