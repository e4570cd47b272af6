"""The partitions that have to be built."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from phyagi_assets.build.examine import ExaminedCorpus
from phyagi_assets.build.staleness import ExpectedArtifact
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import DeclarationError
from phyagi_assets.sources.chunks import most_chunks
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Workspace

CHECK_FAILED = ""
"""Recorded version of an artifact whose latest check failed. The artifact is checked again even if its version is published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The steps of one partition that have to be built. It can be pickled."""

    corpus: str
    key: str
    """Key of the partition."""
    partition: Partition | None
    """The partition as the source lists it; None if its raw artifact alone names its files."""
    steps: Sequence[str]
    """Names of the steps, in the order of the flow."""
    follows: bool = False
    """Whether later steps that turn out to be stale are built as well, for content that is known only after it is fetched."""
    bytes: int = 0
    """Number of bytes of source that the slow step has to read; 0 if it is not among the steps."""
    chunks: int = 1
    """Largest number of chunks into which the partition can be cut."""
    unrecorded: Mapping[str, str] = field(default_factory=dict)
    """Fingerprints of the versions that are published in a bucket and only have to be recorded here, by step. They were checked before they
    were published, and are not fetched."""

    @property
    def is_only_recorded(self) -> bool:
        """Whether nothing is built."""
        return self.unrecorded.keys() >= set(self.steps)

    @property
    def name(self) -> str:
        """Name of the partition for messages, as ``corpus/partition``."""
        return f"{self.corpus}/{self.key}"


def stale_partitions(examined: ExaminedCorpus, recorded: Mapping[str, Mapping[str, str]], workspace: Workspace, flow: Flow) -> list[Work]:
    """Return the partitions with stale steps.

    Parameters
    ----------
    recorded
        Versions that are recorded as built, by step and partition. A step whose version is not recorded counts as stale.
    """
    work = []
    for key, expected in examined.artifacts.items():
        if steps := _stale_steps(expected, key, recorded, workspace):
            item = work_of(examined.corpus, examined.partitions[key], steps, workspace, flow, follows=True)
            work.append(replace(item, unrecorded=_unrecorded(expected, key, recorded) if workspace.store.is_remote else {}))
    return work


def work_of(
    corpus: Corpus, partition: Partition, steps: Collection[str], workspace: Workspace, flow: Flow, *, follows: bool = False
) -> Work:
    """Return the work of building steps of a partition."""
    slow = any(flow[step].is_slow for step in steps)
    return Work(
        corpus=corpus.config.name,
        key=partition.key,
        partition=partition,
        steps=tuple(steps),
        follows=follows,
        bytes=partition.bytes if slow else 0,
        chunks=_most_chunks(corpus, partition, workspace) if any(flow[step].chunks for step in steps) else 1,
    )


def _stale_steps(
    expected: Sequence[ExpectedArtifact], key: str, recorded: Mapping[str, Mapping[str, str]], workspace: Workspace
) -> list[str]:
    if expected[0].fingerprint is None and workspace.store.open(expected[0].address):
        failed = [artifact.step for artifact in expected[1:] if recorded.get(artifact.step, {}).get(key) == CHECK_FAILED]
        return [expected[0].step, *failed]  # the content may be unchanged, so later steps are examined after the fetch
    return [
        artifact.step
        for artifact in expected
        if not (artifact.is_current and recorded.get(artifact.step, {}).get(key) == artifact.fingerprint)
    ]


def _unrecorded(expected: Sequence[ExpectedArtifact], key: str, recorded: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the fingerprints of the current artifacts whose latest check did not fail, by step."""
    current = {artifact.step: artifact.fingerprint for artifact in expected if artifact.is_current and artifact.fingerprint}
    return {step: fingerprint for step, fingerprint in current.items() if recorded.get(step, {}).get(key) != CHECK_FAILED}


def _most_chunks(corpus: Corpus, partition: Partition, workspace: Workspace) -> int:
    try:
        return most_chunks(corpus, partition.files, workspace.chunk_bytes)
    except DeclarationError:  # the build reports the error
        return 1
