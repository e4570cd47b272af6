"""List the files of a source, local or remote, and divide them into partitions."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import HeldOut, applies_to
from phyagi_assets.declare.splits import Split
from phyagi_assets.errors import SourceError
from phyagi_assets.formatting import counted
from phyagi_assets.objects.kinds import SCHEMES
from phyagi_assets.objects.retries import RetryPolicy, within
from phyagi_assets.sources.files import LeftOut, Listing, Partition, SourceFile, format_of, known_format
from phyagi_assets.sources.hub import SCHEME as HUB
from phyagi_assets.sources.hub import Hub
from phyagi_assets.sources.local import list_local
from phyagi_assets.sources.mixed_formats import mixed_formats
from phyagi_assets.sources.object_store import Buckets
from phyagi_assets.sources.partitioning import partitioned
from phyagi_assets.sources.pinned import PinnedObject
from phyagi_assets.sources.transfer import Remote
from phyagi_assets.store.base import Store

logger = logging.getLogger(__name__)

_EXAMPLES = 3
"""Number of files that a message names per reason for leaving files out."""
_LONGEST_NAME = 255
"""Longest file name on common file systems, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusListing:
    """Listing of the source of a corpus."""

    partitions: dict[str, Partition]
    """Partitions by key, sorted by key."""
    left_out: tuple[LeftOut, ...] = ()


class Sources:
    """Access to all kinds of sources: local files, object stores and the Hub.

    Parameters
    ----------
    data
        The data folder. Relative paths start from it.
    """

    def __init__(self, data: Path, store: Store, retry_policy: RetryPolicy | None = None) -> None:
        self._data, self._store = data, store
        self.retry_policy = retry_policy or RetryPolicy()
        self._reported: dict[tuple[str, ...], str] = {}
        """The latest warning about each corpus, and about each of its paths; empty if there was no reason for one."""

    def __reduce__(self) -> tuple[type["Sources"], tuple[Path, Store, RetryPolicy]]:
        """Reduce to the arguments: another process opens connections of its own."""
        return Sources, (self._data, self._store, self.retry_policy)

    def remote(self, uri: str) -> Remote | None:
        """Return the client for the source that a URI names, or None for a local path."""
        if uri.startswith(HUB):
            return self._hub
        return next((buckets for scheme, buckets in self._buckets.items() if uri.startswith(scheme)), None)

    def pinned(self, file: SourceFile, *, is_small: bool = False) -> PinnedObject:
        """Return a listed object for reading in its bucket; reading fails if its stamp is not that of the listing."""
        bucket = next(buckets for scheme, buckets in self._buckets.items() if file.origin.startswith(scheme))
        return PinnedObject(name=file.name, origin=file.origin, size=file.size, pin=file.stamp, bucket=bucket, is_small=is_small)

    @cached_property
    def _buckets(self) -> dict[str, Buckets]:
        return {scheme: Buckets(scheme, self.retry_policy) for scheme in SCHEMES}

    @cached_property
    def _hub(self) -> Hub:
        return Hub(self.retry_policy, self._store)

    def partitions(self, corpus: Corpus, *, seconds: float | None = None) -> dict[str, Partition]:
        """List the source of a corpus and divide it into partitions; see `listing`. The partitions are sorted by key."""
        return self.listing(corpus, seconds=seconds).partitions

    def listing(self, corpus: Corpus, *, seconds: float | None = None, warn: bool = True) -> CorpusListing:
        """List the source of a corpus and divide it into partitions, with the files that are left out.

        Parameters
        ----------
        seconds
            Time limit for listing remote files, in seconds; None means no limit.
        warn
            Whether to log a warning if files are left out, unless the previous listing left out the same ones.

        Raises
        ------
        DeclarationError
            The source matches no file, two partitions would have the same key, or the source has a split that ``splits`` declares too.
        SourceError
            The source cannot be listed, for instance because a server is down.
        """
        files: list[SourceFile] = []
        left_out: list[LeftOut] = []
        for found in self._listings(corpus, seconds):
            files += found.files
            left_out += found.left_out
        files.sort(key=lambda file: file.name)
        made = set(corpus.config.splits)
        for file in files:
            if problem := _unfit(file):
                raise SourceError(f"{file.origin}: {problem}")
            if file.split in made:
                message = (
                    f"{file.origin} is in the source's own {file.split} split; remove {file.split} from splits, or the file from the source"
                )
                raise corpus.error(message, "splits")
        _check_keys_of_formats(corpus, files)
        partitions = partitioned(corpus, files)
        for partition in partitions.values():
            _check_folders(partition)
        summary = left_out_summary(left_out) if left_out else ""
        self._report(corpus, summary, warn=warn)
        return CorpusListing(partitions=partitions, left_out=tuple(left_out))

    def left_out(self, corpus: Corpus) -> str:
        """Return a one-line summary of the files that the latest listing left out, or an empty string if there are none."""
        return self._reported.get((corpus.config.name,), "")

    def _report(self, corpus: Corpus, warning: str, *path: str, warn: bool = True) -> None:
        """Log a warning about a corpus or one of its paths, unless the previous listing gave the same warning."""
        key = corpus.config.name, *path
        if warn and warning and warning != self._reported.get(key):
            logger.warning("%s: %s", corpus.config.name, warning)
        self._reported[key] = warning

    def _listings(self, corpus: Corpus, seconds: float | None) -> Iterator[Listing]:
        declared, splits = corpus.config.source.path, dict[object, str]()
        paths: list[tuple[Split | None, str]] = [(None, declared)] if isinstance(declared, str) else [*declared.items()]
        for split, path in paths:
            found = self._listing_of(corpus, path, seconds / len(paths) if seconds else None)
            self._report(corpus, mixed_formats(corpus, path, found.files), path)
            if split is None:
                yield found
                continue
            own: HeldOut | None = None if split == "train" else split
            for file in found.files:
                identity = file.stamp[1:] if file.path else file.origin  # the same for all links to a local file
                if (other := splits.setdefault(identity, split)) != split:
                    message = f"{file.origin} is in the paths of both {other} and {split}; narrow one of them"
                    raise corpus.error(message, "source", "path", split)
            files = tuple(replace(file, name=f"{split}/{file.name}", split=own) for file in found.files)
            yield replace(found, files=files)

    def _listing_of(self, corpus: Corpus, declared: str, seconds: float | None) -> Listing:
        remote = self.remote(declared)
        if remote is None:
            return list_local(corpus, declared, self._data)
        return within(seconds, declared, lambda: remote.files(corpus, declared))


def left_out_summary(left_out: Sequence[LeftOut]) -> str:
    """Return one line with the number of files that are left out, by reason, and the first few of them.

    Examples
    --------
    >>> left_out_summary([LeftOut(origin="raw/.a.txt", reason="hidden")])
    '1 file left out: 1 hidden (raw/.a.txt)'
    """
    origins: dict[str, list[str]] = {}
    for file in left_out:
        origins.setdefault(file.reason, []).append(file.origin)
    reasons = "; ".join(
        f"{len(names):,} {reason} ({', '.join(names[:_EXAMPLES])}{', …' if len(names) > _EXAMPLES else ''})"
        for reason, names in origins.items()
    )
    return f"{counted(len(left_out), 'file')} left out: {reasons}"


def _unfit(file: SourceFile) -> str:
    """Return why a snapshot cannot hold a file under its name, or an empty string if it can."""
    parts = file.name.split("/")
    if not all(part.strip(".") for part in parts) or "\0" in file.name:
        return "its name is not a valid path of a file; rename it"
    if file.path is None and any(len(part.encode(errors="surrogatepass")) > _LONGEST_NAME for part in parts):
        return f"a part of its name has more than {_LONGEST_NAME} bytes, the limit of file systems; rename it"
    return ""


def _check_keys_of_formats(corpus: Corpus, files: Sequence[SourceFile]) -> None:
    """Refuse a key for files of one format if no file has that format, because it would have no effect.

    A file with an unknown suffix is refused when its partition is read, and not here, where the whole corpus would fail.
    """
    for key, kind in corpus.config.source.keys_of_formats.items():
        if not any(known_format(corpus, file.name) in (kind, None) for file in files):
            raise corpus.error(applies_to(kind, {format_of(corpus, file.name) for file in files}), "source", key)


def _check_folders(partition: Partition) -> None:
    """Refuse remote files if one has the name of another's folder, because a snapshot cannot hold both."""
    names = {file.name: file for file in partition.files if file.path is None}
    for file in partition.files:
        for folder in PurePosixPath(file.name).parents:
            if file.path is None and str(folder) in names:
                message = (
                    f"{names[str(folder)].origin}: it is an object, and the folder of {file.origin}; narrow source.path to one of them"
                )
                raise SourceError(message)
