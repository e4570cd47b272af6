"""Errors that the user can correct, one class per kind of cause.

Every message says what was found and where, and what would be right. The command and the Dagster assets catch
:class:`PhyagiAssetsError`; any other exception is a bug in this package.
"""

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from phyagi_assets.formatting import one_line

EXTRAS = {"torch": "train", "omegaconf": "config", "ray": "ray"} | dict.fromkeys(
    (
        "awkward",
        "dagster",
        "dagster_shared",
        "datasets",
        "fastokens",
        "gigatoken",
        "huggingface_hub",
        "jinja2",
        "regex",
        "tokenizers",
        "tqdm",
        "transformers",
    ),
    "pipeline",
)
"""Extra of the project that installs each optional package, by the name under which it is imported."""

_TOO_MANY = {errno.EMFILE, errno.ENFILE}
"""Error numbers of a limit on open files."""
_CREDENTIALS = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*:/{1,2})(?:[^\s@/:'\"]*:[^\s'\"]*|[^\s@/'\"]+)@")
_QUERY = re.compile(r"(?i)\b((?:https?|ftps?):/{1,2}[^\s'\"?]*)\?[^\s'\"]+")


def redacted(text: str) -> str:
    """Return a text without the credentials in its URLs: user and password before an ``@``, and the queries of web addresses.

    A path that has lost one of the slashes after its scheme counts as a URL.

    Examples
    --------
    >>> redacted("https://user:secret@host/a.txt?token=1 s3://key:sec/ret@bucket/x, hf://org/name@main")
    'https://***@host/a.txt?*** s3://***@bucket/x, hf://org/name@main'
    """
    return _QUERY.sub(r"\1?***", _CREDENTIALS.sub(r"\1***@", text))


class PhyagiAssetsError(Exception):
    """An error that the user can correct. Its message contains no credentials."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments and attributes of the error, independently of the parameters of its class."""
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(kind: type[PhyagiAssetsError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> PhyagiAssetsError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


_NOT_MAPPED = "failed to map segment"
"""Part of the dynamic linker's message about a library that does not fit into the memory that a process may use."""
_NO_THREAD = "can't start new thread"
"""Python's message if the number of threads or the memory of a process or user is limited."""


class OutOfMemoryError(PhyagiAssetsError):
    """The work needs more memory, or more threads, than the process may use."""


class TooManyFilesError(PhyagiAssetsError):
    """The work needs more open files than the process may have."""


@contextmanager
def translate_limit_errors(what: str) -> Iterator[None]:
    """Convert an exception about a limit of the process into an error that names the work.

    Raises
    ------
    OutOfMemoryError
        An allocation failed inside the context, a library could not be loaded into memory, or a thread could not be started.
    TooManyFilesError
        A file could not be opened inside the context because too many are open.
    """
    try:
        yield
    except RuntimeError as problem:
        if str(problem) != _NO_THREAD:
            raise
        raise OutOfMemoryError(
            f"{what}: needs more threads or memory than this process may use ({problem}); raise the limits (ulimit -u, ulimit -v), or use "
            "fewer processes with --jobs"
        ) from problem
    except (MemoryError, OSError, ImportError) as problem:
        if isinstance(problem, OSError) and problem.errno in _TOO_MANY:
            raise TooManyFilesError(
                f"{what}: needs more open files than this process may have ({one_line(problem)}); raise the limit (ulimit -n)"
            ) from problem
        if not isinstance(problem, MemoryError) and getattr(problem, "errno", None) != errno.ENOMEM and _NOT_MAPPED not in str(problem):
            raise
        detail = f" ({one_line(problem)})" if str(problem) else ""
        raise OutOfMemoryError(
            f"{what}: needs more memory than this process may use{detail}; raise the limit, or use fewer processes with --jobs"
        ) from problem


class DeclarationError(PhyagiAssetsError):
    """A declaration in the data folder is not valid.

    Parameters
    ----------
    line
        Line in the file, from 1; None if the error has no line.
    key
        Dotted path of the key, such as ``splits.validation``.
    """

    def __init__(self, path: Path, message: str, *, line: int | None = None, key: str = "") -> None:
        self.path, self.line, self.key = path, line, key
        self.further: Sequence[DeclarationError] = ()
        """Further errors of the same file."""
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")


class SourceError(PhyagiAssetsError):
    """A source cannot be listed, or one of its files or rows cannot be read."""


class SourceDownError(SourceError):
    """A source did not answer after all retries; it may answer later."""


class AccessError(SourceError):
    """A source refuses access, which can be granted without a change of an input."""


class SourceChangedError(SourceError):
    """A source has changed since it was listed or pinned. The next run reads its new content."""


class ClusterDownError(PhyagiAssetsError):
    """A Ray cluster does not answer, but may answer later."""


class MissingPackageError(PhyagiAssetsError):
    """A package is not installed, because the extra that contains it was not installed."""

    def __init__(self, module: str) -> None:
        package = module.partition(".")[0]
        self.package = package
        extra = EXTRAS.get(package, "pipeline")
        super().__init__(f"{package} is not installed; install it with: pip install 'phyagi-assets[{extra}]'")


@contextmanager
def translate_missing_packages() -> Iterator[None]:
    """Convert the failed import of a package into an error that names the extra to install.

    Raises
    ------
    MissingPackageError
        An import inside the context needs a package of an extra that is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in EXTRAS:
            raise
        raise MissingPackageError(problem.name or "") from None


class TokenizerError(PhyagiAssetsError):
    """A tokenizer cannot be loaded, or does not support a setting of the corpus."""


class TokenizerDownError(TokenizerError):
    """The Hub did not return the commit of a tokenizer, but may return it later."""


class StoreError(PhyagiAssetsError):
    """An artifact in the store is missing or damaged, or does not match its manifest."""


class StoreAccessError(StoreError):
    """A file in the store cannot be read now, which does not mean that it is damaged."""

    @classmethod
    def of(cls, path: Path | str, problem: OSError) -> "StoreAccessError":
        """Return the error about a file, given the system's error."""
        remedy = "ask for the right to read the store" if isinstance(problem, PermissionError) else "try again when its disk can be read"
        if problem.errno in _TOO_MANY:
            remedy = "raise the limit (ulimit -n)"
        return cls(f"{path}: cannot be read: {problem.strerror}; {remedy}")


class ForeignFilesError(StoreError):
    """A version, or a file in its folder, was not created by the store and is not changed."""


class MissingArtifactsError(StoreError):
    """The input artifacts of a requested step do not exist.

    Parameters
    ----------
    missing
        Addresses of the missing artifacts, as ``corpus/step/partition``.
    """

    def __init__(self, wanted: str, missing: list[str]) -> None:
        self.missing = missing
        listed = "\n".join(f"  - {name}" for name in missing)
        super().__init__(f"{wanted} needs artifacts that do not exist yet; materialize these first:\n{listed}")
