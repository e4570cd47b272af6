"""The command that traces positions back to documents."""

import click

from phyagi_assets.cli.common import WholeNumber, number_option, with_settings
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import LARGEST
from phyagi_assets.settings import Settings


@verb()
@click.argument("name")
@click.argument("position", type=WholeNumber(0, LARGEST), required=False)
@number_option("--count", default=1, show_default=True, type=WholeNumber(1, 100_000), help="Number of samples to explain.")
@number_option("--step", type=WholeNumber(0, LARGEST), help="Explain a step of training, counted from 0, instead of a position.")
@number_option("--batch-size", type=WholeNumber(1, 1_000_000), help="With --step: samples per batch of each process.")
@number_option("--world-size", default=1, show_default=True, type=WholeNumber(1, 1_000_000), help="With --step: number of processes.")
@with_settings
def explain(
    output: Output,
    name: str,
    position: int | None,
    count: int,
    step: int | None,
    batch_size: int | None,
    world_size: int,
    settings: Settings,
) -> None:
    """Show the documents that training reads at a position.

    \b
    phyagi-assets explain demo 1200 --count 4
    phyagi-assets explain demo --step 300 --batch-size 16 --world-size 8

    The second command explains a step of training instead of a position. For each document, the output shows the corpus, partition,
    source file and row, the tokens and their text. NAME is a mixture, or the path of a mixture.json.
    """
    if (position is None) == (step is None) or (step is not None and batch_size is None):
        raise PhyagiAssetsError("name a POSITION, or a --step with its --batch-size")
    from phyagi_assets.cli.render import show_explanation
    from phyagi_assets.inspection.explain import open_explainer
    from phyagi_assets.inspection.explain_report import ExplainReport

    explainer = open_explainer(name, settings.store)
    if step is not None and batch_size is not None:
        if step * batch_size * world_size > LARGEST:
            raise PhyagiAssetsError(f"step {step:,} is beyond position {LARGEST:,}, the last one that an order has")
        count = batch_size * world_size
        position = step * count
    first = position or 0
    samples = explainer.explain(range(first, first + count))
    output.report(ExplainReport(samples=tuple(samples)), lambda console: show_explanation(console, samples))
