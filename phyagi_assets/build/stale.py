"""The partitions of a corpus that have to be built, and the expected versions of all of them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from phyagi_assets.build.staleness import ExpectedArtifact, partition_artifacts
from phyagi_assets.build.work import Work
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError, SourceError
from phyagi_assets.sources.chunks import most_chunks
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Workspace

CHECK_FAILED = ""
"""Recorded version of an artifact whose latest check failed: it is checked again, although its version may be published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExaminedCorpus:
    """The partitions of a corpus, with the expected versions of their artifacts."""

    corpus: Corpus
    partitions: Mapping[str, Partition]
    """All partitions as the source lists them, by key."""
    artifacts: Mapping[str, Sequence[ExpectedArtifact]]
    """The artifacts of each examined partition, by key, in the order of the flow."""
    failed: Mapping[str, str]
    """Reasons for which partitions could not be examined, by ``corpus/partition``."""

    @property
    def versions(self) -> dict[str, dict[str, str | None]]:
        """Expected fingerprint of each artifact, by step and partition; None while it is unknown."""
        versions: dict[str, dict[str, str | None]] = {}
        for key, artifacts in self.artifacts.items():
            for artifact in artifacts:
                versions.setdefault(artifact.step, {})[key] = artifact.fingerprint
        return versions

    @property
    def is_current(self) -> bool:
        """Whether the expected version of every artifact is published."""
        return not self.failed and all(artifact.is_current for artifacts in self.artifacts.values() for artifact in artifacts)


def examine_partitions(
    corpus: Corpus,
    partitions: Mapping[str, Partition],
    workspace: Workspace,
    flow: Flow = FLOW,
    *,
    among: Collection[str] | None = None,
) -> ExaminedCorpus:
    """Find the expected versions of partitions, and whether they are published. One that cannot be examined does not stop the others.

    Parameters
    ----------
    among
        Keys of the partitions to examine; by default, all of them.
    """
    artifacts: dict[str, Sequence[ExpectedArtifact]] = {}
    failed: dict[str, str] = {}
    for key, partition in partitions.items():
        if among is not None and key not in among:
            continue
        try:
            artifacts[key] = partition_artifacts(corpus, partition, workspace, flow)
        except SourceError as problem:
            failed[f"{corpus.config.name}/{key}"] = str(problem)
    return ExaminedCorpus(corpus=corpus, partitions=partitions, artifacts=artifacts, failed=failed)


def stale_partitions(
    examined: ExaminedCorpus, recorded: Mapping[str, Mapping[str, str]], workspace: Workspace, flow: Flow = FLOW
) -> list[Work]:
    """Return the partitions with stale steps.

    Parameters
    ----------
    recorded
        Versions that are recorded as built, by step and partition. A step whose version is not recorded counts as stale.
    """
    work = []
    for key, expected in examined.artifacts.items():
        if steps := _stale_steps(expected, key, recorded, workspace):
            work.append(work_of(examined.corpus, examined.partitions[key], steps, workspace, flow, follows=True))
    return work


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
        chunks=_most_chunks(corpus, partition, workspace) if any(flow[step].chunks for step in steps) else 1,
    )


def _stale_steps(
    expected: Sequence[ExpectedArtifact], key: str, recorded: Mapping[str, Mapping[str, str]], workspace: Workspace
) -> list[str]:
    if expected[0].fingerprint is None and workspace.store.open(expected[0].address):
        failed = [artifact.step for artifact in expected[1:] if recorded.get(artifact.step, {}).get(key) == CHECK_FAILED]
        return [expected[0].step, *failed]  # its content may turn out to be unchanged; the later steps are examined after it is fetched
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
