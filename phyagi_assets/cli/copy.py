"""The command that copies stores."""

import logging
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from phyagi_assets.cli.common import FAILED, print_error
from phyagi_assets.cli.output import Output
from phyagi_assets.cli.verb import verb

if TYPE_CHECKING:
    from phyagi_assets.exports.reference_layout import CacheCopy
    from phyagi_assets.settings import BucketAddress
    from phyagi_assets.store.base import Store
    from phyagi_assets.store.copying import VersionCopy

    Item = VersionCopy | CacheCopy

logger = logging.getLogger(__name__)


@verb()
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="DST")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--layout",
    type=click.Choice(["store", "reference"]),
    default="store",
    show_default=True,
    help="Layout of DST: a store, or folders with one file per token array, as the reference library reads them.",
)
def copy(output: Output, source: str, target: str, names: tuple[str, ...], layout: str) -> None:
    """Copy a store, or parts of it, to another place.

    \b
    phyagi-assets copy data/store s3://bucket/store
    phyagi-assets copy s3://bucket/store /data/store demo
    phyagi-assets copy --layout reference data/store /data/caches news

    SRC and DST are folders or addresses of buckets. If mixtures are named, their published plans and the caches that the plans name are
    copied; without names, or with all, every version. What DST already has is not copied again, so an interrupted copy can be repeated.
    Every file is verified by its checksum. Versions that are published in SRC are then published in DST. Nothing is removed from DST.
    Objects that raw_dataset reads in their buckets stay there. Damaged versions, and plans that name them, are reported and not copied.

    With --layout reference, DST gets a folder CORPUS/PARTITION for each published cache, or only for those of the named corpora and
    mixtures. The pieces of an array are joined.
    """
    from phyagi_assets.cli.progress import ConsoleProgress
    from phyagi_assets.cli.render import show_copied
    from phyagi_assets.errors import PhyagiAssetsError
    from phyagi_assets.inspection.copy_report import CopyReport
    from phyagi_assets.settings import holds, refuse_dangling, store_place
    from phyagi_assets.store.places import open_store

    places = store_place(source), store_place(target)
    for place in places:
        refuse_dangling(place, "name another store")
    if holds(*places) or holds(*reversed(places)):
        raise PhyagiAssetsError(f"{source} and {target} are the same place, or one is inside the other; name two separate places")
    chosen = () if names == ("all",) else names
    store = open_store(places[0])
    progress = ConsoleProgress(output, output.messages())
    copying = (_to_caches if layout == "reference" else _to_store)(store, places[1], chosen)
    if not copying.items:
        raise PhyagiAssetsError(f"{source}: is not a store with artifacts; name one as SRC")
    problems = list(copying.unread)
    left_out: list[Item] = []
    size = sum(item.bytes for item in copying.items)
    with progress.track({item.artifact.version.path: () for item in copying.items}, size, verb="copying", noun="version"):
        for item, reasons in copying.done:
            name = f"{item.artifact.address}@{item.artifact.fingerprint[:8]}"
            progress.copied(name, item.bytes, is_there=item.is_there, is_left_out=bool(reasons))
            if reasons:
                problems += reasons
                left_out.append(item)
    for problem in problems:
        print_error(problem)
    present = sum(item.is_there for item in copying.items)
    report = CopyReport(
        source=str(store),
        target=str(places[1]),
        copied=len(copying.items) - present - len(left_out),
        bytes=size - sum(item.bytes for item in left_out),
        present=present,
        referring=copying.referring,
        left_out=len(left_out) + len(copying.unread),
        problems=problems,
    )
    output.report(report, lambda console: show_copied(console, report))
    sys.exit(FAILED if problems else 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Copying:
    """The copies that one command makes."""

    items: "Sequence[Item]"
    done: "Iterator[tuple[Item, Sequence[str]]]"
    """Makes the copies. Yields each with the problems for which it is left out."""
    unread: Collection[str]
    """Messages about versions that cannot be read."""
    referring: int = 0
    """Number of versions that read objects in their buckets."""


def _to_store(store: "Store", target: "Path | BucketAddress", names: Sequence[str]) -> _Copying:
    from phyagi_assets.formats.plan_versions import versions_named, versions_of_mixtures
    from phyagi_assets.steps.pins import has_pins
    from phyagi_assets.store.copying import copy_versions, unread_versions, version_copies
    from phyagi_assets.store.data_folders import replaced_by_copy
    from phyagi_assets.store.places import open_store

    other = open_store(target)
    wanted = versions_of_mixtures(store, names) if names else None
    items = version_copies(store, other, wanted)
    unread = unread_versions(store, wanted)
    for name in sorted({item.artifact.version.address.name for item in items}):
        warning = replaced_by_copy(store, other, name)
        if warning and any(item.replaces for item in items if item.artifact.version.address.name == name):
            logger.warning(warning)
    done = copy_versions(items, versions_named, unread)
    return _Copying(items=items, done=done, unread=unread.values(), referring=sum(has_pins(item.artifact) for item in items))


def _to_caches(store: "Store", target: "Path | BucketAddress", names: Sequence[str]) -> _Copying:
    from phyagi_assets.exports.reference_layout import cache_copies, unread_caches
    from phyagi_assets.exports.targets import open_target

    items = cache_copies(store, open_target(target), names)
    return _Copying(items=items, done=((item, item.run()) for item in items), unread=unread_caches(store, names).values())
