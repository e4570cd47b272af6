"""The report of a command that has brought corpora and mixtures up to date."""

from collections.abc import Sequence
from typing import Literal

from phyagi_assets.build.outcome import Outcome
from phyagi_assets.declare.catalog import Broken
from phyagi_assets.inspection.report import Report


class MaterializeReport(Report):
    """The outcome of bringing corpora and mixtures up to date."""

    report: Literal["materialize"] = "materialize"
    version: Literal[1] = 1
    built: tuple[str, ...]
    """Names of the partitions (``corpus/partition``) and mixtures that were built."""
    current: int
    """Number of partitions and mixtures that were up to date already."""
    failed: dict[str, str]
    """Reasons for failures, by name of the partition, corpus or mixture."""
    skipped: dict[str, tuple[str, ...]]
    """Failed partitions (``corpus/partition``) that mixtures leave out, by mixture."""
    left_out: dict[str, str]
    """Reasons why declarations were left out, by name; only if the command was to build all of them."""

    @classmethod
    def of(cls, outcome: Outcome, broken: Sequence[Broken]) -> "MaterializeReport":
        """Return the report of an outcome."""
        left_out = {each.name: str(each.reason) for each in broken}
        skipped = {name: tuple(partitions) for name, partitions in outcome.skipped.items()}
        return cls(built=tuple(outcome.built), current=outcome.current, failed=dict(outcome.failed), skipped=skipped, left_out=left_out)
