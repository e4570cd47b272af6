"""Output of the commands: trees and tables, rendered with rich."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from phyagi_assets.cli.console import print_text
from phyagi_assets.cli.tables import boxed, print_table, ruled_table
from phyagi_assets.declare.catalog import Catalog
from phyagi_assets.errors import StoreAccessError
from phyagi_assets.formats.plan import STEP as MIXED
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.formatting import counted, digits, listed, short, short_counted, short_size
from phyagi_assets.inspection.caches import caches_of_corpus
from phyagi_assets.inspection.materialize_report import MaterializeReport
from phyagi_assets.order.composition import plan_lines
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.store.base import Store

if TYPE_CHECKING:
    from phyagi_assets.inspection.check import CheckReport
    from phyagi_assets.inspection.copy_report import CopyReport
    from phyagi_assets.inspection.documents import FoundDocument
    from phyagi_assets.inspection.explain import ExplainedSample
    from phyagi_assets.inspection.exposure import Exposure
    from phyagi_assets.inspection.forecast import Forecast
    from phyagi_assets.inspection.garbage import CleanReport
    from phyagi_assets.inspection.remove import RemoveReport

_LISTED = 20
"""Largest number of documents, or of positions of a document, that are listed."""
_SHOWN = 400
"""Largest number of characters of a document in an explanation."""


def catalog_trees(catalog: Catalog, store: Store, partitions: Mapping[str, Collection[str]]) -> Iterator[Tree]:
    """Yield a tree for each mixture, and for each corpus that is in no mixture, with its published partitions.

    Parameters
    ----------
    partitions
        Keys of the partitions in the source, by corpus: retired partitions are not counted. Without a corpus's keys, all that are
        published are counted.
    """
    mixed = {corpus for mixture in catalog.mixtures.values() for corpus in mixture.config.corpora}
    for name in (*catalog.mixtures, *(corpus for corpus in catalog.corpora if corpus not in mixed)):
        try:
            yield _mixture_tree(name, store) if name in catalog.mixtures else _corpus_tree(name, store, partitions.get(name))
        except StoreAccessError:
            yield Tree(f"[bold]{name}[/] [red]may not be read[/]")


def _mixture_tree(name: str, store: Store) -> Tree:
    artifact = store.open(f"{name}/{MIXED}")
    head, *branches = plan_lines(plan_of(artifact)) if artifact else [f"{name} [red]not materialized[/]"]
    tree = Tree(_first_bold(head))
    for branch in branches:
        tree.add(_first_bold(branch))
    return tree


def _corpus_tree(name: str, store: Store, among: Collection[str] | None) -> Tree:
    caches = caches_of_corpus(name, store, among=among).values()
    tokens = sum(CACHE.totals(artifact.manifest)["tokens"] for artifact in caches)
    return Tree(f"[bold]{name}[/] {short_counted(tokens, 'token')} in {counted(len(caches), 'partition')}")


def show_outcome(
    console: Console, report: MaterializeReport, catalog: Catalog, store: Store, partitions: Mapping[str, Collection[str]]
) -> None:
    """Print the corpora and mixtures that were brought up to date, and one line with the counts; see `catalog_trees`."""
    for tree in catalog_trees(catalog, store, partitions):
        console.print(tree)
    for name, left_out in report.skipped.items():
        line = f"{name}: leaves out {counted(len(left_out), 'partition')} that failed: {listed(left_out, _LISTED)}"
        print_text(console, line)
    console.print(f"{len(report.built)} built, {report.current} up to date, {len(report.failed)} failed")


def show_copied(console: Console, report: "CopyReport") -> None:
    """Print the outcome of copying a store."""
    size = short_size(report.bytes)
    console.print(f"{counted(report.copied, 'version')} copied ({size}), {report.present:,} there already")
    if report.left_out:
        line = (
            f"{counted(report.left_out, 'version')} not copied; materialize builds damaged ones again after: phyagi-assets check --discard"
        )
        console.print(line, soft_wrap=True)
    if report.referring:
        refer = "refers" if report.referring == 1 else "refer"
        line = f"{counted(report.referring, 'version')} of raw_dataset {refer} to objects in their buckets, which are not copied"
        console.print(line, soft_wrap=True)


def show_check(console: Console, report: "CheckReport") -> None:
    """Print the counts of a check, and the entries that were left alone or discarded; problems are printed as errors."""
    counts = f"{counted(report.declarations, 'declaration')} and {counted(report.artifacts, 'artifact')} checked"
    console.print(f"{counts}, {counted(len(report.problems), 'problem')}")
    lines = [f"{name}: {files}" for name, files in report.left_out.items()]
    lines += [f"left alone: {reason}" for reason in report.left_alone]
    lines += [f"{address}: discarded; materialize builds it again" for address in report.discarded]
    for line in lines:
        print_text(console, line)
    if not report.discarded and any(problem.is_damage for problem in report.problems):
        console.print("Damaged artifacts are removed with --discard; materialize then builds them again")


def show_forecast(console: Console, found: "Forecast") -> None:
    """Print the forecast of a run."""
    console.print(f"[bold]{found.mixture}[/] {short_counted(found.tokens, 'token')}, {_epochs(found.epochs)} of the mixture")
    is_packed = any(corpus.fill is not None for corpus in found.corpora)
    fill_of_packed = ["packed, full"] if is_packed else []
    repeats = any(corpus.repeats_too_often for corpus in found.corpora)
    columns = ["corpus", "declared", "training tokens", "in no sample", *fill_of_packed, "read", "epochs", *[""] * repeats]
    table = ruled_table(columns, texts=("corpus", "declared", ""))
    for corpus in found.corpora:
        sign = "" if corpus.is_exact else "≈ "
        note = [f"[red]more than max_epochs {corpus.max_epochs:g}[/]" if corpus.repeats_too_often else ""] * repeats
        epochs = f"{sign}{digits(corpus.epochs)}"
        uncovered = f"{corpus.uncovered:,}" if corpus.is_exact else ""
        fill = ["" if corpus.fill is None else f"{100 * corpus.fill:.2f} %"] if is_packed else []
        table.add_row(corpus.corpus, corpus.amount, f"{sign}{short(corpus.tokens)}", uncovered, *fill, short(corpus.read), epochs, *note)
    print_table(console, table)
    if found.bytes_to_write:
        size, seconds = short_size(found.bytes_to_write), max(1, round(found.seconds))
        console.print(f"To build: about {size} on disk, {_duration(seconds)} on this machine")
    else:
        console.print("Everything is built")


def _duration(seconds: int) -> str:
    hours, minutes = divmod(seconds // 60, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{seconds} s"


def show_explanation(console: Console, found: "Iterable[ExplainedSample]") -> None:
    """Print the origin of samples, and for each document the beginning of its text in the sample."""
    for sample in found:
        head = f"[bold]position {sample.position:,}[/]  {escape(sample.corpus)}/{escape(sample.partition)}, epoch {sample.epoch:,}"
        console.print(head)
        for array, runs in groupby(sample.runs, lambda run: str(run.array)):
            parts = ", ".join(f"{run.offset:,}–{run.offset + run.end - run.start:,}" for run in runs)
            tokens = f"{sample.runs[0].offset:,} on" if len(sample.runs) == 1 else parts
            console.print(f"  {escape(array)}, tokens {tokens}", soft_wrap=True)
        for document in sample.documents:
            where = f"{document.file} row {document.row + 1:,}, id {document.id}: tokens {document.part}"
            console.print(boxed(console, document.marked[:_SHOWN], f"{document.start}–{document.end}  {where}"))


def show_removable(console: Console, report: "CleanReport", grace: float) -> None:
    """Print the versions that can be removed or were removed, and the files that are left alone, given the grace period in hours."""
    for item in report.versions:
        note = "" if report.is_dry_run or item.removed else "  kept: it is needed again, or another command is using it"
        print_text(console, f"{item.name}  {short_size(item.bytes)}  {item.why}{note}")
    for foreign in report.left_alone:
        print_text(console, f"left alone: {foreign}")
    if report.young:
        kept = f"{counted(report.young, 'version')} written or published in the last {grace:g} hours"
        console.print(f"{kept} would also be removed with --grace 0")
    listed = [item for item in report.versions if report.is_dry_run or item.removed]
    size = f"{counted(len(listed), 'version')}, {short_size(sum(item.bytes for item in listed))}"
    if not report.versions:
        console.print("There is nothing to remove")
    else:
        console.print(f"{size} would be removed; pass --yes to remove them" if report.is_dry_run else f"{size} removed")


def show_removal(console: Console, report: "RemoveReport") -> None:
    """Print the documents that are excluded, where mixtures use them, and what to do next."""
    _show_found(console, report.documents)
    _show_exposures(console, report.exposures)
    lines = [f"{counted(len(report.ids), 'document')} would be removed"]
    if not report.is_dry_run:
        lines = [
            f"{counted(len(report.recorded), 'document')} recorded in {report.file}",
            f"To exclude them: phyagi-assets materialize {' '.join(report.mixtures or [report.corpus])}",
            "To delete older versions that contain them: phyagi-assets clean --old-plans --yes",
        ]
    for line in lines:
        print_text(console, line)


def _show_found(console: Console, found: "Sequence[FoundDocument]") -> None:
    for document in found[:_LISTED]:
        where = f"{document.partition}  {document.file} row {document.row + 1:,}"
        print_text(console, f"{document.id}  {where}  {' '.join(document.text.split())[:60]}")
    if len(found) > _LISTED:
        console.print(f"and {len(found) - _LISTED:,} more")


def _show_exposures(console: Console, found: "Iterable[Exposure]") -> None:
    texts = ("mixture", "plan", "split", "document", "positions")
    table = ruled_table(("mixture", "plan", "split", "document", "samples", "positions"), texts=texts, title="In the order of mixtures")
    table.columns[-1].no_wrap = False
    for exposure in found:
        plan = exposure.plan[:8] if exposure.is_published else f"{exposure.plan[:8]} (old)"
        positions = listed([f"{position:,}" for position in exposure.positions], _LISTED)
        until = f"of {exposure.until:,}"
        table.add_row(exposure.mixture, plan, exposure.split, exposure.id, f"{len(exposure.positions):,} {until}", positions)
    if table.rows:
        print_table(console, table)
    else:
        console.print("No mixture in the store contains these documents")


def _first_bold(line: str) -> str:
    first, _, rest = line.partition(" ")
    return f"[bold]{first}[/] {rest}"


def _epochs(number: float) -> str:
    shown = digits(number)
    return f"{shown} epoch{'' if shown == '1' else 's'}"
