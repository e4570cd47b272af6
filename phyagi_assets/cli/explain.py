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
@number_option("--count", type=WholeNumber(1, 100_000), help="With POSITION: number of samples to explain.  [default: 1]")
@number_option("--step", type=WholeNumber(0, LARGEST), help="Explain a step of training, counted from 0, instead of a position.")
@number_option("--batch-size", type=WholeNumber(1, 1_000_000), help="With --step: samples per batch of each process.")
@number_option("--world-size", type=WholeNumber(1, 1_000_000), help="With --step: number of processes.  [default: 1]")
@with_settings
def explain(
    output: Output,
    name: str,
    position: int | None,
    count: int | None,
    step: int | None,
    batch_size: int | None,
    world_size: int | None,
    settings: Settings,
) -> None:
    """Show the documents that training reads at a position.

    \b
    phyagi-assets explain demo 1200 --count 4
    phyagi-assets explain demo --step 300 --batch-size 16 --world-size 8

    The second command explains a step of training instead of a position. For each document, the output shows the corpus, partition,
    source file and row, the tokens and their text. NAME is a mixture, or the path of a mixture.json.
    """
    if position is None and (step is None or batch_size is None):
        raise PhyagiAssetsError("name a POSITION, or a --step with its --batch-size")
    if position is None and count is not None:
        raise PhyagiAssetsError("--count cannot be used with --step, which explains all samples of the step; leave it out")
    if position is not None and any(value is not None for value in (step, batch_size, world_size)):
        raise PhyagiAssetsError("--step, --batch-size and --world-size cannot be used with a POSITION; name a POSITION or a --step")
    from phyagi_assets.cli.render import show_explanation
    from phyagi_assets.inspection.explain import open_explainer
    from phyagi_assets.inspection.explain_report import ExplainReport

    explainer = open_explainer(name, settings.store)
    if step is not None and batch_size is not None:
        count = batch_size * (world_size or 1)
        position = step * count
        if position > LARGEST:
            raise PhyagiAssetsError(f"step {step:,} is beyond position {LARGEST:,}, the last one that an order has")
    first = position or 0
    samples = explainer.explain(range(first, first + (count or 1)))
    output.report(ExplainReport(samples=tuple(samples)), lambda console: show_explanation(console, samples))
