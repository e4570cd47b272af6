"""Error responses of object stores, as far as obstore's exceptions contain them, and their meaning for users."""

import os
import re
from dataclasses import dataclass

from obstore.exceptions import InvalidPathError, PermissionDeniedError, PreconditionError, UnauthenticatedError

from phyagi_assets.errors import AccessError, SourceChangedError, SourceError
from phyagi_assets.objects.kinds import Kind
from phyagi_assets.objects.retries import NoAnswerError, RefusedError, TransientError

_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
"""Codes of S3 and Azure for a bucket that does not exist."""
_BUSY = (
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "ServerBusy",
    "OperationTimedOut",
    "RequestTimeout",
    "ThrottlingException",
)
"""Codes of servers that are busy and may grant the same request later."""
_EXPIRED = ("ExpiredToken", "InvalidToken")
"""Codes of S3 for expired credentials; they come with the status 400."""
_MISSING_ELEMENTS = {"LastModified": "time of writing", "Size": "size", "Last-Modified": "time of writing", "Content-Length": "size"}
"""Names in messages of elements of listings and of headers that are missing."""
_REASONS = {
    "NoSuchBucket": "there is no such bucket",
    "ContainerNotFound": "there is no such container",
    "AccessDenied": "access is denied to these credentials ({credentials})",
    "AuthorizationFailure": "access is denied to these credentials ({credentials})",
    "AuthorizationPermissionMismatch": "access is denied to these credentials ({credentials})",
    "AuthenticationFailed": "the credentials are not right ({credentials})",
    "InvalidAccessKeyId": "the access key is not known ({credentials})",
    "SignatureDoesNotMatch": "the secret key is not right (AWS_PROFILE, AWS_SECRET_ACCESS_KEY, ~/.aws)",
    "AuthorizationHeaderMalformed": "the bucket is in another region (AWS_REGION, or region in ~/.aws/config)",
    "RequestTimeTooSkewed": "the clock of this machine and that of the server differ too much; set the clock right",
    "InvalidToken": "the session token is not valid; log in again (AWS_SESSION_TOKEN, {credentials})",
    "ExpiredToken": "the credentials have expired; log in again ({credentials})",
}
"""Meaning of the codes of servers; ``{credentials}`` is replaced with the sources of the credentials."""
_FOREIGN_ANSWERS = ("Got invalid list response", "Unable to extract metadata from headers")
"""Parts of obstore's messages about responses that do not come from an object store."""
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def lacks_bucket(problem: FileNotFoundError) -> bool:
    """Return whether an error of obstore is about a bucket that does not exist, and not about an object."""
    return any(code in str(problem) for code in _NO_BUCKET)


class Answer:
    """Error response of a server, as far as the text of obstore's exception contains it.

    Attributes
    ----------
    status
        HTTP status; 0 if the text has none.
    code
        Code of the error, such as ``AccessDenied``; empty if the text has none.
    message
        First line of the server's message; empty if the text has none.
    """

    def __init__(self, problem: str) -> None:
        said = problem.partition("\n\nDebug source:")[0]
        status = re.search(r"Server returned non-2xx status code: (\d{3})", said)
        self.status = int(status[1]) if status else 0
        self.code = _element("Code", said)
        self.message = _element("Message", said).partition("\n")[0]

    @property
    def is_busy(self) -> bool:
        """Whether the server may grant the same request later."""
        return self.status >= 500 or self.status in (408, 429) or self.code in _BUSY

    @property
    def has_expired(self) -> bool:
        """Whether the credentials have expired."""
        return self.code in _EXPIRED


def _element(name: str, text: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1].strip() if found else ""


def first_line(problem: Exception | str) -> str:
    """Return the first line of a message of obstore; the others are for its developers."""
    return str(problem).partition("\n")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A server of an object store, and the meaning of its errors.

    Answers of servers contain no secrets, but addresses and headers may, so these are never shown.
    """

    kind: Kind
    address: str
    """Address of the server, for messages."""
    is_signed: bool
    """Whether requests carry credentials."""
    may_grant_later: bool
    """Whether a refusal counts as transient."""

    def error(self, problem: Exception) -> Exception:
        """Return the error to raise for an exception of obstore: a transient one, or one that the user can act on."""
        text, answer = str(problem), Answer(str(problem))
        if isinstance(problem, PreconditionError | FileNotFoundError | InvalidPathError):
            return _object_error(problem, answer)
        if provider := re.search(r"External \w+ credential provider: (?:SourceError: )?(.*)", text):
            return (RefusedError if self.may_grant_later else SourceError)(provider[1])
        if answer.status or isinstance(problem, PermissionDeniedError | UnauthenticatedError):
            return self._refusal(answer)
        if kind := re.search(r"HttpError \{\s*kind: (\w+)", text):
            raised = NoAnswerError if kind[1] == "Timeout" else TransientError
            return raised(f"{self.address} cannot be reached, or broke off: {kind[1]}{_by_proxy()}")
        if isinstance(problem, OSError):
            return TransientError(f"{self.address} cannot be reached, or broke off: {type(problem).__name__}")
        return SourceError(self._misfit(text))

    def _misfit(self, text: str) -> str:
        """Return the problem with a server or its settings, given the text of an exception that is not about one request."""
        if missing := re.search(r"missing field `(\w+)`", text):
            thing = _MISSING_ELEMENTS.get(missing[1], missing[1])
            return f"objects are listed with no {thing}, so that a change could not be noticed; use a server that gives it"
        if any(part in text for part in _FOREIGN_ANSWERS):
            return self.not_an_object_store
        if "Received redirect" in text:  # by a server that does not name the region
            return _REASONS["AuthorizationHeaderMalformed"]
        said = re.sub(r"^Generic \w+ error: ", "", first_line(text))
        return f"the settings of {self.kind.name} are not valid: {said} ({self.kind.credentials})"

    def _refusal(self, answer: Answer) -> Exception:
        """Return the error for a request that the server refused."""
        if answer.is_busy:
            return TransientError(f"the server says {answer.code or answer.status}")
        is_denied, credentials = answer.status in (0, 401, 403), self.kind.credentials
        if is_denied and not self.is_signed:
            return AccessError(f"access is denied without credentials, and there are none ({credentials})")
        code = answer.code or ("AccessDenied" if is_denied else f"the server answers with the HTTP status {answer.status}")
        reason = f"{_REASONS.get(code, code).format(credentials=credentials)}: {answer.message}".rstrip(": ")
        if self.may_grant_later and (is_denied or answer.has_expired):
            return RefusedError(reason)
        return AccessError(reason) if is_denied or answer.has_expired else SourceError(reason)

    @property
    def not_an_object_store(self) -> str:
        """Message about a server that does not answer like an object store of its kind."""
        return (
            f"{self.address} does not answer as {self.kind.name} does: it may be the address of a web page, or a proxy's login page "
            f"answers instead{_by_proxy()}; check the address ({self.kind.addresses[0]}) and the network"
        )


def _object_error(problem: Exception, answer: Answer) -> SourceError:
    """Return the error for an object that is missing or has changed, or whose key is not a path."""
    if isinstance(problem, InvalidPathError):
        found = re.search(r"[Pp]ath (\".*?\")[ :]", first_line(problem))
        key = f"the key {found[1]}" if found else "a key"
        return SourceError(f"{key} is not a valid path of a file; rename it, or narrow source.path")
    changed = "the object is gone or has changed since it was listed, or its key ends in a slash; list the source again"
    return SourceError(_REASONS[answer.code]) if answer.code in _NO_BUCKET else SourceChangedError(changed)


def _by_proxy() -> str:
    """Return the variables that name proxies, for messages; empty if none is set."""
    found = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.lower())]
    return f" (by the proxy of {', '.join(found)})" if found else ""
