"""Output of the commands that show stale artifacts, and the state of corpora and mixtures."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from phyagi_assets.cli.console import print_text
from phyagi_assets.cli.tables import print_table, ruled_table
from phyagi_assets.formatting import counted, listed, short, short_size
from phyagi_assets.inspection.dry_run import DryRunReport, Stale
from phyagi_assets.inspection.status import StatusReport

_TEXTS = ("corpus", "mixture", "state", "plan")
"""Columns of tables that are aligned to the left."""


def show_dry_run(console: Console, report: DryRunReport) -> None:
    """Print the artifacts that would be built, with reasons; partitions of a corpus with the same reasons are one entry."""
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[Stale]] = {}
    for stale in report.stale:
        steps = tuple(f"{step.step}{' (in the store already)' * step.is_stored}" for step in stale.steps)
        groups.setdefault((stale.name.partition("/")[0], steps, stale.reasons), []).append(stale)
    for (name, steps, reasons), members in groups.items():
        console.print(f"[bold]{escape(_members(name, members))}[/]: {escape(', '.join(steps))}", soft_wrap=True)
        for reason in reasons:
            print_text(console, f"  {reason}")
    line = f"{len(report.stale):,} to build, {report.current:,} up to date, {len(report.failed):,} failed; nothing was built (--dry-run)"
    console.print(line, soft_wrap=True)


def _members(name: str, members: Sequence[Stale]) -> str:
    if len(members) == 1:
        return members[0].name
    keys = [member.name.partition("/")[2] for member in members]
    return f"{name}, {counted(len(keys), 'partition')} ({listed(keys)})"


def show_status(console: Console, report: StatusReport) -> None:
    """Print a table of the corpora, one of the mixtures, and the partitions and mixtures that are not up to date."""
    tables = [table for table in (_corpora(report), _mixtures(report)) if table.rows]
    for i, table in enumerate(tables):
        if i:
            console.print()
        print_table(console, table)
    lines = list(_not_current(report))
    if tables and lines:
        console.print()
    for line in lines:
        print_text(console, line)


def _corpora(report: StatusReport) -> Table:
    table = ruled_table(("corpus", "partitions", "current", "stale", "failed", "tokens", "size", "last built"), texts=_TEXTS)
    for corpus in report.corpora:
        counts = [f"{count:,}" for count in (corpus.partitions, corpus.current, corpus.stale, corpus.failed)]
        failed = f"[red]{counts[3]}[/]" if corpus.failed else counts[3]
        size = short_size(corpus.bytes)
        table.add_row(escape(corpus.name), *counts[:3], failed, short(corpus.tokens), size, _minute(corpus.last_built))
    return table


def _mixtures(report: StatusReport) -> Table:
    table = ruled_table(("mixture", "state", "samples", "tokens", "plan", "last built"), texts=_TEXTS)
    for mixture in report.mixtures:
        plan = (mixture.fingerprint or "")[:8]
        table.add_row(escape(mixture.name), mixture.state, f"{mixture.samples:,}", short(mixture.tokens), plan, _minute(mixture.last_built))
    return table


def _not_current(report: StatusReport) -> Iterator[str]:
    """Yield one line for each failure, and one for the partitions of each corpus that have the same state."""
    for corpus in report.corpora:
        for partition in corpus.not_current:
            if partition.state == "failed":
                yield f"{corpus.name}/{partition.partition}: failed ({_minute(partition.failed_at)}): {partition.problem}"
        for state in ("stale", "never built"):
            if keys := [partition.partition for partition in corpus.not_current if partition.state == state]:
                yield f"{corpus.name}: {state}: {listed(keys)}"
    for mixture in report.mixtures:
        if mixture.skipped:
            what = counted(len(mixture.skipped), "partition")
            yield f"{mixture.name}: leaves out {what} that failed: {listed(mixture.skipped)}"
        if mixture.problem:
            yield f"{mixture.name}: failed: {mixture.problem}"


def _minute(time: str | None) -> str:
    """Return a time for display, in the local time zone."""
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M") if time else "–"
