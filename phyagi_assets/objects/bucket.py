"""A folder of a bucket: requests are retried, transfers are verified, and errors name the folder.

A transfer is verified by the checksum that the caller has of the content. Files are uploaded in parts; an upload that
breaks off leaves no object.
"""

import hashlib
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar

import obstore
import xxhash
from obstore.exceptions import AlreadyExistsError
from obstore.store import ObjectStore

from phyagi_assets.errors import SourceDownError, SourceError, StoreError
from phyagi_assets.objects.answers import lacks_bucket
from phyagi_assets.objects.clients import Clients
from phyagi_assets.objects.kinds import SCHEMES
from phyagi_assets.objects.retries import RetryPolicy, TransientError, is_disk_error

Result = TypeVar("Result")

_PART = 8 << 20
"""Smallest size of a part of a multipart upload, in bytes."""
_MOST_PARTS = 9_000
"""Largest number of parts; S3 allows 10,000."""
_MOST_COPIED = 5_000_000_000
"""Size of the largest object that S3 copies in one request, in bytes."""
_ETAG = re.compile(r"[0-9a-f]{32}(-\d+)?")
"""Pattern of the ETags that are checksums of the content."""
_REMEDY = "; the store is named with --store or $PHYAGI_ASSETS_STORE"
_REMOVED = (
    "it is gone; phyagi-assets clean removes versions that no published plan names: open the published plan of the mixture, or materialize "
    "it again"
)
_CHUNK = 1 << 20
_STREAMED = 1 << 18
"""Number of bytes of a part to write to a file at once: few enough to stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredObject:
    """One object of a listing."""

    key: str
    """Key, relative to the folder."""
    size: int
    """Size, in bytes."""
    e_tag: str
    """ETag of the object; it changes with the content."""
    written: datetime
    """Time of writing, by the server's clock."""

    @property
    def has_checksum(self) -> bool:
        """Whether the ETag looks like a checksum of the content."""
        return _ETAG.fullmatch(self.e_tag) is not None


@dataclass(frozen=True, slots=True)
class BucketFolder:
    """The objects of a bucket whose keys begin with a prefix. It can be pickled.

    Parameters
    ----------
    address
        Address of the folder, such as ``s3://bucket/prefix``.
    named
        Address that messages name; by default, that of the folder.
    read_timeout
        Time without a byte of an answer after which a request is tried again, in seconds.
    waits_for_access
        Whether a request that is refused after another was granted is tried again.
    """

    address: str
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    named: str = ""
    read_timeout: float = 60.0
    waits_for_access: bool = False
    _clients: Clients = field(init=False, repr=False, compare=False)
    """Clients that the folders inside share."""

    def __post_init__(self) -> None:
        self._share(Clients(self._scheme, self.read_timeout, waits_for_access=self.waits_for_access))

    def _share(self, clients: Clients) -> None:
        object.__setattr__(self, "_clients", clients)

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketFolder, (self.address, self.retry_policy, self.named, self.read_timeout, self.waits_for_access)

    @property
    def _scheme(self) -> str:
        return next(scheme for scheme in SCHEMES if self.address.startswith(scheme))

    @property
    def _place(self) -> tuple[str, str]:
        """Name of the bucket, and the prefix without a slash at its end."""
        bucket, _, prefix = self.address.removeprefix(self._scheme).partition("/")
        return bucket, prefix.strip("/")

    def folder(self, name: str) -> "BucketFolder":
        """Return a folder inside this one, which shares its clients and its name in messages."""
        inner = replace(self, address=f"{self.address.rstrip('/')}/{name}", named=self.named or self.address)
        inner._share(self._clients)
        return inner

    def list(self, prefix: str = "") -> list[StoredObject]:
        """List all objects in a folder inside this one; one request returns up to 1,000 of them."""
        whole = self._key(prefix)

        def listed(client: ObjectStore) -> list[StoredObject]:
            return [self._object(found) for page in obstore.list(client, whole or None, chunk_size=1000) for found in page]

        return self._retried("cannot be listed", lambda clients: clients.listed(self._place[0], listed), lists=True)

    def _object(self, found: Any) -> StoredObject:
        key = found["path"].removeprefix(f"{self._place[1]}/") if self._place[1] else found["path"]
        return StoredObject(key=key, size=found["size"], e_tag=_e_tag(found), written=found["last_modified"])

    def read(self, key: str) -> bytes | None:
        """Return the content of an object, or None if it does not exist."""

        def content(client: ObjectStore) -> bytes | None:
            try:
                return bytes(obstore.get(client, self._key(key)).bytes())
            except FileNotFoundError as problem:
                if lacks_bucket(problem):
                    raise
                return None

        return self._ask(key, "cannot be read", content)

    def read_range(self, key: str, start: int, stop: int) -> tuple[bytes, int]:
        """Read a part of an object.

        Parameters
        ----------
        start, stop
            First byte, and the byte after the last one.

        Returns
        -------
        content : bytes
            The part, which is shorter where the object ends before `stop`.
        size : int
            Size of the whole object, in bytes.

        Raises
        ------
        StoreError
            The object does not exist, ends before `start`, or cannot be read.
        """

        def content(client: ObjectStore) -> tuple[bytes, int]:
            found = obstore.get(client, self._key(key), options={"range": (start, stop)})
            part = bytes(found.bytes())
            _require_part(key, len(part), start, stop, found.meta["size"])
            return part, found.meta["size"]

        return self._ask(key, f"{key} cannot be read", content, gone=_REMOVED)

    def download_range(self, key: str, start: int, stop: int, path: Path) -> int:
        """Download a part of an object to a file, and return the size of the whole object, in bytes; see `read_range`.

        Raises
        ------
        OSError
            The file cannot be written.
        """

        def get(client: ObjectStore) -> int:
            found, read = obstore.get(client, self._key(key), options={"range": (start, stop)}), 0
            with path.open("r+b", buffering=0) as file:  # not truncated: ext4 would write it to the disk at once
                for chunk in found.stream(min_chunk_size=_STREAMED):
                    read += len(chunk)
                    _write_all(file, memoryview(chunk))
            _require_part(key, read, start, stop, found.meta["size"])
            return found.meta["size"]

        return self._ask(key, f"{key} cannot be read", get, gone=_REMOVED)

    def create(self, key: str, content: bytes) -> bool:
        """Create an object unless it exists, in one step, and return whether it was created."""

        def created(client: ObjectStore) -> bool:
            try:
                obstore.put(client, self._key(key), content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        return self._ask(key, "cannot be written", created)

    def write(self, key: str, content: bytes) -> None:
        """Write a small object, and replace the one that exists."""
        self._ask(key, "cannot be written", lambda client: obstore.put(client, self._key(key), content, use_multipart=False))

    def write_verified(self, key: str, content: bytes) -> StoredObject:
        """Write a small object as `write` does, verify what was stored, and return the object."""
        tag = hashlib.md5(content, usedforsecurity=False).hexdigest()

        def put(client: ObjectStore) -> StoredObject:
            etag = _e_tag(obstore.put(client, self._key(key), content, use_multipart=False))
            if etag != tag and bytes(obstore.get(client, self._key(key)).bytes()) != content:
                raise TransientError("what was stored differs from what was sent")
            return StoredObject(key=key, size=len(content), e_tag=etag, written=datetime.now(UTC))

        return self._ask(key, "cannot be written", put)

    def upload(self, path: Path, key: str, checksum: str, there: StoredObject | None = None) -> StoredObject:
        """Upload a file, unless it is there already, verify what was stored, and return the object.

        Parameters
        ----------
        key
            Key of the object, which is replaced if it exists.
        checksum
            XXH3-128 of the content that the file must have, as 32 hexadecimal digits.
        there
            The object that has the key now.

        Raises
        ------
        StoreError
            The file has another content, or the object cannot be written.
        """
        size = path.stat().st_size
        part = max(_PART, -(-size // _MOST_PARTS))
        found, tag = _checksums(path, part)
        if found != checksum:
            raise StoreError(f"{path}: its content is not what was written (checksum differs); remove it, and materialize again")
        if there and there.size == size and there.e_tag == tag:
            return there

        def put(client: ObjectStore) -> StoredObject:
            etag = _e_tag(obstore.put(client, self._key(key), path, use_multipart=size > part, chunk_size=part, max_concurrency=4))
            is_stored = etag == tag or (not _ETAG.fullmatch(etag) and obstore.head(client, self._key(key))["size"] == size)
            # The ETag of an encrypted object says nothing about its content.
            if not is_stored and self._digest(client, key) != checksum:
                raise TransientError("what was stored differs from what was sent")
            return StoredObject(key=key, size=size, e_tag=etag, written=datetime.now(UTC))

        return self._ask(key, "cannot be written", put)

    def copy(self, key: str, target: "BucketFolder", to: str, size: int) -> bool:
        """Let the server copy an object.

        Parameters
        ----------
        size
            Size that the content must have, in bytes.

        Returns
        -------
        bool
            False if the object is so large that servers refuse to copy it in one request.

        Raises
        ------
        StoreError
            The object does not exist or has another size, or cannot be copied.
        """
        if size > _MOST_COPIED:
            return False

        def copy(client: ObjectStore) -> None:
            obstore.copy(client, self._key(key), target._key(to))
            if (found := obstore.head(client, target._key(to))["size"]) != size:
                raise TransientError(f"{key}: was copied with {found:,} bytes, and {size:,} were written")

        self._ask(key, f"{key} cannot be copied", copy)
        return True

    def download(self, key: str, path: Path, size: int, checksum: str) -> None:
        """Download an object to a file that appears when it is complete and verified.

        Parameters
        ----------
        checksum
            XXH3-128 of the content, as 32 hexadecimal digits.

        Raises
        ------
        StoreError
            The object does not exist, cannot be read, or has another content.
        """
        draft = path.with_name(f".{uuid.uuid4().hex}.part")
        received: set[tuple[int, str]] = set()

        def get(client: ObjectStore) -> None:
            state, read = xxhash.xxh3_128(), 0
            with draft.open("wb") as file:
                for chunk in _streamed(client, self._key(key)):
                    file.write(chunk)
                    state.update(chunk)
                    read += len(chunk)
            content = read, state.hexdigest()
            if content in received:
                raise SourceError(f"{key}: its content is not what was written (checksum differs)")
            if content != (size, checksum):
                received.add(content)
                raise TransientError(f"{key}: the {read:,} bytes that came are not the {size:,} that were written (checksum differs)")

        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._ask(key, "cannot be read", get)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def digest(self, key: str) -> str:
        """Return the XXH3-128 of the content of an object, as 32 hexadecimal digits. The object is read but not kept."""
        return self._ask(key, "cannot be read", lambda client: self._digest(client, key))

    def _digest(self, client: ObjectStore, key: str) -> str:
        state = xxhash.xxh3_128()
        for chunk in _streamed(client, self._key(key)):
            state.update(chunk)
        return state.hexdigest()

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects. An object that does not exist is ignored."""
        found = [self._key(key) for key in keys]

        def delete(client: ObjectStore) -> None:
            try:
                obstore.delete(client, found)
            except FileNotFoundError:
                for key in found:
                    try:
                        obstore.delete(client, key)
                    except FileNotFoundError:
                        continue

        if found:
            self._ask("", "an object cannot be deleted", delete)

    def _key(self, key: str) -> str:
        return "/".join(part for part in (self._place[1], key) if part)

    def _ask(self, key: str, what: str, action: Callable[[ObjectStore], Result], gone: str = "") -> Result:
        """Apply a function to the client, with retries. Errors name the folder, and say what to do if the object is gone."""

        def named(client: ObjectStore) -> Result:
            try:
                return action(client)
            except FileNotFoundError as problem:
                if lacks_bucket(problem) or is_disk_error(problem):
                    raise
                raise SourceError(gone or f"{key} is gone: another command removed it; run the command again") from None

        return self._retried(what, lambda clients: clients.ask(self._place[0], named))

    def _retried(self, what: str, action: Callable[[Clients], Result], *, lists: bool = False) -> Result:
        what = f"{self.named or self.address}: {what}"
        try:
            return self._clients.with_retries(self.retry_policy, what, lambda: action(self._clients), lists=lists)
        except SourceDownError as problem:
            raise StoreError(f"{problem}") from None
        except SourceError as problem:
            raise StoreError(f"{problem}{_REMEDY}") from None


def _e_tag(answer: Any) -> str:
    return (answer["e_tag"] or "").strip('"')


def _streamed(client: ObjectStore, key: str) -> Iterator[bytes]:
    for chunk in obstore.get(client, key).stream(min_chunk_size=_CHUNK):
        yield bytes(chunk)


def _require_part(key: str, size: int, start: int, stop: int, whole: int) -> None:
    """Check the size of a received part of an object, given the size of the whole object."""
    if size != min(stop, whole) - start:
        raise TransientError(f"{key}: {size:,} bytes arrived, and {stop - start:,} were requested")


def _write_all(file: FileIO, content: memoryview) -> None:
    while content:
        content = content[file.write(content) :]


def _checksums(path: Path, part: int) -> tuple[str, str]:
    """Return the XXH3-128 of a file, and the ETag that S3 gives to it if it is uploaded in parts of a size."""
    state, tags = xxhash.xxh3_128(), []
    with path.open("rb", buffering=0) as file:
        for _ in range(0, max(path.stat().st_size, 1), part):
            digest, left = hashlib.md5(usedforsecurity=False), part
            while left and (chunk := file.read(min(_CHUNK, left))):
                state.update(chunk)
                digest.update(chunk)
                left -= len(chunk)
            tags.append(digest)
    if len(tags) == 1:
        return state.hexdigest(), tags[0].hexdigest()
    joined = hashlib.md5(b"".join(tag.digest() for tag in tags), usedforsecurity=False).hexdigest()
    return state.hexdigest(), f"{joined}-{len(tags)}"
