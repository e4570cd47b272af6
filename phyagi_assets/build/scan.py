"""Scan of a source: find the partitions of a corpus that have to be built again, without reading unchanged files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.disk import stamp_of
from phyagi_assets.store.fingerprint import canonical_json, text_digest

READ_AT_MOST = 1 << 28
"""Largest number of bytes that a scan reads to find out whether touched local files changed; a run reads the rest."""

SCAN_SECONDS = 45.0
"""Time limit for listing a remote source, in seconds. Dagster stops a sensor after 60, without naming the source."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A partition that has to be built again."""

    key: str
    steps: Sequence[str]
    """Names of the steps to run, in the order of the flow."""
    content: str
    """Digest of its inputs: the stamps of its files, the declaration, and the shared inputs of the steps."""
    published: str
    """Fingerprint of the published version of the last of these steps; empty unless all of them have a published version."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """The result of a scan."""

    listing: str
    """Digest of the inputs and the published versions of all partitions; if it is unchanged, nothing new is due."""
    partitions: dict[str, Partition]
    due: list[Due]


def scan_source(corpus: Corpus, workspace: Workspace, settled: str = "", *, flow: Flow = FLOW) -> Scan:
    """List a corpus's source and find the partitions that have to be built again.

    Parameters
    ----------
    settled
        Digest of a listing (`Scan.listing`) for which nothing was due. If the listing is unchanged, staleness is not examined.

    Raises
    ------
    DeclarationError, SourceError
        The source cannot be listed.
    TokenizerError
        The commit of a tokenizer on the Hub cannot be found.
    """
    partitions = workspace.sources.partitions(corpus, seconds=SCAN_SECONDS)
    shared = [corpus.digest, *(value for step in flow.in_scope(Scope.PARTITION) for value in step.shared_inputs(corpus, workspace))]
    contents = {key: _content(partition, shared) for key, partition in partitions.items()}
    listing = text_digest(canonical_json([corpus.digest, contents, _published(corpus, partitions, workspace, flow)]))
    due: list[Due] = []
    if listing != settled:
        for partition, may_read in within_budget(corpus, partitions, workspace, flow):
            key = partition.key
            if steps := _steps_due(corpus, partition, workspace, flow, may_read=may_read):
                found = [workspace.store.open(flow[step].address(corpus.config.name, key), intact=True) for step in steps]
                published = last.fingerprint if all(found) and (last := found[-1]) else ""
                due.append(Due(key=key, steps=steps, content=contents[key], published=published))
    return Scan(listing=listing, partitions=partitions, due=due)


def within_budget(
    corpus: Corpus, partitions: Mapping[str, Partition], workspace: Workspace, flow: Flow = FLOW
) -> Iterator[tuple[Partition, bool]]:
    """Yield each partition, and whether its unread files may be read, so that at most `READ_AT_MOST` bytes are read in total."""
    budget = READ_AT_MOST
    for partition in partitions.values():
        unread = partition.bytes if flow.steps[0].unread(corpus, partition, workspace) else 0
        yield partition, unread <= budget
        budget -= unread if unread <= budget else 0


def _steps_due(corpus: Corpus, partition: Partition, workspace: Workspace, flow: Flow, *, may_read: bool) -> Sequence[str]:
    steps = tuple(step.name for step in flow.in_scope(Scope.PARTITION))
    if not may_read or workspace.store.open(flow.steps[0].address(corpus.config.name, partition.key), intact=True) is None:
        return steps  # without reading the files, a run finds out whether the versions of the later steps can be reused
    try:
        expected = partition_artifacts(corpus, partition, workspace, flow)
    except SourceError:  # the run reports it, and builds the other partitions
        return steps
    return steps if expected[0].fingerprint is None else tuple(artifact.step for artifact in expected if not artifact.is_current)


def _content(partition: Partition, shared: Sequence[object]) -> str:
    files = [[file.name, file.stamp, file.split] for file in partition.files]
    return text_digest(canonical_json([files, *shared]))


def _published(corpus: Corpus, keys: Iterable[str], workspace: Workspace, flow: Flow) -> list[list[object]]:
    """Return a list for each step of a partition: its code version, then stamps of the published versions of the partitions.

    The stamps are left out for a store in a bucket, because each scan would list it.
    """
    store, name = workspace.store, corpus.config.name
    published = [] if store.is_remote else list(keys)
    steps = flow.in_scope(Scope.PARTITION)
    return [[step.code_version, *(published_stamp(store, step.address(name, key)) for key in published)] for step in steps]


def published_stamp(store: Store, address: str) -> Sequence[object]:
    """Return the stamp of the folder of a published version. It changes if another version is published or a file is deleted."""
    try:
        _, *stamp = stamp_of(store.pointer(address))
        return stamp
    except OSError:  # nothing is published, or the version is gone
        return ()
