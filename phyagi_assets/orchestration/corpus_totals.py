"""Totals of a corpus as facts about the materialization of each partition, so that Dagster plots the growth of the corpus over time."""

from bisect import insort
from collections.abc import Callable, Collection
from contextlib import suppress

from phyagi_assets.errors import StoreAccessError
from phyagi_assets.formatting import counted
from phyagi_assets.steps.facts import Bars, Facts
from phyagi_assets.steps.step import Step, Totals
from phyagi_assets.store.base import Store

_PLOTTED = "tokens"
"""Name of the total that is plotted by partition."""
ROW_COUNT = "dagster/row_count"
"""Name under which Dagster shows the number of rows of an asset, here of documents."""
_ROWS = "documents"
_MOST = 30
"""Largest number of partitions in a plot."""


class CorpusTotals:
    """Totals of the published partitions of corpora, given their keys by corpus. A run keeps them up to date as it publishes more.

    Partitions that may not be read are left out.
    """

    def __init__(self, store: Store, keys: Callable[[str], Collection[str]]) -> None:
        self._store, self._keys = store, keys
        self._by_step: dict[tuple[str, str], _Published] = {}

    def facts(self, corpus: str, step: Step, key: str, totals: Totals) -> Facts:
        """Return the facts about a corpus after a partition is published."""
        if not totals:
            return {}
        if (corpus, step.name) not in self._by_step:
            self._by_step[corpus, step.name] = self._published(corpus, step)
        known = self._by_step[corpus, step.name]
        known.put(key, totals)
        rows = {ROW_COUNT: known.sums[_ROWS]} if _ROWS in totals else {}
        return {
            "corpus partitions": len(known.keys),
            **{f"corpus {name}": total for name, total in known.sums.items()},
            **_plot(known),
            **rows,
        }

    def _published(self, corpus: str, step: Step) -> "_Published":
        found = _Published()
        for key in self._keys(corpus):
            with suppress(StoreAccessError):
                if artifact := self._store.open(step.address(corpus, key)):
                    found.put(key, step.totals(artifact.manifest))
        return found


class _Published:
    """Totals of the published partitions of a step, and their sums."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        """Keys of the partitions, sorted."""
        self.by_key: dict[str, Totals] = {}
        self.sums: dict[str, int] = {}

    def put(self, key: str, totals: Totals) -> None:
        """Add a partition, or replace its totals."""
        if key not in self.by_key:
            insort(self.keys, key)
        for name, before in self.by_key.get(key, {}).items():
            self.sums[name] -= before
        for name, total in totals.items():
            self.sums[name] = self.sums.get(name, 0) + total
        self.by_key[key] = totals


def _plot(published: _Published) -> Facts:
    keys = published.keys[-_MOST:]
    if len(keys) < 2 or _PLOTTED not in published.sums:
        return {}
    which = counted(len(published.keys), "partition")
    title = f"{_PLOTTED} of {which}" if len(keys) == len(published.keys) else f"{_PLOTTED} of the last {len(keys)} of {which}"
    return {f"corpus {_PLOTTED}, plotted": Bars(title=title, bars=[(key, published.by_key[key].get(_PLOTTED, 0)) for key in keys])}
