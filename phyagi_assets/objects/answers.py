"""Answers of object stores to requests that failed, as far as the exceptions of obstore tell them, and their meaning for users."""

import re

NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
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
"""Codes of servers that may grant the same request later."""
_EXPIRED = ("ExpiredToken", "InvalidToken")
"""Codes of S3 for credentials that are not valid any more; they come with the status 400."""
ELEMENTS = {"LastModified": "time of writing", "Size": "size", "Last-Modified": "time of writing", "Content-Length": "size"}
"""Names in messages of elements of listings and of headers that are missing."""
REASONS = {
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
"""Meaning of the codes of servers; ``{credentials}`` stands for where the credentials come from."""
OF_PAGES = ("Got invalid list response", "Unable to extract metadata from headers")
"""Parts of obstore's messages about answers that no object store gives."""


def lacks_bucket(problem: FileNotFoundError) -> bool:
    """Return whether an error of obstore is about a bucket that does not exist, and not about an object."""
    return any(code in str(problem) for code in NO_BUCKET)


class Answer:
    """Answer of a server to a request that failed, as far as the text of obstore's exception has it.

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
        """Whether the credentials were valid, and are not any more."""
        return self.code in _EXPIRED


def _element(name: str, text: str) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return found[1].strip() if found else ""


def first_line(problem: Exception | str) -> str:
    """Return the first line of a message of obstore; the others are for its developers."""
    return str(problem).partition("\n")[0]
