"""Open a materialized mixture for training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from phyagi_assets.datasets.mixed_dataset import MixedDataset
from phyagi_assets.formats.cache_tokenizer import SAVED
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formatting import LARGEST
from phyagi_assets.inspection.explain import Explainer, Explanation
from phyagi_assets.reading.mixture import OpenedMixture
from phyagi_assets.reading.numbers import checked_int
from phyagi_assets.reading.steps import Shard
from phyagi_assets.store.manifest import MANIFEST


@dataclass(frozen=True, kw_only=True, repr=False)
class LoadedMixture(OpenedMixture[MixedDataset]):
    """The splits of a materialized mixture; its ``repr`` is a tree of corpora.

    Examples
    --------
    >>> mixture = load_mixture("demo")
    >>> len(mixture.train), mixture.validation
    (8, None)
    """

    def _made(self, plan: Plan, split: str) -> MixedDataset:
        return MixedDataset(plan, self.home, split, **self.options)

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
                f"there is no split {split!r}; there are: {', '.join(name for name, known in datasets.items() if known is not None)}"
            )
        position, count = checked_int("position", position, least=-LARGEST), checked_int("count", count)
        explainer = self._explainers.setdefault(split, Explainer(dataset.plan, dataset.order, dataset.shards, self._fetch))
        return explainer.explain(range(position, position + count))

    @property
    def _fetch(self) -> Callable[[Path], None] | None:
        """Function that fetches the files other than arrays that explaining a sample needs; None for a store on this machine."""
        remote = self.source.remote if self.source else None
        return (lambda path: remote.fetch(path, SAVED, MANIFEST)) if remote else None

    @cached_property
    def _explainers(self) -> dict[str, Explainer]:
        """Explainers by split, each with its loaded tokenizer."""
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
        step, start = checked_int("step", step), checked_int("start", start)
        size = Shard(world_size=world_size).step(checked_int("batch_size", batch_size, least=1))
        return self.explain(start + step * size, size)


def load_mixture(
    mixture: str | Path,
    *,
    store: str | Path | None = None,
    seq_len: int | None = None,
    cache_dir: str | Path | None = None,
    cache_bytes: int | str | None = None,
    **options: Any,
) -> LoadedMixture:
    """Open a materialized mixture.

    Parameters
    ----------
    mixture
        Name of the mixture, or path of a ``mixture.json`` or of its folder.
    store
        Store in which to look up a name, a folder or an address such as ``s3://bucket/folder``; by default ``$PHYAGI_ASSETS_STORE``, else
        the store of the data folder. Token arrays in a bucket are fetched when they are needed, through a cache on this machine.
    seq_len
        Tokens per sample; by default, the declared number. With another number, the order is that of a new plan of the same caches and
        weights, under a fingerprint of its own: always the same, and unrelated to the order of the declared length.
    cache_dir
        Folder of that cache, which all processes of a machine share; by default ``$PHYAGI_ASSETS_CACHE``, else the scratch folder of the
        store. A store on this machine has no cache.
    cache_bytes
        Largest size of that cache, in bytes or as text such as ``"200GB"``; by default ``$PHYAGI_ASSETS_CACHE_BYTES``, else half of what
        the disk has free.
    **options
        Keyword arguments of `MixedDataset`: `shift_labels`, `boundaries`, `mask_boundaries`, `ignore_index`.

    Returns
    -------
    LoadedMixture
        The splits of the mixture.

    Raises
    ------
    StoreError
        The mixture does not exist, its plan cannot be read, or another length is requested of a plan from a release whose samples did not
        cross partitions.
    ValueError
        A corpus has too few tokens for one sample of this length, or is packed and has no index of samples of this length, or the length
        is not positive.

    Examples
    --------
    >>> mixture = load_mixture("demo")
    >>> mixture.train[0]["input_ids"].shape
    torch.Size([512])
    """
    return LoadedMixture.of(mixture, store, seq_len, cache_dir, cache_bytes, options)
