"""What a mixture is made of, in numbers and as a tree."""

from dataclasses import dataclass

import numpy as np

from phyagi_assets.formats.plan import Plan
from phyagi_assets.formatting import short
from phyagi_assets.order.mixture_order import MixtureOrder

_PREFIX = 200_000
"""Positions over which the deviation from the rates is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    """A corpus in a mixture."""

    corpus: str
    amount: str
    """As declared: ``×1.5`` or ``30 %``."""
    partitions: int
    tokens: int
    """Training tokens in it."""
    samples: int
    """Training samples in it."""
    uncovered: int
    """Training tokens of it that are in no sample."""
    drawn: int
    """Samples of it in an epoch of the mixture."""
    part: float
    """Of the samples of an epoch of the mixture."""

    @property
    def epochs(self) -> float:
        """How often an epoch of the mixture reads it."""
        return self.drawn / self.samples


def composition(plan: Plan) -> list[Component]:
    """What the plan's last segment reads."""
    return [
        Component(
            corpus=plan.corpora[source.corpus].name,
            amount=source.amount,
            partitions=len(plan.partitions(source)),
            tokens=plan.total("train", "tokens", source),
            samples=source.samples,
            uncovered=plan.uncovered(source),
            drawn=source.drawn,
            part=source.drawn / plan.current.drawn,
        )
        for source in plan.current.sources
    ]


def largest_deviation(plan: Plan) -> float:
    """The most that a prefix of an epoch differs from the exact parts, in samples of one corpus."""
    segment = plan.current
    length = min(segment.drawn, _PREFIX)
    located = MixtureOrder(plan, "train").locate(segment.start + np.arange(length))
    total = sum(source.rate for source in segment.sources)
    worst = 0.0
    for source in segment.sources:
        given = np.cumsum(located.corpus == source.corpus)
        worst = max(worst, float(np.abs(given - np.arange(1, length + 1) * (source.rate / total)).max(initial=0)))
    return worst


def plan_lines(plan: Plan) -> list[str]:
    """A line on the mixture, and one on each corpus."""
    tokens = sum(plan.total(split, "tokens") for split in ("train", "validation", "test"))
    lines = [f"{plan.name} {short(tokens)} tokens, {plan.current.drawn:,} samples of {plan.seq_len} in an epoch"]
    if len(plan.segments) > 1:
        lines[0] += f", from position {plan.current.start:,} on"
    for component in composition(plan):
        partitions = f"{component.partitions:,} partition{'' if component.partitions == 1 else 's'}"
        lines.append(
            f"{component.corpus} {component.amount}  {short(component.tokens)} training tokens in {partitions}, "
            f"{component.uncovered:,} of them in no sample"
        )
    return lines


def plan_tree(plan: Plan) -> str:
    """The plan as a tree, a branch a corpus."""
    head, *branches = plan_lines(plan)
    last = len(branches) - 1
    return "\n".join([head, *(f"{'└──' if i == last else '├──'} {line}" for i, line in enumerate(branches))])
