"""Clients of object stores.

Credentials, endpoints and regions come from the usual places: the environment, the profile files of AWS, the application default
credentials of Google, or the role of the machine. This package never handles them itself.
"""

import os
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store

from phyagi_assets.errors import SourceError, redacted
from phyagi_assets.objects.answers import Answer, Server, first_line
from phyagi_assets.objects.aws_profiles import S3Settings, s3_endpoint, s3_settings
from phyagi_assets.objects.kinds import AZURE, GCS, KINDS, S3
from phyagi_assets.objects.outage import Outage
from phyagi_assets.objects.retries import RetryPolicy, is_disk_error

Result = TypeVar("Result")

_CLIENT: dict[str, Any] = {
    "allow_http": True,  # only if the address of a server says so: the default addresses do not
    "connect_timeout": timedelta(seconds=10),
    "timeout": timedelta(days=7),  # of a whole transfer, which may be large; one that stalls ends by the read timeout
}
_RETRIES: dict[str, Any] = {"max_retries": 0}  # the retry policy repeats requests, not obstore
_ROLES = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_FIRST_SILENCES = 2
"""Number of attempts without an answer after which a listing is given up, if the server has never answered."""
_ABSENT = ".phyagi-assets-asks-whether-this-is-an-object-store"
"""Key that no object has."""
_ROLE_ADDRESS = re.compile(r"\bhttp://[^/\s]+/(?:latest/(?:api/token|meta-data/iam)|computeMetadata/|metadata/identity/)")
"""Address of the credentials of a machine's role."""


class Clients:
    """Clients for buckets, made when they are first used.

    Requests carry no credentials if there are none, because public objects need none.

    Parameters
    ----------
    scheme
        The scheme of the kind of object store, one of `SCHEMES`.
    read_timeout
        Time without a byte of an answer after which a request is given up, in seconds.
    waits_for_access
        Whether a refusal counts as transient once another request was granted, as when credentials expire before they are renewed.
    """

    def __init__(self, scheme: str, read_timeout: float = 60.0, *, waits_for_access: bool = False) -> None:
        self._kind = KINDS[scheme]
        self._waits_for_access = waits_for_access
        self._outage = Outage()
        self._options = _CLIENT | {"read_timeout": timedelta(seconds=read_timeout)}
        self._stores: dict[str, ObjectStore] = {}
        self._regions: dict[str, str] = {}
        self._found: set[str] = set()
        """Buckets that have answered a listing."""
        self._is_signed = os.environ.get(self._kind.unsigned, "").lower() not in ("true", "1", "yes", "on", "y", "t")
        self._lock = Lock()

    def ask(self, bucket: str, action: Callable[[ObjectStore], Result]) -> Result:
        """Apply a function to the client of a bucket.

        Parameters
        ----------
        action
            The function. It is called again if the answer shows that the machine has no role or the bucket is in another region, or if the
            credentials are refused and the files or the ``credential_process`` of AWS may give new ones.

        Raises
        ------
        SourceError
            The settings are not valid, or the request was refused.
        TransientError
            The server is down or busy, or the connection broke off.
        """
        with self._outage.watched(), self.translated():
            store = self._store(bucket)
            try:
                return action(store)
            except BaseError as problem:
                with self._lock:
                    if not self._is_settled(bucket, store, str(problem)):
                        raise
                return action(self._store(bucket))

    def with_retries(self, policy: RetryPolicy, what: str, action: Callable[[], Result], *, lists: bool = False) -> Result:
        """Run an action that makes requests, and retry it as `RetryPolicy.with_retries` does, but only once in a long outage.

        Parameters
        ----------
        lists
            Whether the action lists objects. It is given up after a few attempts without an answer if the server has never answered.
        """
        silences = _FIRST_SILENCES if lists and not self._outage.has_answered else None
        return self._outage.shortened(policy).with_retries(what, action, silences=silences)

    def listed(self, bucket: str, action: Callable[[ObjectStore], list[Result]]) -> list[Result]:
        """Apply a function that lists objects to the client of a bucket. If there are none, verify that the server is an object store.

        A login page, or a proxy that answers with a page, would otherwise look like an empty bucket.

        Raises
        ------
        SourceError, TransientError
            As in `ask`; or the server is not an object store.
        """
        found = self.ask(bucket, action)
        if not found and bucket not in self._found:
            self.ask(bucket, self._require_object_store)
        self._found.add(bucket)
        return found

    def _require_object_store(self, store: ObjectStore) -> None:
        """Request an object that does not exist; a server that is not an object store answers this with a page too."""
        with suppress(FileNotFoundError, PermissionDeniedError, UnauthenticatedError):
            obstore.head(store, _ABSENT)
            raise SourceError(self._server.not_an_object_store)

    def time(self) -> datetime:
        """Return the time by the server's clock, or the earliest possible time if the server does not state it."""
        try:
            return parsedate_to_datetime(_headers(self._address)["date"]).replace(tzinfo=UTC)  # HTTP has no other zone
        except (ValueError, TypeError):
            return datetime.min.replace(tzinfo=UTC)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn exceptions of obstore into transient errors and errors that the user can act on."""
        try:
            yield
        except (BaseError, OSError, ValueError) as problem:
            if is_disk_error(problem):
                raise
            raise self._server.error(problem) from None

    def _is_settled(self, bucket: str, store: ObjectStore, problem: str) -> bool:
        """Return whether a new client avoids a problem: the machine has no role, the credentials changed, or the region is now known."""
        if self._stores.get(bucket) is not store:  # settled by another thread
            return True
        if self._is_signed and _ROLE_ADDRESS.search(first_line(problem)):
            self._is_signed = False
            self._stores.clear()
            return True
        answer = Answer(problem)
        if (answer.status in (401, 403) or answer.has_expired) and self._has_other_credentials():
            self._stores.clear()
            return True
        is_in_other_region = "Received redirect" in problem or "AuthorizationHeaderMalformed" in problem
        if self._kind is S3 and is_in_other_region and bucket not in self._regions:
            region = _headers(f"{self._address or 'https://s3.amazonaws.com'}/{bucket}").get("x-amz-bucket-region")
            if region:
                self._regions[bucket] = region
                self._stores.pop(bucket, None)
            return bool(region)
        return False

    def _has_other_credentials(self) -> bool:
        """Read the files of AWS again, and return whether they contain other credentials, or name a process that may give them."""
        if self._kind is not S3 or not self._is_signed:
            return False
        with suppress(SourceError):  # a file is being written
            found = s3_settings()
            if found.config != self._profile.config or found.credential_provider:
                self._profile = found
                return True
        return False

    def _store(self, bucket: str) -> ObjectStore:
        with self._lock:
            if bucket not in self._stores:
                self._stores[bucket] = self._opened(bucket)
            return self._stores[bucket]

    def _opened(self, bucket: str) -> ObjectStore:
        address = self._address
        config: dict[str, Any] = {} if self._is_signed else {"skip_signature": True}
        config |= {"client_options": self._options, "retry_config": _RETRIES}
        if self._kind is GCS:
            return GCSStore(bucket, **config | ({"base_url": address} if address else {}))
        if self._kind is AZURE:
            return AzureStore(bucket, **config)
        region = {"region": self._regions[bucket]} if bucket in self._regions else {}
        provider: Any = self._profile.credential_provider if self._is_signed else None
        if bundle := os.environ.get("AWS_CA_BUNDLE"):
            config["client_options"] = self._options | {"root_certificate": _read(bundle)}
        return S3Store(bucket, **config | dict(self._profile.config) | region, credential_provider=provider)

    @cached_property
    def _profile(self) -> S3Settings:
        settings = s3_settings()
        has_role = any(os.environ.get(name) for name in _ROLES)
        is_known = settings.credential_provider or "access_key_id" in settings.config or os.environ.get("AWS_ACCESS_KEY_ID") or has_role
        if not is_known and os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
            self._is_signed = False
        return settings

    @property
    def _server(self) -> Server:
        """The server, as its errors describe it."""
        try:
            address = redacted(self._address)
        except SourceError:
            address = ""
        return Server(
            kind=self._kind,
            address=address or f"the server of {self._kind.name}",
            is_signed=self._is_signed,
            may_grant_later=self._waits_for_access and self._outage.has_answered,
        )

    @cached_property
    def _address(self) -> str:
        """Address of the server, or an empty string if it is the default one."""
        if self._kind is S3:
            name, address = S3.addresses[0], s3_endpoint(self._profile)
        else:
            name, address = next(((name, found) for name in self._kind.addresses if (found := os.environ.get(name))), ("", ""))
        if name == "STORAGE_EMULATOR_HOST":
            self._is_signed = False
            address = address if "://" in address else f"http://{address}"
        try:
            parts = urlsplit(address)
            is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"\s", address)
        except ValueError:
            is_valid = False
        if address and not is_valid:
            raise SourceError(
                f"the settings of {self._kind.name} are not valid: {name} is not the address of a server, such as https://host:9000"
            )
        return address.rstrip("/")


def _read(bundle: str) -> bytes:
    try:
        return Path(bundle).read_bytes()
    except OSError as problem:
        raise SourceError(f"AWS_CA_BUNDLE: {bundle} cannot be read: {problem.strerror}") from None


def _headers(address: str) -> Message:
    """Return the headers of a server's response to a request for an address, whether or not it grants the request."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=10) as answer:
            return answer.headers  # type: ignore[no-any-return]
    except urllib.error.HTTPError as refused:
        return refused.headers
    except (OSError, ValueError):
        return Message()
