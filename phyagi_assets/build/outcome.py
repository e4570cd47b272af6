"""Results of building a step, a partition, or whole corpora and mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from phyagi_assets.build.work import Work
from phyagi_assets.execution.executor import WorkerDied
from phyagi_assets.steps.checks.check import Check
from phyagi_assets.steps.facts import Facts
from phyagi_assets.steps.step import Totals


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """Outcome of one step of a partition."""

    step: str
    fingerprint: str
    reused: bool
    """Whether an existing version was reused."""
    facts: Facts
    """Facts about the version; empty if a check failed."""
    checks: Sequence[Check]
    totals: Totals
    """Numbers of the version; their sum over all partitions is that of the corpus."""

    @property
    def failures(self) -> list[Check]:
        """The failed checks. If there are any, the version is not published."""
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
        """The reason why the partition failed; empty if it did not fail."""
        if isinstance(self.problem, WorkerDied):
            return f"its process {self.problem}"
        if self.problem is not None:
            return str(self.problem)
        return "; ".join(str(check) for result in self.done for check in result.failures)

    @property
    def tokens(self) -> int:
        """Number of tokens of the partition; 0 if no step reports it."""
        reported = [facts["tokens"] for result in self.done if "tokens" in (facts := result.facts)]
        return int(reported[-1]) if reported and isinstance(reported[-1], int) else 0


@dataclass(kw_only=True, slots=True)
class Outcome:
    """The outcome of bringing corpora and mixtures up to date."""

    built: list[str] = field(default_factory=list)
    """Names of the partitions (``corpus/partition``), corpus steps (``corpus/step``) and mixtures that were built."""
    current: int = 0
    """Number of partitions, corpus steps and mixtures that were current already."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons for failures, by name of the partition, corpus, corpus step or mixture."""
    skipped: dict[str, list[str]] = field(default_factory=dict)
    """Failed partitions (``corpus/partition``) that mixtures leave out, by mixture."""
