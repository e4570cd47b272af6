"""The command that copies stores."""

import click

from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb


@verb()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.argument("mixtures", nargs=-1, metavar="[MIXTURE]...")
def copy(output: Output, source: str, target: str, mixtures: tuple[str, ...]) -> None:
    """Copy a store, or single mixtures of it, to another place.

    \b
    phyagi-assets copy data/store s3://bucket/store
    phyagi-assets copy s3://bucket/store /data/store demo

    SRC and DST are folders or addresses of buckets. With a MIXTURE, its published plan and the caches that the plan names are copied, else
    all versions. What is at DST already is not copied again, so that an interrupted copy goes on; every file is verified by its checksum.
    Versions that are published in SRC are then published in DST. Nothing is removed from DST.
    """
    from phyagi_assets.cli.progress import CommandProgress
    from phyagi_assets.cli.render import show_copied
    from phyagi_assets.errors import PhyagiAssetsError
    from phyagi_assets.formats.plan_versions import versions_of_mixtures
    from phyagi_assets.inspection.copied import CopyReport
    from phyagi_assets.settings import store_place
    from phyagi_assets.store.copying import copyings, run_all
    from phyagi_assets.store.places import open_store

    places = store_place(source), store_place(target)
    if places[0] == places[1]:
        raise PhyagiAssetsError(f"{source} and {target} are one store; name two")
    stores = open_store(places[0]), open_store(places[1])
    chosen = versions_of_mixtures(stores[0], mixtures) if mixtures else None
    progress = CommandProgress(output, output.messages())
    work = copyings(*stores, chosen)
    if not work:
        raise PhyagiAssetsError(f"{source}: is not a store with artifacts; name one as SRC")
    missing = [item for item in work if not item.is_there]
    with progress.over({item.version.address: () for item in work}, sum(item.bytes for item in work), verb="copying", noun="version"):
        for item in run_all(work):
            progress.started(item.version.address)
            progress.advanced(item.bytes)
    copied = sum(item.bytes for item in missing)
    report = CopyReport(source=str(stores[0]), target=str(stores[1]), copied=len(missing), bytes=copied, present=len(work) - len(missing))
    output.report(report, lambda console: show_copied(console, report))
