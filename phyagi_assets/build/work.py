"""What there is to do, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from phyagi_assets.execution.process_pool import processors
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW

PROCESSORS_EACH = 8
"""That one process can keep busy: what it does for a batch beside the engine is done by one at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """The steps of one partition that have to be run."""

    corpus: str
    partition: Partition
    stages: Sequence[str]
    pieces: int = 1
    """How many it can be cut into."""
    processes: int = 1
    """How many may encode it."""

    @property
    def name(self) -> str:
        """``corpus/partition``."""
        return f"{self.corpus}/{self.partition.key}"

    @property
    def bytes(self) -> int:
        """Bytes of source that the slow step has to read."""
        return self.partition.bytes if any(FLOW[stage].is_slow for stage in self.stages) else 0


def jobs_by_default() -> int:
    """As many processes as keep the machine busy."""
    return max(1, processors() // PROCESSORS_EACH)


def shared_out(work: Sequence[Work], jobs: int) -> list[Work]:
    """The work, each with its share of the processes: that of its bytes, one at least, and no more than it has pieces."""
    total = max(1, sum(item.bytes for item in work))
    return [replace(item, processes=max(1, min(item.pieces, jobs * item.bytes // total))) for item in work]


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What came of bringing things up to date."""

    built: list[str] = field(default_factory=list)
    """Of what was run, ``corpus/partition`` or the mixture."""
    current: int = 0
    """How many partitions and mixtures stood already."""
    failed: dict[str, str] = field(default_factory=dict)
    """What failed, and why."""

    def add(self, other: "Outcome") -> None:
        """Take in what came of another part."""
        self.built += other.built
        self.current += other.current
        self.failed |= other.failed
