"""The partitions of a corpus that have to be built, and the expected versions of all of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from phyagi_assets.build.staleness import ExpectedArtifact, partition_artifacts
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.sources.chunks import most_chunks
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace


@dataclass(kw_only=True, slots=True)
class Stale:
    """The partitions of a corpus, divided by what has to be done."""

    work: list[Work] = field(default_factory=list)
    """Partitions with stale steps."""
    current: list[str] = field(default_factory=list)
    """Keys of the partitions that are current."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons for which partitions could not be examined, by ``corpus/partition``."""
    expected: dict[str, dict[str, str | None]] = field(default_factory=dict)
    """Expected fingerprint of each artifact, by step and partition; None while it is unknown."""


def stale_partitions(
    corpus: Corpus,
    partitions: Mapping[str, Partition],
    recorded: Mapping[str, Mapping[str, str]],
    workspace: Workspace,
    flow: Flow = FLOW,
    *,
    among: Collection[str] | None = None,
) -> Stale:
    """Examine the partitions of a corpus. One that cannot be examined does not stop the others.

    Parameters
    ----------
    corpus
        The corpus.
    partitions
        Its partitions as the source lists them, by key.
    recorded
        Versions that are recorded as built, by step and partition. A step whose version is not recorded counts as stale.
    workspace
        The data folder and the store.
    flow
        The steps.
    among
        Keys of the partitions to examine; by default, all of them.
    """
    found = Stale()
    for key, partition in partitions.items():
        if among is not None and key not in among:
            continue
        try:
            expected = partition_artifacts(corpus, partition, workspace, flow)
        except SourceError as problem:
            found.failed[f"{corpus.config.name}/{key}"] = str(problem)
            continue
        for artifact in expected:
            found.expected.setdefault(artifact.step, {})[key] = artifact.fingerprint
        if steps := _stale_steps(expected, key, recorded, workspace):
            found.work.append(work_of(corpus, partition, steps, workspace, flow, follows=True))
        else:
            found.current.append(key)
    return found


def work_of(
    corpus: Corpus,
    partition: Partition,
    steps: Collection[str],
    workspace: Workspace,
    flow: Flow,
    *,
    options: Mapping[str, int | None] | None = None,
    follows: bool = False,
) -> Work:
    """Return the work of building steps of a partition."""
    slow = any(flow[step].is_slow for step in steps)
    return Work(
        corpus=corpus.config.name,
        key=partition.key,
        partition=partition,
        steps=tuple(steps),
        options=options or {},
        follows=follows,
        bytes=partition.bytes if slow else 0,
        chunks=_most_chunks(corpus, partition, workspace) if slow else 1,
    )


def _stale_steps(expected: list[ExpectedArtifact], key: str, recorded: Mapping[str, Mapping[str, str]], workspace: Workspace) -> list[str]:
    if expected[0].fingerprint is None and workspace.store.open(expected[0].address):
        return [expected[0].step]  # its content may turn out to be unchanged; the later steps are examined after it is fetched
    return [
        artifact.step
        for artifact in expected
        if not (artifact.is_current and recorded.get(artifact.step, {}).get(key) == artifact.fingerprint)
    ]


def _most_chunks(corpus: Corpus, partition: Partition, workspace: Workspace) -> int:
    try:
        return most_chunks(corpus, partition.files, workspace.chunk_bytes)
    except DeclarationError:  # its build reports the error
        return 1
