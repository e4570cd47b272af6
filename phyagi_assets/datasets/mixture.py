"""Opening a materialized mixture for training."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.formats.find_plan import RemotePlan, find_plan
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.inspection.explain import Explainer, Explanation
from phyagi_assets.order.composition import plan_tree
from phyagi_assets.paths import real_path
from phyagi_assets.reading.steps import Shard


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedMixture:
    """The splits of a materialized mixture; its ``repr`` is a tree of corpora.

    Examples
    --------
    >>> mixture = load_mixture("demo")
    >>> len(mixture.train), mixture.validation
    (8, None)
    """

    plan: Plan
    home: Path
    """Path of the folder of the plan, through the store."""
    options: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of every `MixedDataset`."""

    @cached_property
    def train(self) -> MixedDataset:
        """The training samples, weighted, mixed and shuffled."""
        return MixedDataset(self.plan, self.home, "train", **self.options)

    @cached_property
    def validation(self) -> MixedDataset | None:
        """The validation samples of all corpora, in order; None if there are none."""
        return self._evaluation("validation")

    @cached_property
    def test(self) -> MixedDataset | None:
        """The test samples of all corpora, in order; None if there are none."""
        return self._evaluation("test")

    @cached_property
    def validation_by_corpus(self) -> dict[str, MixedDataset]:
        """The validation samples of each corpus that has any, in order, by name of the corpus; an ``eval_dataset`` of a trainer."""
        return self._by_corpus("validation")

    @cached_property
    def test_by_corpus(self) -> dict[str, MixedDataset]:
        """The test samples of each corpus that has any, in order, by name of the corpus."""
        return self._by_corpus("test")

    @property
    def tokenizer(self) -> Path:
        """Folder of the mixture's tokenizer, for ``AutoTokenizer.from_pretrained``."""
        return real_path(PlanPaths(self.plan, self.home).resolve(self.plan.tokenizer))

    def _evaluation(self, split: str) -> MixedDataset | None:
        return MixedDataset(self.plan, self.home, split, **self.options) if self.plan.total(split, "samples") else None

    def _by_corpus(self, split: str) -> dict[str, MixedDataset]:
        current = self.plan.current
        plans = {
            self.plan.corpora[source.corpus].name: replace(self.plan, segments=(replace(current, sources=(source,)),))
            for source in current.sources
            if self.plan.total(split, "samples", source)
        }
        return {name: MixedDataset(plan, self.home, split, **self.options) for name, plan in plans.items()}

    def explain(self, position: int, count: int = 1, *, split: str = "train") -> Explanation:
        """Trace samples back to their documents: corpus, partition, source file, row, tokens and text.

        Parameters
        ----------
        position
            The first position.
        count
            Number of consecutive positions.
        split
            ``train``, ``validation`` or ``test``.

        Returns
        -------
        Explanation
            The explained samples, displayed as a table.

        Raises
        ------
        IndexError
            A position is outside the split.
        StoreError
            A file named in the plan does not exist.
        """
        datasets = {"train": self.train, "validation": self.validation, "test": self.test}
        dataset = datasets.get(split)
        if dataset is None:
            raise IndexError(
                f"there is no split {split!r}; there are: {', '.join(name for name, of in datasets.items() if of is not None)}"
            )
        explainer = self._explainers.setdefault(split, Explainer(dataset.plan, dataset.order, dataset.shards))
        return explainer.explain(range(position, position + count))

    @cached_property
    def _explainers(self) -> dict[str, Explainer]:
        """Explainers by split; each keeps its loaded tokenizer."""
        return {}

    def explain_step(self, step: int, *, batch_size: int, world_size: int = 1, start: int = 0) -> Explanation:
        """Trace all samples of a global step back to their documents.

        Parameters
        ----------
        step
            Global step, counted from 0.
        batch_size, world_size
            Samples per batch, and number of processes; each process reads one batch per step.
        start
            Position of the first sample of step 0.

        Returns
        -------
        Explanation
            The explained samples, displayed as a table.
        """
        size = Shard(world_size=world_size).step(batch_size)
        return self.explain(start + step * size, size)

    def __repr__(self) -> str:
        return plan_tree(self.plan)


_in_use: list[RemotePlan] = []
"""Plans whose arrays this process reads: they stay on this machine until it ends, because datasets open them at any time."""


def load_mixture(mixture: str | Path, *, store: str | Path | None = None, seq_len: int | None = None, **options: Any) -> LoadedMixture:
    """Open a materialized mixture.

    Parameters
    ----------
    mixture
        Name of the mixture, or path of a ``mixture.json`` or of its folder.
    store
        Store in which to look up a name, a folder or an address such as ``s3://bucket/folder``; by default ``$PHYAGI_ASSETS_STORE``, else
        the store of the data folder. From a bucket, the caches of the plan are fetched to the scratch folder first, unless they are there.
    seq_len
        Tokens per sample; by default, the declared number. With another number, the order is that of a new plan of the same caches and
        weights, under a fingerprint of its own: always the same, and unrelated to the order of the declared length.
    **options
        Keyword arguments of `MixedDataset`: `shift_labels`, `boundaries`, `mask_boundaries`, `ignore_index`.

    Returns
    -------
    LoadedMixture
        The splits of the mixture.

    Raises
    ------
    StoreError
        The mixture does not exist, its plan cannot be read, or it was written by a release whose samples did not cross partitions, and
        another length is asked for.
    ValueError
        A corpus has too few tokens for one sample of this length, or the length is not positive.

    Examples
    --------
    >>> mixture = load_mixture("demo")
    >>> mixture.train[0]["input_ids"].shape
    torch.Size([512])
    """
    found = find_plan(mixture, store)
    if found.remote:
        found.remote.fetch_all()
        _in_use.append(found.remote)
    plan = read_plan(found.file)
    if seq_len is not None and seq_len != plan.seq_len:
        from phyagi_assets.order.resized import resized

        plan = resized(plan, seq_len)
    return LoadedMixture(plan=plan, home=found.file.parent, options=options)
