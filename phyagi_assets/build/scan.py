"""A look at a source: what of a corpus has to be built again, found without reading what has not changed."""

from collections.abc import Sequence
from dataclasses import dataclass

from phyagi_assets.build.staleness import STAGES, corpus_links
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.removals import read_removals
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.raw import is_known, raw_address
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.fingerprint import canonical_json, text_digest

READ_AT_MOST = 1 << 28
"""Bytes of touched local files that a look reads, to tell whether they changed; beyond that, a run is asked for to tell."""

LOOK_SECONDS = 45.0
"""Longest time, in seconds, that a look waits for a remote source: Dagster gives a sensor 60, and then names no source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A partition that has to be built again."""

    key: str
    stages: Sequence[str]
    content: str
    """Digest of how its files look, of the declaration and of what is removed: the same as long as they are."""
    published: bool
    """Whether every stage has a version, though not the one that it should have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What was found."""

    listing: str
    """Digest of the whole listing and of the declaration: as long as it is the same, so is the rest."""
    partitions: dict[str, Partition]
    due: list[Due]


def look_at(corpus: Corpus, workspace: Workspace, settled: str = "", *, seconds: float | None = LOOK_SECONDS) -> Look:
    """List a corpus's source and find what has to be built again.

    Parameters
    ----------
    settled
        The digest of a listing of which nothing was due: where it is still that, nothing more is looked at.
    seconds
        Longest time that listing remote files may take; None is any time.

    Raises
    ------
    DeclarationError, SourceError
        The source cannot be listed.
    """
    partitions = workspace.sources.partitions(corpus, seconds=seconds)
    removed = sorted(read_removals(corpus))
    contents = {key: _content(corpus, partition, removed) for key, partition in partitions.items()}
    listing = text_digest(canonical_json([corpus.digest, contents]))
    due: list[Due] = []
    if listing != settled:
        budget = READ_AT_MOST
        for key, partition in partitions.items():
            unread = 0 if is_known(corpus, partition, workspace) else partition.bytes
            stages = _stages_due(corpus, partition, workspace, may_read=unread <= budget)
            budget -= unread if unread <= budget else 0
            if stages:
                published = all(workspace.store.open(f"{corpus.config.name}/{stage}/{key}") for stage in stages)
                due.append(Due(key=key, stages=stages, content=contents[key], published=published))
    return Look(listing=listing, partitions=partitions, due=due)


def _stages_due(corpus: Corpus, partition: Partition, workspace: Workspace, *, may_read: bool) -> Sequence[str]:
    published = workspace.store.open(raw_address(corpus, partition.key))
    if published is None:
        return STAGES
    if not may_read:
        return STAGES  # one run reads it, and finds the versions of the later stages if the content is what it was
    links = corpus_links(corpus, partition, workspace)
    return STAGES if links[0].wanted is None else [link.stage for link in links if not link.stands]


def _content(corpus: Corpus, partition: Partition, removed: Sequence[str]) -> str:
    files = [[file.name, file.stamp, file.split] for file in partition.files]
    return text_digest(canonical_json([corpus.digest, files, removed]))
