"""Opening a materialized mixture."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from phyagi_assets.formats.find_plan import FoundPlan, find_plan
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.formatting import LARGEST
from phyagi_assets.order.composition import plan_tree
from phyagi_assets.paths import real_path
from phyagi_assets.reading.mixture_samples import MixtureSamples
from phyagi_assets.reading.numbers import checked_int
from phyagi_assets.settings import CacheSettings

if TYPE_CHECKING:
    from phyagi_assets.reading.bucket_arrays import BucketSource

S = TypeVar("S", bound=MixtureSamples)


@dataclass(frozen=True, kw_only=True, repr=False)
class OpenedMixture(ABC, Generic[S]):
    """The splits of a materialized mixture; its ``repr`` is a tree of corpora."""

    plan: Plan
    home: Path
    """Path of the folder of the plan, through the store."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the samples of every split."""
    source: "BucketSource | None" = None
    """The token arrays, if they are not on this machine."""

    @classmethod
    def of(
        cls,
        mixture: str | Path,
        store: str | Path | None,
        seq_len: int | None,
        cache_dir: str | Path | None,
        cache_bytes: int | str | None,
        options: dict[str, Any],
    ) -> Self:
        """Open the published plan of a mixture."""
        settings = CacheSettings.resolve(cache_dir, cache_bytes)
        found = find_plan(mixture, store)
        plan = open_plan(found, seq_len)
        source = None
        if found.remote:
            from phyagi_assets.reading.bucket_arrays import BucketSource  # the client of object stores takes long to import

            found.remote.fetch_indices(plan)
            source = BucketSource(found.remote, settings)
        return cls(plan=plan, home=found.file.parent, options=options, source=source)

    @abstractmethod
    def _made(self, plan: Plan, split: str) -> S:
        """Return the samples of a split of a plan."""

    def _samples(self, plan: Plan, split: str) -> S:
        samples = self._made(plan, split)
        if self.source:
            from phyagi_assets.reading.bucket_arrays import BucketShards

            samples.shards = BucketShards(self.source, samples.shards, plan, samples.order)
        return samples

    @cached_property
    def train(self) -> S:
        """The training samples, weighted, mixed and shuffled."""
        return self._samples(self.plan, "train")

    @cached_property
    def validation(self) -> S | None:
        """The validation samples of all corpora, in order; None if there are none."""
        return self._evaluation("validation")

    @cached_property
    def test(self) -> S | None:
        """The test samples of all corpora, in order; None if there are none."""
        return self._evaluation("test")

    @cached_property
    def validation_by_corpus(self) -> dict[str, S]:
        """The validation samples of each corpus that has any, in order, by name of the corpus; an ``eval_dataset`` of a trainer.

        Corpora for evaluation only are included, with all of their documents.
        """
        evaluated = {name: self._samples(plan, "validation") for name, plan in self.plan.evaluated() if plan.total("validation", "samples")}
        return self._by_corpus("validation") | evaluated

    @cached_property
    def test_by_corpus(self) -> dict[str, S]:
        """The test samples of each corpus that has any, in order, by name of the corpus."""
        return self._by_corpus("test")

    @property
    def tokenizer(self) -> Path:
        """Folder of the mixture's tokenizer, for ``AutoTokenizer.from_pretrained``."""
        if self.source and self.source.remote:
            self.source.remote.fetch(self.plan.tokenizer, Path(self.plan.tokenizer).name)
        return real_path(PlanPaths(self.plan, self.home).resolve(self.plan.tokenizer))

    def _evaluation(self, split: str) -> S | None:
        return self._samples(self.plan, split) if self.plan.total(split, "samples") else None

    def _by_corpus(self, split: str) -> dict[str, S]:
        current = self.plan.current
        plans = {
            self.plan.corpora[source.corpus].name: replace(self.plan, segments=(replace(current, sources=(source,)),))
            for source in current.sources
            if self.plan.total(split, "samples", source)
        }
        return {name: self._samples(plan, split) for name, plan in plans.items()}

    def __repr__(self) -> str:
        return plan_tree(self.plan)


def open_plan(found: FoundPlan, seq_len: int | None = None) -> Plan:
    """Read a plan that was found, and return it for samples of a length; by default, of the declared one."""
    plan = read_plan(found.file)
    if seq_len is None or seq_len == plan.seq_len:
        return plan
    from phyagi_assets.order.resized import resized  # imports pydantic, which is not needed otherwise

    return resized(plan, checked_int("seq_len", seq_len, least=-LARGEST), found.find_index)


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedMixture(OpenedMixture[MixtureSamples]):
    """The splits of a materialized mixture as NumPy arrays; its ``repr`` is a tree of corpora.

    Examples
    --------
    >>> mixture = load_mixture("demo")
    >>> len(mixture.train), mixture.validation
    (8, None)
    """

    def _made(self, plan: Plan, split: str) -> MixtureSamples:
        return MixtureSamples(plan, self.home, split, **self.options)


def load_mixture(
    mixture: str | Path,
    *,
    store: str | Path | None = None,
    seq_len: int | None = None,
    cache_dir: str | Path | None = None,
    cache_bytes: int | str | None = None,
    **options: Any,
) -> LoadedMixture:
    """Open a materialized mixture as NumPy arrays.

    Parameters
    ----------
    mixture, store, seq_len, cache_dir, cache_bytes, **options
        As in `phyagi_assets.datasets.load_mixture`.

    Returns
    -------
    LoadedMixture
        The splits of the mixture.

    Raises
    ------
    StoreError, ValueError
        As in `phyagi_assets.datasets.load_mixture`.

    Examples
    --------
    >>> import numpy as np
    >>> load_mixture("demo").train.batch(np.array([0, 1]))["labels"].shape
    (2, 512)
    """
    return LoadedMixture.of(mixture, store, seq_len, cache_dir, cache_bytes, options)
