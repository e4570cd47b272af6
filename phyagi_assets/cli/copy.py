"""The command that copies stores."""

import click

from phyagi_assets.cli.common import EPILOG, log_to, report_errors
from phyagi_assets.cli.console import new_console


@click.command(epilog=EPILOG)
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.argument("mixtures", nargs=-1, metavar="[MIXTURE]...")
def copy(source: str, target: str, mixtures: tuple[str, ...]) -> None:
    """Copy a store, or single mixtures of it, to another place.

    \b
    phyagi-assets copy data/store s3://bucket/store
    phyagi-assets copy s3://bucket/store /data/store demo

    SRC and DST are folders or addresses of buckets. With a MIXTURE, its published plan and the caches that the plan names are copied, else
    all versions. What is at DST already is not copied again, so that an interrupted copy goes on; every file is verified by its checksum.
    Versions that are published in SRC are then published in DST. Nothing is removed from DST.
    """
    with report_errors():
        from phyagi_assets.cli.progress import BarProgress
        from phyagi_assets.errors import PhyagiAssetsError
        from phyagi_assets.formats.plan_versions import versions_of_mixtures
        from phyagi_assets.formatting import counted, short_size
        from phyagi_assets.settings import store_place
        from phyagi_assets.store.copying import copyings, run_all
        from phyagi_assets.store.places import open_store

        places = store_place(source), store_place(target)
        if places[0] == places[1]:
            raise PhyagiAssetsError(f"{source} and {target} are one store; name two")
        stores = open_store(places[0]), open_store(places[1])
        chosen = versions_of_mixtures(stores[0], mixtures) if mixtures else None
        messages = new_console(stderr=True)
        log_to(messages)
        progress = BarProgress(messages)
        work = copyings(*stores, chosen)
        if not work:
            raise PhyagiAssetsError(f"{source}: is not a store with artifacts; name one as SRC")
        missing = [item for item in work if not item.is_there]
        with progress.over(len(work), sum(item.bytes for item in work)):
            for item in run_all(work):
                progress.started(item.version.address)
                progress.advanced(item.bytes)
        size = short_size(sum(item.bytes for item in missing))
        new_console().print(
            f"{counted(len(missing), 'version')} copied ({size}), {len(work) - len(missing):,} there already", highlight=False
        )
