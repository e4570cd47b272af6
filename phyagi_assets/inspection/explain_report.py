"""The report of a command that traces positions back to documents."""

from typing import Literal

from phyagi_assets.inspection.explain import ExplainedSample
from phyagi_assets.inspection.report import Report


class ExplainReport(Report):
    """The documents behind positions in the order of training."""

    report: Literal["explain"] = "explain"
    version: Literal[1] = 1
    samples: tuple[ExplainedSample, ...]
