"""Sources in S3 and in other object stores with its protocol.

Credentials, endpoint and region come from the usual places: the environment (``AWS_PROFILE``, ``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL`` …), the profile files, or the role of the machine. This package never handles them itself.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.files import LeftOut, Listing, SourceFile, Stamp
from phyagi_assets.sources.globs import Glob, fixed_prefix, is_glob
from phyagi_assets.sources.retries import RetryPolicy, TransientError
from phyagi_assets.sources.transfer import Checksum, Fetched, OnBytes, append_chunks

SCHEME = "s3://"

_MD5 = re.compile(r"[0-9a-f]{32}")
_CHUNK = 1 << 20
_SECONDS = 60
_CONNECTIONS = 64
"""Largest number of open connections, more than the number of parallel transfers."""
_QUIET = timedelta(seconds=2)
"""Shortest time between the writing and the listing of an object without an ETag. Servers report the time of writing in seconds, so that
two objects written to one key within the same second cannot be told apart."""
_GONE = ("404", "NoSuchKey", "412", "PreconditionFailed")
_BUSY = ("SlowDown", "InternalError", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed", "ThrottlingException")


class S3:
    """Client that lists and fetches the objects of buckets.

    Parameters
    ----------
    retry_policy
        How requests to servers are retried.
    """

    def __init__(self, retry_policy: RetryPolicy) -> None:
        self._retry_policy = retry_policy

    def files(self, corpus: Corpus, declared: str) -> Listing:
        """List the objects that a glob matches.

        Parameters
        ----------
        corpus
            The corpus.
        declared
            Declared path, ``s3://bucket/glob``.

        Raises
        ------
        DeclarationError
            The path names no bucket or no objects, its glob is not valid, or the glob matches nothing.
        SourceError
            The bucket cannot be listed.
        """
        bucket, _, pattern = declared.removeprefix(SCHEME).partition("/")
        if not bucket or not pattern or pattern.endswith("/"):
            raise corpus.error(
                f"{declared!r} names no objects; name them, as in s3://{bucket or 'bucket'}/folder/*.jsonl", "source", "path"
            )
        if not is_glob(pattern):
            raise corpus.error(f"{declared!r} is not a valid glob: '**' must be a whole part, as in s3://bucket/**/*.txt", "source", "path")
        glob, prefix = Glob(pattern), fixed_prefix(pattern)
        objects, files = self._retry_policy.with_retries(f"{SCHEME}{bucket}/{prefix}", lambda: self._matching(bucket, prefix, glob))
        left_out = tuple(
            LeftOut(origin=f"{SCHEME}{bucket}/{found['Key']}", reason=reason)
            for found in objects
            if (reason := glob.left_out(found["Key"]))
        )
        if not files:
            also = f"; {len(left_out)} left out, such as {left_out[0].origin} ({left_out[0].reason})" if left_out else ""
            raise corpus.error(f"no object matches {declared}{also}", "source", "path")
        return Listing(files=files, left_out=left_out)

    def _matching(self, bucket: str, prefix: str, glob: Glob) -> tuple[list[dict[str, Any]], tuple[SourceFile, ...]]:
        """List the objects with a prefix; return them, and the files for those that match."""
        objects, files = [], []
        with _translated(self._is_signed):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                for found in page.get("Contents", ()):
                    if found["Key"].endswith("/") and found.get("Size") == 0:  # a placeholder for a folder, made by a console
                        continue
                    objects.append(found)
                    if glob.matches(found["Key"]):
                        files.append(_file(bucket, found, glob.fixed, _date(page)))
        return objects, tuple(files)

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch an object, or the rest of it if an earlier attempt fetched the beginning.

        Parameters
        ----------
        file
            The object as listed.
        folder
            Folder for this object alone.
        on_bytes
            Called with the numbers of bytes that arrive.

        Raises
        ------
        SourceError
            The object cannot be read, or has changed since it was listed.
        TransientError
            The transfer broke off.
        """
        bucket, _, key = file.origin.removeprefix(SCHEME).partition("/")
        version = _precondition(file)
        checksum, encoding = None, ""

        def chunks(start: int) -> Iterator[bytes]:
            nonlocal checksum, encoding
            with _translated(self._is_signed):
                answer = self._client.get_object(Bucket=bucket, Key=key, Range=f"bytes={start}-", **version)
                _require_as_listed(file, answer)
                checksum, encoding = _checksum(str(file.stamp[0]), answer), answer.get("ContentEncoding", "")
                yield from answer["Body"].iter_chunks(_CHUNK)

        path = append_chunks(folder / "object", file.size, chunks, on_bytes)
        return Fetched(path=path, checksum=checksum, encoding=encoding)

    @cached_property
    def _client(self) -> Any:
        try:
            from botocore import UNSIGNED
            from botocore.config import Config
        except ImportError:
            raise SourceError("sources in S3 need botocore: pip install 'phyagi-assets[s3]'") from None
        try:
            credentials = self._session.get_credentials()
            signed = {} if credentials else {"signature_version": UNSIGNED}  # public objects need no credentials
            retries = {"mode": "standard", "total_max_attempts": 1}  # the retry policy repeats requests, not botocore
            config = Config(retries=retries, connect_timeout=10, read_timeout=_SECONDS, max_pool_connections=_CONNECTIONS, **signed)
            return self._session.create_client("s3", config=config)
        except ValueError as problem:
            raise SourceError(f"the settings of S3 are not valid: {problem} (AWS_ENDPOINT_URL, AWS_PROFILE, ~/.aws)") from None

    @cached_property
    def _session(self) -> Any:
        import botocore.session

        return botocore.session.get_session()

    def _is_signed(self) -> bool:
        return self._session.get_credentials() is not None


def _file(bucket: str, found: Mapping[str, Any], fixed: int, listed: datetime) -> SourceFile:
    """Return a listed object as a source file; `listed` is the time of the listing by the server's clock."""
    origin, etag, modified = f"{SCHEME}{bucket}/{found['Key']}", found.get("ETag", "").strip('"'), found.get("LastModified")
    if "Size" not in found or (not etag and modified is None):
        missing = "size" if "Size" not in found else "ETag and no time of writing"
        raise SourceError(f"{origin}: is listed with no {missing}, so that a change could not be noticed; use a server that gives both")
    stamp: Stamp = (etag, found["Size"])
    if not etag and modified is not None:
        if modified + _QUIET > listed:
            raise TransientError(
                f"{origin}: is listed with no ETag and was written at {modified:%H:%M:%S}, too short before this listing to tell "
                "it from an object written after it; wait a few seconds, or use a server that gives ETags"
            )
        stamp = ("", found["Size"], modified.isoformat())
    name = "/".join(found["Key"].split("/")[fixed:])
    return SourceFile(name=name, origin=origin, size=found["Size"], stamp=stamp)


def _date(page: Mapping[str, Any]) -> datetime:
    """Return the time of a server's answer by the server's clock, or the earliest possible time if the answer does not tell."""
    try:
        return parsedate_to_datetime(page["ResponseMetadata"]["HTTPHeaders"]["date"]).replace(tzinfo=UTC)  # HTTP has no other zone
    except (KeyError, ValueError):
        return datetime.min.replace(tzinfo=UTC)


def _precondition(file: SourceFile) -> dict[str, str]:
    """Return the precondition of a request that excludes objects that changed since their listing; some servers have no ETags."""
    etag, _, *modified = file.stamp
    return {"IfUnmodifiedSince": str(modified[0])} if modified else {"IfMatch": f'"{etag}"'}


def _require_as_listed(file: SourceFile, answer: Mapping[str, Any]) -> None:
    """Refuse an object without an ETag that was written after its listing, in case the server ignores the precondition."""
    _, _, *modified = file.stamp
    found = answer.get("LastModified")
    if modified and (found is None or found.replace(microsecond=0) != datetime.fromisoformat(str(modified[0])).replace(microsecond=0)):
        raise SourceError("GetObject: the object is another than was listed; list the source again")


def _checksum(etag: str, answer: Mapping[str, Any]) -> Checksum | None:
    """Return the MD5 that an ETag holds if the object was uploaded in one part and not encrypted with a user's key, else None."""
    is_plain = answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
    return Checksum(algorithm="md5", value=etag) if is_plain and _MD5.fullmatch(etag) else None


@contextmanager
def _translated(is_signed: Callable[[], bool]) -> Iterator[None]:
    """Turn exceptions of botocore into transient errors and errors that the user can act on.

    Messages of botocore contain no secrets, but headers do, so headers are never shown.

    Parameters
    ----------
    is_signed
        Function that returns whether requests carry credentials.
    """
    from botocore import exceptions as raised
    from urllib3.exceptions import HTTPError

    broken = (raised.ConnectionError, raised.HTTPClientError, raised.IncompleteReadError, HTTPError, OSError)
    try:
        yield
    except raised.ClientError as problem:
        code, status = problem.response["Error"]["Code"], problem.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if status >= 500 or status == 429 or code in _BUSY:
            raise TransientError(f"the server says {code}") from None
        if code in _GONE:
            raise SourceError(f"{problem.operation_name}: the object is gone or another than was listed; list the source again") from None
        if code == "AccessDenied" and not is_signed():
            raise SourceError(f"access is denied without credentials, and there are none ({_CREDENTIALS})") from None
        raise SourceError(f"{_REASONS.get(code, code)}: {problem.response['Error'].get('Message', '')}".rstrip(": ")) from None
    except broken as problem:
        raise TransientError(f"cannot be reached, or broke off: {type(problem).__name__}") from None
    except raised.BotoCoreError as problem:
        raise SourceError(f"the settings of S3 are not right: {problem}") from None


_CREDENTIALS = "AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws"

_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "AccessDenied": f"access is denied to these credentials ({_CREDENTIALS})",
    "InvalidAccessKeyId": f"the access key is not known ({_CREDENTIALS})",
    "SignatureDoesNotMatch": "the secret key is not right (AWS_PROFILE, AWS_SECRET_ACCESS_KEY, ~/.aws)",
    "ExpiredToken": f"the credentials have expired; log in again ({_CREDENTIALS})",
}
