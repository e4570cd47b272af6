"""Turn errors of the Hub's clients into transient errors and errors that a user can act on."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from phyagi_assets.errors import AccessError, PhyagiAssetsError, SourceDownError, SourceError
from phyagi_assets.objects.retries import RefusedError, TransientError, is_disk_error

_NETWORK_ERRORS = {
    *(f"{client}.TransportError" for client in ("httpx", "httpx2")),
    *("aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError", "huggingface_hub.LocalEntryNotFoundError"),
}
"""Package and class of the exceptions that are transient."""
_SETTINGS_ERRORS = ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError")
"""Exceptions of HTTP clients for addresses and headers that they cannot use; some of them derive from network errors."""
_REFUSALS = {
    401: "the Hub refuses the token, which is wrong or has expired; log in again",
    403: "access is denied; use a token that may read the repository",
}
_GATED = "is gated; ask for access on its page, and log in (HF_TOKEN, or: hf auth login)"
_NAMED = {"dataset": "with source.revision", "model": "after the @"}
"""Where a declaration names the revision of a repository, by kind of repository."""
_REMEDY = {
    "dataset": "correct the repository, or name its files in source.path, as in hf://org/name/data/*.jsonl",
    "model": "correct the name of the tokenizer",
}
"""Remedy for a repository that cannot be loaded, by kind."""


@contextmanager
def translated(kind: str, revision: str | None = None, *, fetches: bool = False) -> Iterator[None]:
    """Turn exceptions of the Hub's clients into transient errors and errors that the user can act on.

    Parameters
    ----------
    kind
        Kind of the repository, ``dataset`` or ``model``.
    fetches
        Whether a file is being fetched, and not only looked up.
    """
    try:
        yield
    except (PhyagiAssetsError, TransientError):
        raise
    except Exception as problem:
        if fetches and is_disk_error(problem):
            raise
        answers = (_repository_error(cause, kind, revision, fetches=fetches) for cause in _causes(problem))
        error = next(filter(None, answers), None)
        raise error or _client_error(problem, kind, fetches=fetches) from None


def _repository_error(problem: BaseException, kind: str, revision: str | None, *, fetches: bool) -> Exception | None:
    """Return the error for what the Hub answered about a repository; None for any other exception."""
    from huggingface_hub import errors as hub_errors

    errors: dict[type[Exception], Exception] = {
        hub_errors.RemoteEntryNotFoundError: SourceError("a file of the repository is gone; list the source again"),
        hub_errors.RevisionNotFoundError: SourceError(f"there is no revision {revision!r}; name a branch, tag or commit {_NAMED[kind]}"),
        hub_errors.GatedRepoError: AccessError(_GATED),
        hub_errors.RepositoryNotFoundError: (AccessError if fetches else SourceError)(
            f"there is no such {kind}, or it is private and nobody is logged in (HF_TOKEN, or: hf auth login)"
        ),
        hub_errors.OfflineModeIsEnabled: SourceError("the Hub's clients are in offline mode; unset HF_HUB_OFFLINE"),
    }
    if fetches:
        gone = SourceDownError("is gone since it was listed, as when the history is rewritten; list the source again")
        errors |= dict.fromkeys((hub_errors.RemoteEntryNotFoundError, hub_errors.RevisionNotFoundError), gone)
    found = next((error for type_, error in errors.items() if isinstance(problem, type_)), None)
    return _response_error(problem.response) if found is None and isinstance(problem, hub_errors.HfHubHTTPError) else found


def _client_error(problem: Exception, kind: str, *, fetches: bool) -> Exception:
    """Return the error for an exception that the Hub's clients raised without an answer of the Hub, or because they cannot read it."""
    if any(type(cause).__name__ in _SETTINGS_ERRORS for cause in _causes(problem)):
        return SourceError(f"the Hub's address or the token is not valid (HF_ENDPOINT, HF_TOKEN): {type(problem).__name__}")
    if "is a gated dataset" in str(problem):  # `datasets` drops the causes of its exceptions
        return AccessError(_GATED)
    network_errors = [type(cause).__name__ for cause in _causes(problem) if _is_network_error(cause)]
    network_errors += [name for name in ("LocalEntryNotFoundError",) if name in str(problem)]
    if network_errors:
        return TransientError(f"cannot be reached, or broke off: {network_errors[0]}")
    if is_disk_error(problem) and not fetches:
        return SourceError(f"the Hub's client cannot use its cache ({problem}); free some space, or set HF_HOME to a writable folder")
    first_line = next(iter(str(problem).splitlines()), "").partition(" with any supported extension")[0]
    if fetches and isinstance(problem, OSError):  # the client compares the size of what arrived
        return TransientError(first_line)
    unusable = f"the {kind} cannot be loaded: {type(problem).__name__}: {first_line}; {_REMEDY[kind]}"
    return SourceError(answered_by_page(problem) or unusable)


def answered_by_page(problem: BaseException) -> str:
    """Return a message if an exception was caused by a web page in place of the Hub's response; else an empty string."""
    if any(isinstance(cause, json.JSONDecodeError) and cause.doc.lstrip().startswith("<") for cause in _causes(problem)):
        return "the Hub's address answers with a web page, as a proxy's login page does; check the address (HF_ENDPOINT) and the network"
    return ""


def _response_error(response: Any) -> Exception:
    """Return the error for a response of the Hub, which is None if the client did not keep it."""
    status, headers = (500, {}) if response is None else (response.status_code, response.headers)
    if status == 403 and any(request.url.host != response.url.host for request in response.history):
        # The Hub has granted access: its signed address may have expired.
        return RefusedError("the server to which the Hub redirects answers 403; check the clock of this machine and its proxy")
    if reason := _REFUSALS.get(status):
        return AccessError(f"{reason} (HF_TOKEN, or: hf auth login)")
    if status < 500 and status not in (408, 429):
        return SourceError(f"the Hub answers {status}")
    retry_after = str(headers.get("Retry-After", ""))
    wait = float(retry_after) if retry_after.isdecimal() else 0.0
    return TransientError(f"the Hub answers {status}" + (f" and asks to wait {wait:,.0f} s" if wait else ""), wait=wait)


def _causes(problem: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and the chain of exceptions that caused it."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)


def _is_network_error(problem: BaseException) -> bool:
    """Return whether an exception is about a connection or a time limit, for any HTTP client that the Hub's libraries use."""
    is_of_client = any(f"{kind.__module__.partition('.')[0]}.{kind.__name__}" in _NETWORK_ERRORS for kind in type(problem).__mro__)
    return is_of_client or isinstance(problem, ConnectionError | TimeoutError)
