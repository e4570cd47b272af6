"""The command that shows a ledger of losses."""

from pathlib import Path

import click

from phyagi_assets.cli.common import WholeNumber, number_option, with_settings, write_file
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings


@verb()
@click.argument("name")
@click.argument("ledger")
@number_option("--spikes", default=3, show_default=True, type=WholeNumber(0, 1000), help="Largest number of spikes to show.")
@number_option(
    "--documents", default=3, show_default=True, type=WholeNumber(0, 1000), help="Largest number of documents per spike, and of others."
)
@click.option("--propose", "proposes", is_flag=True, help="Also propose shares of the corpora for the next stage.")
@click.option("--output", "-o", "target", metavar="FILE", help="Also draw the curves to an SVG file; an existing one is replaced.")
@with_settings
def losses(
    output: Output, name: str, ledger: str, spikes: int, documents: int, proposes: bool, target: str | None, settings: Settings
) -> None:
    """Show losses by corpus, and the documents behind spikes.

    \b
    phyagi-assets losses demo runs/1/losses
    phyagi-assets losses demo runs/1/losses --propose
    phyagi-assets losses demo runs/1/losses -o losses.svg

    NAME is a mixture, or the path of a mixture.json. LEDGER is the folder that a LossLedger of phyagi_assets.datasets wrote.
    """
    if target is not None and not target.lower().endswith(".svg"):
        raise click.BadParameter(f"{target} does not end in .svg, the only format that is drawn", param_hint="--output")
    from phyagi_assets.cli.loss_chart import loss_chart
    from phyagi_assets.cli.render_losses import show_losses
    from phyagi_assets.formats.loss_ledger import read_ledger
    from phyagi_assets.inspection.explain import open_explainer
    from phyagi_assets.inspection.loss_proposal import propose
    from phyagi_assets.inspection.losses import report_losses, require_same_order

    output.messages()
    found = read_ledger(Path(ledger))
    try:
        explainer = open_explainer(name, settings.store, seq_len=found.seq_len)
    except ValueError as problem:
        raise PhyagiAssetsError(f"{ledger}: has samples of {found.seq_len:,} tokens: {problem}; name the mixture of the ledger") from None
    require_same_order(found, explainer.plan)
    proposal = propose(found, explainer.plan) if proposes else None
    report = report_losses(found, explainer, spikes=spikes, documents=documents, proposal=proposal)
    if target is not None:
        write_file(target, loss_chart(report).encode(errors="replace"))
    output.report(report, lambda console: show_losses(console, report))
