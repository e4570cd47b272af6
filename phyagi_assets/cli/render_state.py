"""Output of the commands about what is stale: the plan of a build, and the state of corpora and mixtures."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from phyagi_assets.formatting import counted
from phyagi_assets.inspection.dry_run import DryRunReport, Stale

_LISTED = 5
"""Largest number of partitions that are listed by name where several have the same reasons."""


def show_dry_run(console: Console, report: DryRunReport) -> None:
    """Print what would be built and why; partitions of a corpus with the same reasons are one entry."""
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[Stale]] = {}
    for stale in report.stale:
        steps = tuple(f"{step.step}{' (in the store already)' * step.is_stored}" for step in stale.steps)
        groups.setdefault((stale.name.partition("/")[0], steps, stale.reasons), []).append(stale)
    for (name, steps, reasons), members in groups.items():
        console.print(f"[bold]{escape(_members(name, members))}[/]: {escape(', '.join(steps))}", highlight=False, soft_wrap=True)
        for reason in reasons:
            console.print(f"  {reason}", highlight=False, markup=False, soft_wrap=True)
    line = f"{len(report.stale):,} to build, {report.current:,} up to date, {len(report.failed):,} failed; nothing was built (--dry-run)"
    console.print(line, highlight=False, soft_wrap=True)


def _members(name: str, members: Sequence[Stale]) -> str:
    if len(members) == 1:
        return members[0].name
    keys = [member.name.partition("/")[2] for member in members]
    more = f" and {len(keys) - _LISTED:,} more" if len(keys) > _LISTED else ""
    return f"{name}, {counted(len(keys), 'partition')} ({', '.join(keys[:_LISTED])}{more})"
