"""The outcome of bringing corpora and mixtures up to date."""

from dataclasses import dataclass, field


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
