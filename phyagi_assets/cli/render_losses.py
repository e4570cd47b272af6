"""Output of the command that shows a ledger of losses."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from phyagi_assets.cli.console import print_text
from phyagi_assets.cli.tables import boxed, print_table, ruled_table
from phyagi_assets.formatting import counted, digits, listed, short, short_counted
from phyagi_assets.inspection.loss_proposal import Proposal
from phyagi_assets.inspection.loss_report import CorpusLosses, LossDocument, LossReport, LossSpike

_BLOCKS = "▁▂▃▄▅▆▇█"
_CURVE, _NARROWEST = 40, 12
"""Largest and smallest width of a curve."""
_BETWEEN = 2
"""Width of the gap between two columns of a table."""
_LISTED = 8
"""Largest number of positions of a document that are listed."""


def show_losses(console: Console, report: LossReport) -> None:
    """Print the losses of each corpus, the spikes with their documents, and the proposed shares."""
    steps = f"steps {report.first_step:,} to {report.last_step:,}, {short_counted(report.tokens, 'token')}, {counted(report.ranks, 'rank')}"
    again = f"; {counted(report.runs, 'run')}, {counted(report.replaced, 'row')} replaced" if report.runs > 1 else ""
    console.print(f"[bold]{escape(report.mixture)}[/] {steps}{again}, loss {_loss(report.loss)}", soft_wrap=True)
    print_table(console, _table_of_corpora(report, console))
    if not report.spikes:
        console.print("No spikes")
    for spike in report.spikes:
        _show_spike(console, spike)
    if report.outliers:
        elsewhere = ", outside of these spikes" if report.spikes else ""
        console.print(f"[bold]Documents with a loss far above others of their corpus and length[/]{elsewhere}", soft_wrap=True)
    for document in report.outliers:
        _show_document(console, document)
    if found := [*(document for spike in report.spikes for document in spike.documents), *report.outliers]:
        worst = found[0]
        print_text(console, f"To remove a document: phyagi-assets remove {worst.corpus} --id {worst.id}")
    if report.proposal:
        _show_proposal(console, report.proposal)


def _table_of_corpora(report: LossReport, console: Console) -> Table:
    """Return a table of the losses of each corpus, with curves that fill the remaining width."""
    rows = [
        (
            escape(corpus.corpus),
            short(corpus.tokens),
            f"{corpus.share:.1%}",
            *(_loss(number) for number in (corpus.loss, corpus.first, corpus.last)),
        )
        for corpus in report.corpora
    ]
    room = console.width - Measurement.get(console, console.options, _aligned(rows)).maximum - _BETWEEN
    (low, high), width = _bounds(report.corpora), max(_NARROWEST, min(_CURVE, room))
    curves = [_sparkline([point.loss for point in corpus.curve], low, high, width) for corpus in report.corpora]
    return _aligned([(*row, curve) for row, curve in zip(rows, curves, strict=True)])


def _aligned(rows: Sequence[Sequence[str]]) -> Table:
    table = ruled_table(("corpus", "tokens", "share", "loss", "first", "last", "")[: len(rows[0])], texts=("corpus", ""))
    for row in rows:
        table.add_row(*row)
    return table


def _show_spike(console: Console, spike: LossSpike) -> None:
    steps = f"step {spike.first:,}" if spike.first == spike.last else f"steps {spike.first:,} to {spike.last:,}, peak at {spike.peak:,}"
    score = "not finite" if spike.score is None else f"{spike.score:.1f} standard deviations"
    instead = "" if spike.expected is None else f" instead of {spike.expected:.3f}"
    line = f"[bold]Spike at {steps}[/]: loss {_loss(spike.loss)}{instead}, {score}"
    console.print(line, soft_wrap=True)
    for document in spike.documents:
        _show_document(console, document)


def _show_document(console: Console, document: LossDocument) -> None:
    positions = listed([f"{position:,}" for position in document.positions], _LISTED)
    scope = "" if document.is_measured else " (of the whole samples)"
    title = f"{document.corpus}/{document.partition}  {document.file} row {document.row + 1:,}, id {document.id}"
    at = "position" if len(document.positions) == 1 else "positions"
    summary = f"loss {_loss(document.loss)} over {counted(document.tokens, 'token')}{scope}; {at} {positions}"
    console.print(boxed(console, f"{summary}\n{' '.join(document.text.split())}", title))


def _show_proposal(console: Console, proposal: Proposal) -> None:
    console.print(f"[bold]Proposed shares[/] by {proposal.rule}", soft_wrap=True)
    console.print(proposal.formula, markup=False)
    table = ruled_table(("corpus", "declared", "trained", "nats per billion tokens", "proposed"), texts=("corpus",))
    for corpus in proposal.corpora:
        table.add_row(escape(corpus.corpus), f"{corpus.declared:.1%}", f"{corpus.trained:.1%}", digits(corpus.speed), f"{corpus.share:.2%}")
    print_table(console, table)
    print_text(console, proposal.declaration, end="")


def _loss(loss: float | None) -> str:
    return "–" if loss is None else f"{loss:.3f}"


def _bounds(corpora: Iterable[CorpusLosses]) -> tuple[float, float]:
    """Return the smallest and the largest loss of all curves."""
    losses = [point.loss for corpus in corpora for point in corpus.curve if point.loss is not None]
    return min(losses, default=0.0), max(losses, default=0.0)


def _sparkline(losses: Sequence[float | None], low: float, high: float, most: int) -> str:
    """Draw a curve, with a blank where there is no loss; neighbouring points of a long curve share a character, the largest of them."""
    bars = []
    width = min(most, len(losses))
    for at in range(width):
        near = [loss for loss in losses[at * len(losses) // width : (at + 1) * len(losses) // width] if loss is not None]
        height = (max(near) - low) / ((high - low) or 1) if near else 0.0
        bars.append(_BLOCKS[round(height * (len(_BLOCKS) - 1))] if near else " ")
    return "".join(bars)
