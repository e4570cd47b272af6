"""Find the positions at which mixtures use a document."""

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.declare.splits import SPLITS, Split
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.find_plan import RemotePlan
from phyagi_assets.formats.plan import PLAN, Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.inspection.spans import spans_of
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.reading.packed_indices import PackedIndices
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.store.artifact import StoredVersion
from phyagi_assets.store.base import Store

logger = logging.getLogger(__name__)

EVALUATION = "evaluation"
"""Name, in place of a split, of the samples of a corpus for evaluation only, whose splits are all read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exposure:
    """The positions of a document in the order of a mixture."""

    mixture: str
    plan: str
    """Fingerprint of the plan that sets the order."""
    is_published: bool
    """Whether the plan is the published one of the mixture; otherwise it is superseded."""
    split: str
    """The split, or ``evaluation``, whose positions count in ``validation_by_corpus``."""
    id: str
    positions: list[int]
    """Positions, ascending, of samples that contain a token of the document, as an input or only as the last label."""
    until: int
    """End of the range of positions that was searched, exclusive."""


def exposures(corpus: str, ids: Collection[str], store: Store, until: int | None = None) -> Iterator[Exposure]:
    """Find documents of a corpus in the order of every plan in a store.

    If a plan or one of its caches cannot be read, a warning is logged and the plan is skipped.

    Parameters
    ----------
    until
        End of the range of training positions to search, exclusive; by default, the end of an epoch of the mixture. Other splits are
        always searched to their end.
    """
    for version in store.survey().versions:
        if version.address.step == MIXTURE.name:
            home = version.folder()
            try:
                yield from list(_in_plan(version, home, store, corpus, ids, until))
            except (StoreError, OSError, ValueError, OverflowError) as problem:
                logger.warning("%s: cannot be searched for the documents: %s", home / PLAN, problem)


def _in_plan(version: StoredVersion, home: Path, store: Store, corpus: str, ids: Collection[str], until: int | None) -> Iterator[Exposure]:
    """Find documents of a corpus in the order of one plan, given the folder of the plan on this machine."""
    plan, remote = read_plan(home / PLAN), RemotePlan(version, store) if version.remote else None
    paths, indices = PlanPaths(plan, home), PackedIndices(plan, home)
    for shown, split, searched, numbers in _searched_splits(plan, corpus):
        partitions = [(number, *numbered) for number in numbers for numbered in enumerate(plan.corpora[number].partitions)]
        holding = [(number, index, partition) for number, index, partition in partitions if split in partition.shards]
        if not holding:
            continue
        order = MixtureOrder(searched, split, indices)
        below = until if until is not None and split == "train" else len(order)
        positions: dict[str, set[int]] = {}
        for number, index, partition in holding:
            shard = partition.shards[split]
            if remote:
                remote.fetch(shard.path)
                if partition.index:
                    remote.fetch(partition.index.path)
            array = paths.resolve(shard.path)
            for span in spans_of(array.parent, array.stem, ids):
                positions.setdefault(span.id, set()).update(order.positions_of(number, index, span.start, span.end, below))
        for id_, found in sorted(positions.items()):
            yield Exposure(
                mixture=plan.name,
                plan=plan.fingerprint,
                is_published=version.is_published,
                split=shown,
                id=id_,
                positions=sorted(found),
                until=below,
            )


def _searched_splits(plan: Plan, corpus: str) -> Iterator[tuple[str, Split, Plan, list[int]]]:
    """Yield the name, the split, the plan and the indices of the corpus for each split in which documents of a corpus can be."""
    named = [number for number, planned in enumerate(plan.corpora) if planned.name == corpus]
    trained = {source.corpus for segment in plan.segments for source in segment.sources}
    for split in SPLITS:
        yield split, split, plan, [number for number in named if number in trained]
    if evaluated := [number for number in named if number in plan.evaluation]:
        yield EVALUATION, "validation", dict(plan.evaluated())[corpus], evaluated
