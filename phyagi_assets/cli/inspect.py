"""Commands that check and show artifacts."""

import sys
from collections.abc import Callable
from pathlib import Path

import click

from phyagi_assets.cli.common import EPILOG, FAILED, LAST_POSITION, MISUSED, folder_options, print_error, report_errors
from phyagi_assets.cli.console import new_console
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.settings import Settings


@click.command(epilog=EPILOG)
@click.option("--discard", is_flag=True, help="Remove damaged artifacts from the store; materialize builds them again.")
@folder_options
def check(discard: bool, data: str | None, store: str | None) -> None:
    """Validate every declaration, and compare the store with its checksums.

    All problems are listed, not only the first one. Damaged artifacts are kept unless you pass --discard: then they are removed, and the
    next materialize builds them again, byte for byte. Files that the store did not create are listed and never removed.
    """
    with report_errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.formatting import counted
        from phyagi_assets.inspection.integrity import declaration_problems, discard_damaged, links_in_loops, store_problems
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.places import open_store

        workspace = Workspace(data=settings.require_data(), store=open_store(settings.store))
        console, checked = new_console(), [0, 0]

        def count(kind: int) -> Callable[[str], None]:
            def on_checked(_name: str) -> None:
                checked[kind] += 1

            return on_checked

        left_out: dict[str, str] = {}
        declared = list(declaration_problems(workspace, count(0), left_out.__setitem__))
        stored = list(store_problems(workspace.store, count(1)))
        stored_at = [settings.store, *filter(Path.is_symlink, settings.store.glob("*"))] if isinstance(settings.store, Path) else []
        looped = links_in_loops([settings.data, *stored_at])
        loops = [
            f"{link}: is a link in a loop: it leads to {link.readlink()}, and from there back to itself or into another loop; remove it, "
            "or link it to an existing file or folder"
            for link in looped
        ]
        for problem in [*declared, *map(str, stored), *loops]:
            print_error(problem)
        counts = f"{counted(checked[0], 'declaration')} and {counted(checked[1], 'artifact')} checked"
        console.print(f"{counts}, {counted(len(declared) + len(stored) + len(loops), 'problem')}", highlight=False)
        for name, files in left_out.items():
            console.print(f"{name}: {files}", highlight=False, markup=False, soft_wrap=True)
        for foreign in workspace.store.survey().foreign:
            if foreign.path in looped:
                continue
            console.print(f"left alone: {foreign}", highlight=False, markup=False, soft_wrap=True)
        if discard and settings.has_store:
            workspace.store.remove_abandoned_files(everywhere=True)
            discarded, left = discard_damaged(workspace.store, stored)
            for address in discarded:
                console.print(f"{address}: discarded; materialize builds it again", highlight=False, soft_wrap=True)
            for reason in left:
                console.print(f"left alone: {reason}", highlight=False, markup=False, soft_wrap=True)
        elif any(problem.version for problem in stored):
            console.print("Damaged artifacts are removed with --discard; materialize then builds them again", highlight=False)
        sys.exit(MISUSED if declared else FAILED if stored or loops else 0)


@click.command(epilog=EPILOG)
@click.argument("name", metavar="PATH|NAME")
@folder_options
def inspect(name: str, data: str | None, store: str | None) -> None:
    """Show the metadata and statistics of an artifact, and the first words of some of its documents.

    \b
    Name it by
      a mixture or a corpus      demo, shakespeare
      an address in the store    shakespeare/numpy_cache/hamlet
      a path                     data/store/demo/mixed_dataset, …/hamlet/train.npy
    """
    with report_errors():
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.cli.render import show_inspection
        from phyagi_assets.inspection.describe import inspect_named
        from phyagi_assets.steps.step import Workspace
        from phyagi_assets.store.places import open_store

        stored = open_store(settings.store)
        workspace = Workspace(data=settings.data, store=stored) if settings.data.is_dir() else None
        show_inspection(new_console(), inspect_named(name, stored, workspace))


@click.command(epilog=EPILOG)
@click.argument("name")
@click.argument("position", type=click.IntRange(0, LAST_POSITION), required=False)
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 100_000), help="Number of samples to explain.")
@click.option("--step", type=click.IntRange(0, LAST_POSITION), help="Explain a global step of training instead of a position, from 0.")
@click.option("--batch-size", type=click.IntRange(1, 1_000_000), help="With --step: samples in a batch of one process.")
@click.option("--world-size", default=1, show_default=True, type=click.IntRange(1, 1_000_000), help="With --step: processes.")
@folder_options
def explain(
    name: str,
    position: int | None,
    count: int,
    step: int | None,
    batch_size: int | None,
    world_size: int,
    data: str | None,
    store: str | None,
) -> None:
    """Show which documents a training run reads at a position of a mixture, or at a step.

    \b
    phyagi-assets explain demo 1200 --count 4
    phyagi-assets explain demo --step 300 --batch-size 16 --world-size 8

    For each document, this shows its corpus, partition, source file and row, its tokens and their text. NAME is a mixture, or
    the path of a mixture.json.
    """
    with report_errors():
        if (position is None) == (step is None) or (step is not None and batch_size is None):
            raise PhyagiAssetsError("name a POSITION, or a --step with its --batch-size")
        settings = Settings.resolve(data=data, store=store)
        from phyagi_assets.cli.render import show_explanation
        from phyagi_assets.inspection.explain import open_explainer

        explainer = open_explainer(name, settings.store)
        if step is not None and batch_size is not None:
            if step * batch_size * world_size > LAST_POSITION:
                raise PhyagiAssetsError(f"step {step:,} is beyond position {LAST_POSITION:,}, the last one that an order has")
            count = batch_size * world_size
            position = step * count
        first = position or 0
        show_explanation(new_console(), explainer.explain(range(first, first + count)))
