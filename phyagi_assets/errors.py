"""What can be wrong with what the user gave, one class for each place where it can be mended.

Every message says what was found, where, and what would be right. A caller that wants to treat them alike (the command, the
Dagster assets) catches :class:`PhyagiAssetsError`; anything else that surfaces is a fault of this package.
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

EXTRAS = {"torch": "train", "omegaconf": "config"} | dict.fromkeys(
    (
        "awkward",
        "dagster",
        "dagster_shared",
        "datasets",
        "fastokens",
        "gigatoken",
        "huggingface_hub",
        "regex",
        "tokenizers",
        "tqdm",
        "transformers",
    ),
    "pipeline",
)
"""Extra of the project that installs each optional package, by the name under which it is imported."""

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
    """Something that the user can put right. Its message shows no credentials."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redacted(arg) if isinstance(arg, str) else arg for arg in args))

    def __reduce__(self) -> tuple[Any, ...]:
        """What becomes of it in another process: the same, whatever its class is made of."""
        return _again, (type(self), self.args, self.__dict__)


def _again(kind: type[PhyagiAssetsError], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> PhyagiAssetsError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(attributes)
    return error


class OutOfMemoryError(PhyagiAssetsError):
    """The work takes more memory than the process may have."""


@contextmanager
def memory_named(what: str) -> Iterator[None]:
    """Turn running out of memory into an error that says so, and what needed it.

    Raises
    ------
    OutOfMemoryError
        An allocation failed inside.
    """
    try:
        yield
    except (MemoryError, OSError) as problem:
        if isinstance(problem, OSError) and problem.errno != errno.ENOMEM:
            raise
        said = f" ({' '.join(str(problem).split())})" if str(problem) else ""
        raise OutOfMemoryError(
            f"{what}: takes more memory than this process may have{said}; raise the limit, or use fewer processes with --jobs"
        ) from problem


class DeclarationError(PhyagiAssetsError):
    """A YAML file under the data folder says something that cannot be.

    Parameters
    ----------
    path
        The file.
    message
        What was found and what would be right.
    line
        1-based line in the file, where there is one.
    key
        Dotted path of the key, such as ``splits.validation``.
    """

    def __init__(self, path: Path, message: str, *, line: int | None = None, key: str = "") -> None:
        self.path, self.line, self.key = path, line, key
        where = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{where}: {key}: {message}" if key else f"{where}: {message}")


class SourceError(PhyagiAssetsError):
    """A source cannot be listed, or one of its files or rows cannot be read."""


class SourceDownError(SourceError):
    """A source did not answer, as often as it was tried; it may answer later."""


class MissingPackageError(PhyagiAssetsError):
    """A package is not installed because the extra that it belongs to was not asked for.

    Parameters
    ----------
    module
        Name of the module that cannot be imported.
    """

    def __init__(self, module: str) -> None:
        package = module.partition(".")[0]
        self.package = package
        extra = EXTRAS.get(package, "pipeline")
        super().__init__(f"{package} is not installed; install it with: pip install 'phyagi-assets[{extra}]'")


@contextmanager
def missing_packages_named() -> Iterator[None]:
    """Turn the failed import of a package of an extra into an error that says what to install.

    Raises
    ------
    MissingPackageError
        A package of an extra was imported inside, and is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] not in EXTRAS:
            raise
        raise MissingPackageError(problem.name or "") from None


class TokenizerError(PhyagiAssetsError):
    """A tokenizer cannot be loaded, or cannot do what the corpus asks of it."""


class StoreError(PhyagiAssetsError):
    """An artifact in the store is missing, damaged or not what it claims to be."""


class MissingArtifactsError(StoreError):
    """A step was asked for before the steps that it builds on.

    Parameters
    ----------
    missing
        The artifacts that are not there, as ``corpus/stage/partition``.
    """

    def __init__(self, wanted: str, missing: list[str]) -> None:
        self.missing = missing
        listed = "\n".join(f"  - {name}" for name in missing)
        super().__init__(f"{wanted} builds on what is not there yet; materialize these first:\n{listed}")
