"""The indices of packed samples of a plan, memory-mapped by each process that reads them."""

from pathlib import Path

from phyagi_assets.formats.packed_index import LENGTHS, SAMPLES, STARTS, require_index
from phyagi_assets.formats.plan import Plan, PlannedIndex
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.order.best_fit import PackedSamples
from phyagi_assets.reading.array_maps import ArrayMaps, maps_allowed

_MOST_MAPS = 3 * 256
"""Largest number of files to map at once; an index has three for each split."""


class PackedIndices:
    """The indices of a plan, given its folder, opened for a `phyagi_assets.order.mixture_order.MixtureOrder`."""

    def __init__(self, plan: Plan, home: Path) -> None:
        self._folders = {
            index.fingerprint: (
                PlanPaths(plan, home).resolve(index.path),
                {split: shard.tokens for split, shard in partition.shards.items()},
            )
            for partition in plan.all_partitions()
            if (index := partition.index)
        }
        self._maps = ArrayMaps(min(_MOST_MAPS, maps_allowed(3 * len(self._folders)))) if self._folders else None
        self._known: set[tuple[str, str]] = set()

    def __call__(self, index: PlannedIndex, split: str) -> PackedSamples:
        """Return the packed samples of a split."""
        assert self._maps is not None
        folder, tokens = self._folders[index.fingerprint]
        starts, lengths, samples = (
            self._maps.opened((index.fingerprint, split, ending), folder / f"{split}{ending}").array
            for ending in (STARTS, LENGTHS, SAMPLES)
        )
        if (index.fingerprint, split) not in self._known:
            require_index(starts, lengths, samples, index.samples[split], tokens[split], folder)
            self._known.add((index.fingerprint, split))
        return PackedSamples(starts=starts, lengths=lengths, ends=samples, merged=index.merged)
