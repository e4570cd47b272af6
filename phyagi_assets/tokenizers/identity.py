"""Identities of declared tokenizers: the content of a folder, or a commit on the Hub.

All processes of a run use the same identities, even if a branch moves during the run or a process has no access to the folder.
"""

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceDownError, SourceError, TokenizerDownError, TokenizerError
from phyagi_assets.store.disk import FileStamp, changed_recently, stamp_of, walk
from phyagi_assets.store.fingerprint import canonical_json, file_digest, text_digest

_QUIET_NS = 2_000_000_000
"""Time without a change after which the digest of a file is cached: a file that changes moments later can keep its stamp."""

_RETRY_AFTER = 60.0
"""Time after which a commit is requested again if the Hub did not answer, in seconds."""


class Identities:
    """Identities of the tokenizers that the corpora of a data folder declare. They are pickled, so that all processes use the same ones.

    Attributes
    ----------
    known
        Identities by declared tokenizer: commits, and those of folders that another machine found, because a local folder may change.
    """

    def __init__(self, data: Path, known: Mapping[str, str] = MappingProxyType({})) -> None:
        self.data = data
        self.known = dict(known)
        self._unknown: dict[str, tuple[float, str]] = {}
        """Time of the next request and the last error, by tokenizer for which the Hub did not answer."""

    def __reduce__(self) -> tuple[type["Identities"], tuple[Path, Mapping[str, str]]]:
        return Identities, (self.data, self.known)

    def identity(self, corpus: Corpus) -> str:
        """Return a string that identifies a corpus's tokenizer: a digest of the files in its folder, or its commit on the Hub.

        The commit is kept, so that all partitions of a run use the same one.

        Raises
        ------
        TokenizerError
            A file in the folder cannot be read, or the Hub does not know the name or the revision, or denies access.
        TokenizerDownError
            The Hub does not answer.
        """
        tokenizer = corpus.config.tokenizer
        if known := self.known.get(tokenizer):
            return known
        if "@" not in tokenizer:
            return _folder_identity(self.data / tokenizer)
        until, reason = self._unknown.get(tokenizer, (0.0, ""))
        if time.monotonic() < until:
            raise TokenizerDownError(reason)
        name, _, revision = tokenizer.partition("@")
        try:
            self.known[tokenizer] = identity = f"hub:{name}@{_commit(name, revision)}"
        except TokenizerDownError as problem:
            self._unknown[tokenizer] = time.monotonic() + _RETRY_AFTER, str(problem)
            raise
        return identity

    def forget(self) -> None:
        """Forget the commits of branches and tags. Long-running processes call this at the beginning of each refresh."""
        self.known.clear()
        self._unknown.clear()

    def find_on_hub(self, corpora: Iterable[Corpus]) -> Mapping[str, str]:
        """Find the commits of the corpora's tokenizers on the Hub, and return all identities that are known.

        A tokenizer whose commit cannot be found is left out; the step that needs it raises the error.
        """
        for corpus in corpora:
            if "@" in corpus.config.tokenizer:
                with suppress(TokenizerError):
                    self.identity(corpus)
        return self.known


def _folder_identity(folder: Path) -> str:
    paths = (f"{at}/{name}" for at, _, names in walk(folder) for name in sorted(names) if not name.startswith("."))
    try:
        stamps = tuple(stamp_of(path) for path in paths if os.path.isfile(path))  # noqa: PTH113 (called for every partition)
        has_settled = not any(changed_recently(stamp, _QUIET_NS) for stamp in stamps)
        return f"files:{(_folder_digest if has_settled else _folder_digest.__wrapped__)(f'{folder}', stamps)}"
    except OSError as problem:
        raise TokenizerError(f"{problem.filename or folder}: cannot be read: {problem.strerror}; it is a file of the tokenizer") from None


@lru_cache(maxsize=64)
def _folder_digest(folder: str, stamps: tuple[FileStamp, ...]) -> str:
    """Return a digest of the names and contents of files in a folder. It is cached by stamps, because every partition needs it."""
    files = [Path(path) for path, *_ in stamps]
    return text_digest(canonical_json({path.relative_to(folder).as_posix(): file_digest(path) for path in files}))


def _commit(name: str, revision: str) -> str:
    if re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    from phyagi_assets.sources.hub import commit_of_model

    with errors_of_hub("name the commit itself after the @, which needs no request"):
        commit = commit_of_model(name, revision)
    if not commit:
        raise TokenizerError(f"the Hub gives no commit for tokenizer {name}@{revision}; name the commit itself after the @")
    return commit


@contextmanager
def errors_of_hub(remedy: str) -> Iterator[None]:
    """Convert the errors of a source into those of a tokenizer, given what else helps if the Hub does not answer."""
    try:
        yield
    except SourceDownError as problem:
        raise TokenizerDownError(f"{problem}, or {remedy}") from problem
    except SourceError as problem:
        raise TokenizerError(str(problem)) from problem
