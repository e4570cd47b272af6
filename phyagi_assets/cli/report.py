"""The command that writes a page about a corpus or a mixture."""

import click

from phyagi_assets.cli.common import WholeNumber, number_option, open_workspace, with_settings, write_file
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb
from phyagi_assets.settings import Settings


@verb(reports=False)
@click.argument("name")
@click.option("--output", "-o", "target", metavar="FILE", help="File to write; an existing one is replaced.  [default: NAME.html]")
@number_option("--samples", default=6, show_default=True, type=WholeNumber(0, 1000), help="Number of samples or documents to show.")
@with_settings
def report(output: Output, name: str, target: str | None, samples: int, settings: Settings) -> None:
    """Write an HTML page about a corpus or a mixture.

    The page is one file that can be sent to a colleague. It shows the composition, document lengths, tokens by partition, duplicates,
    random samples with the boundaries of documents and the parts that are trained on, lineage, fingerprints, and how to load it. It needs
    neither the store nor a network. Samples are text of the corpus: send the page only to those who may read it, or write it with
    --samples 0.
    """
    from phyagi_assets.cli.render_page import page_of
    from phyagi_assets.declare.catalog import read_catalog
    from phyagi_assets.formatting import short_size
    from phyagi_assets.inspection.named import list_source
    from phyagi_assets.inspection.overview import overview

    output.messages()
    workspace, is_declared = open_workspace(settings), settings.data.is_dir()
    catalog = read_catalog(settings.data)[0] if is_declared else None
    _, keys = list_source(name, workspace) if is_declared else ("", None)
    page = page_of(overview(name, workspace.store, settings.store, catalog, samples=samples, keys=keys)).encode(errors="replace")
    target = target or f"{name.replace('/', '--')}.html"
    write_file(target, page)
    output.say(f"{target}: {short_size(len(page))}")
