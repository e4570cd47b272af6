"""The partitions that have to be built, and the outcome of building them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phyagi_assets.execution.executor import WorkerDied
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.step import Totals


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
    options: Mapping[str, int | None] = field(default_factory=dict)
    """Options of the run, by name; each step takes those that it has."""
    follows: bool = False
    """Whether the later steps that turn out to be stale are built as well, as where the content is known only after it is fetched."""
    bytes: int = 0
    """Number of bytes of source that the slow step has to read; 0 if it is not among the steps."""
    chunks: int = 1
    """Largest number of chunks into which the partition can be cut."""

    @property
    def name(self) -> str:
        """Name of the partition for messages, as ``corpus/partition``."""
        return f"{self.corpus}/{self.key}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Outcome of one step of a partition."""

    step: str
    fingerprint: str
    reused: bool
    """Whether the version existed already and was not built."""
    facts: Facts
    """Facts about the version; empty if a check failed."""
    checks: Sequence[Check]
    totals: Totals = field(default_factory=dict)
    """Numbers of the version that add up to those of the corpus."""

    @property
    def failures(self) -> list[Check]:
        """The checks that failed. If any did, the version is not published."""
        return [check for check in self.checks if not check.passed]


@dataclass(frozen=True, kw_only=True, slots=True)
class PartitionResult:
    """Outcome of the steps of one partition."""

    work: Work
    done: Sequence[StepResult] = ()
    """The results of the steps that were built or reused, in order; the last one may have failed a check."""
    problem: Exception | None = None
    """The error that ended the partition."""

    @property
    def failure(self) -> str:
        """The reason for which the partition failed; empty if it did not."""
        if isinstance(self.problem, WorkerDied):
            return f"its process {self.problem}"
        if self.problem is not None:
            return str(self.problem)
        return "; ".join(str(check) for result in self.done for check in result.failures)

    @property
    def tokens(self) -> int:
        """Number of tokens of the partition, as far as its steps tell."""
        told = [facts["tokens"] for result in self.done if "tokens" in (facts := result.facts)]
        return int(told[-1]) if told and isinstance(told[-1], int) else 0
