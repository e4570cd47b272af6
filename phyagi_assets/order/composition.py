"""The composition of a mixture, as numbers and as a tree."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from phyagi_assets.formats.plan import Plan, Segment
from phyagi_assets.formatting import counted, short_counted
from phyagi_assets.order.mixture_order import MixtureOrder

_PREFIX = 200_000
"""Number of positions over which the deviation from the rates is measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """One corpus of a mixture."""

    corpus: str
    amount: str
    """Weight or share as declared: ``×1.5`` or ``30 %``."""
    partitions: int
    tokens: int
    """Number of training tokens in the corpus."""
    samples: int
    """Number of training samples in the corpus."""
    uncovered: int
    """Number of training tokens of the corpus that no sample contains."""
    fill: float | None
    """Share of the packed samples of the corpus that is not padding, from 0 to 1; None if they are not packed."""
    drawn: int
    """Number of samples drawn from the corpus in an epoch of the mixture."""
    part: float
    """Share of the samples of an epoch of the mixture, from 0 to 1."""

    @property
    def epochs(self) -> float:
        """Number of epochs of the corpus in an epoch of the mixture."""
        return self.drawn / self.samples


def composition(plan: Plan) -> list[Component]:
    """Return the corpora of the plan's last segment."""
    return [
        Component(
            corpus=plan.corpora[source.corpus].name,
            amount=source.amount,
            partitions=len(plan.partitions(source)),
            tokens=plan.total("train", "tokens", source),
            samples=source.samples,
            uncovered=plan.uncovered(source),
            fill=1 - plan.padding(source) / (source.samples * plan.seq_len) if source.packed else None,
            drawn=source.drawn,
            part=source.drawn / plan.current.drawn,
        )
        for source in plan.current.sources
    ]


def largest_deviation(plan: Plan) -> float:
    """Return the largest difference between a prefix of an epoch and the exact shares, in samples of one corpus."""
    segment = plan.current
    length = min(segment.drawn, _PREFIX)
    located = MixtureOrder(plan, "train").locate(segment.start + np.arange(length))
    worst, total = 0.0, segment.total_rate
    for source in segment.sources:
        drawn = np.cumsum(located.corpus == source.corpus)
        worst = max(worst, float(np.abs(drawn - np.arange(1, length + 1) * (source.rate / total)).max(initial=0)))
    return worst


def plan_lines(plan: Plan) -> list[str]:
    """Return a line about the mixture, and a line about each corpus."""
    tokens = sum(plan.total(split, "tokens") for split in ("train", "validation", "test"))
    drawn, seq_len = plan.current.drawn, plan.seq_len
    epoch = f"{counted(drawn, 'sample')} of {seq_len} ({short_counted(drawn * seq_len, 'token')}) in an epoch"
    lines = [f"{plan.name} {short_counted(tokens, 'token')}; {epoch}"]
    if len(plan.segments) > 1:
        lines[0] += f", from position {plan.current.start:,} on"
    for component in composition(plan):
        partitions = counted(component.partitions, "partition")
        is_packed = component.fill is not None
        rest = f"packed, {100 * (component.fill or 0):.2f} % full" if is_packed else f"{component.uncovered:,} of them in no sample"
        lines.append(f"{component.corpus} {component.amount}  {short_counted(component.tokens, 'training token')} in {partitions}, {rest}")
    for name, evaluated_plan in plan.evaluated():
        lines.append(f"{name} for evaluation only  {short_counted(evaluated_plan.total('validation', 'tokens'), 'token')}")
    for before, after in pairwise(plan.segments):
        lines.append(f"positions {before.start:,} to {after.start - 1:,}: {segment_corpora(plan, before)}")
    return lines


def segment_corpora(plan: Plan, segment: Segment) -> str:
    """Return the corpora of a segment and their amounts."""
    return ", ".join(f"{plan.corpora[source.corpus].name} {source.amount}" for source in segment.sources)


def plan_tree(plan: Plan) -> str:
    """Return the plan as a tree with one branch per corpus."""
    head, *branches = plan_lines(plan)
    last = len(branches) - 1
    return "\n".join([head, *(f"{'└──' if i == last else '├──'} {line}" for i, line in enumerate(branches))])
