"""The partitions that have to be built, and the outcome of building them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from phyagi_assets.execution.process_pool import processors
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow

PROCESSORS_EACH = 8
"""Number of processors that one process can keep busy: the work per batch outside of the engine is sequential."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The steps of one partition that have to be run."""

    corpus: str
    partition: Partition
    stages: Sequence[str]
    pieces: int = 1
    """Largest number of chunks into which the partition can be cut."""
    processes: int = 1
    """Largest number of processes that may encode it."""
    flow: Flow = FLOW
    """The flow that the steps are part of."""

    @property
    def name(self) -> str:
        """Name of the partition for messages, as ``corpus/partition``."""
        return f"{self.corpus}/{self.partition.key}"

    @property
    def bytes(self) -> int:
        """Number of bytes of source that the slow step has to read; 0 if it is not among the steps."""
        return self.partition.bytes if any(self.flow[stage].is_slow for stage in self.stages) else 0


def jobs_by_default() -> int:
    """Return the number of processes that keeps all processors busy."""
    return max(1, processors() // PROCESSORS_EACH)


def shared_out(work: Sequence[Work], jobs: int) -> list[Work]:
    """Share processes among partitions by their bytes.

    Each partition gets at least one process, and at most as many as it has chunks.

    Parameters
    ----------
    work
        The partitions.
    jobs
        Number of processes to share.
    """
    total = max(1, sum(item.bytes for item in work))
    return [replace(item, processes=max(1, min(item.pieces, jobs * item.bytes // total))) for item in work]


@dataclass(kw_only=True, slots=True)
class Outcome:
    """The outcome of bringing corpora and mixtures up to date."""

    built: list[str] = field(default_factory=list)
    """Names of the partitions (``corpus/partition``), corpus steps (``corpus/step``) and mixtures that were built."""
    current: int = 0
    """Number of partitions, corpus steps and mixtures that were current already."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons for failures, by name of the partition, corpus, corpus step or mixture."""

    def add(self, other: "Outcome") -> None:
        """Add another outcome to this one."""
        self.built += other.built
        self.current += other.current
        self.failed |= other.failed
