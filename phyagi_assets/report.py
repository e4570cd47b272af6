"""What the command prints: trees, tables and bars, with rich."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.table import Table
from rich.tree import Tree

from phyagi_assets.components.plots import short
from phyagi_assets.declarations import Catalog
from phyagi_assets.pipeline.cache import STAGE as CACHE
from phyagi_assets.pipeline.inspection import Inspection
from phyagi_assets.pipeline.mixture import STAGE as MIXED
from phyagi_assets.pipeline.sources.listing import Partition
from phyagi_assets.pipeline.statistics import Lengths
from phyagi_assets.pipeline.step import OnProgress
from phyagi_assets.pipeline.store import Artifact, Store
from phyagi_assets.plan import PLAN, Plan


class BarProgress:
    """One bar over all that a command has to read, in bytes of source.

    Parameters
    ----------
    console
        Where it is drawn; nothing is where that is no terminal.
    """

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task: TaskID = self._bar.add_task("", total=None)
        self._base = 0

    @contextmanager
    def over(self, total: int) -> Iterator["BarProgress"]:
        """Draw the bar while inside."""
        self._bar.update(self._task, total=total)
        with self._bar:
            yield self

    def started(self, name: str) -> None:
        """Name what is being worked on."""
        self._bar.update(self._task, description=name)

    @contextmanager
    def watch(self, context: dg.AssetExecutionContext, stage: str, partition: Partition) -> Iterator[OnProgress]:
        """Advance with a step, by what it says and at its end by what it left unsaid."""
        del context
        before, said = self._bar.tasks[self._task].completed, 0
        size = sum(file.path.stat().st_size for file in partition.files) if stage == "tokenized_arrow" else 0

        def on_progress(consumed: int) -> None:
            nonlocal said
            said += consumed
            self._bar.update(self._task, completed=before + min(said, size))

        yield on_progress
        self._bar.update(self._task, completed=before + size)


def catalog_trees(catalog: Catalog, store: Store) -> Iterator[Tree]:
    """What there is of each mixture and of the corpora that stand in none."""
    mixed: set[str] = set()
    for name, mixture in catalog.mixtures.items():
        mixed |= {part.corpus for part in mixture.config.datasets}
        artifact = store.open(f"{name}/{MIXED}")
        if artifact is None:
            yield Tree(f"[bold]{name}[/] [red]not materialized[/]")
            continue
        plan = Plan.read(artifact.path / PLAN)
        tree = Tree(f"[bold]{name}[/] {short(_tokens(artifact))} tokens, {plan.drawn:,} samples of {plan.seq_len} in an epoch")
        for corpus in plan.corpora:
            tokens = short(corpus.total("train", "tokens"))
            tree.add(
                f"[bold]{corpus.name}[/] ×{corpus.weight:g}  {tokens} training tokens in {_counted(len(corpus.partitions), 'partition')}"
            )
        yield tree
    for name in catalog.corpora:
        if name not in mixed:
            caches = [artifact for address in store.list() if address.startswith(f"{name}/{CACHE}/") and (artifact := store.open(address))]
            yield Tree(f"[bold]{name}[/] {short(sum(map(_tokens, caches)))} tokens in {_counted(len(caches), 'partition')}")


def _tokens(artifact: Artifact) -> int:
    return sum(of["tokens"] for of in artifact.manifest.counts.values())


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def show_inspection(console: Console, found: Inspection) -> None:
    """Print an artifact's facts, parts, lengths and samples."""
    console.print(f"[bold]{found.title}[/]")
    facts = Table(show_header=False, box=None)
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in found.facts.items():
        facts.add_row(name, escape(value))
    console.print(facts)
    if found.parts:
        table = Table(*dict.fromkeys(key for part in found.parts for key in part))
        for part in found.parts:
            table.add_row(*(part.get(str(column.header), "") for column in table.columns))
        console.print(table)
    if found.lengths:
        console.print(_lengths(found.lengths))
    for sample in found.samples:
        console.print(Panel(escape(sample.text), title=escape(f"{sample.where}, {sample.tokens:,} tokens"), title_align="left"))


def _lengths(lengths: Lengths) -> Table:
    quantiles = ", ".join(f"{name} {value:,}" for name, value in lengths.quantiles.items())
    table = Table(
        "tokens", "documents", "", title=f"tokens a document: {quantiles}, mean {lengths.mean:,.1f}", title_justify="left", box=None
    )
    most = max(count for _, count in lengths.histogram)
    for low, count in lengths.histogram:
        table.add_row(f"≥ {low:,}", f"{count:,}", "█" * round(40 * count / most))
    return table
