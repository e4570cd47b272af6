"""A materialized mixture as torch datasets."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from phyagi_assets.datasets.order import derived_key, interleaved, permuted
from phyagi_assets.datasets.train.lm.lm_dataset import as_tensor
from phyagi_assets.errors import StoreError
from phyagi_assets.plan import PLAN, Plan, PlannedCorpus
from phyagi_assets.settings import Settings


class MixedDataset(Dataset[dict[str, Any]]):
    """The samples of one split of a mixture, in the order of training.

    In training, corpora are interleaved by weight and each is shuffled, anew in every epoch of it. The other splits are read in
    order, each corpus once. The sample at an index is a function of the plan and the index alone.

    Parameters
    ----------
    plan
        The plan.
    home
        The folder that the plan lies in; its paths are relative to it.
    split
        ``train``, ``validation`` or ``test``.
    shift_labels
        Whether labels are the next token; by default they stand under their inputs.
    """

    def __init__(self, plan: Plan, home: Path, split: str, *, shift_labels: bool = False) -> None:
        self.plan = plan
        self.split = split
        self.shift_labels = shift_labels
        self._in_training = split == "train"
        self._corpora = [_CorpusReader(home, corpus, split, plan.seq_len) for corpus in plan.corpora]
        self._counts = np.array([corpus.drawn if self._in_training else corpus.total(split, "samples") for corpus in plan.corpora])

    def __len__(self) -> int:
        return int(self._counts.sum())

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample at a position.

        Returns
        -------
        dict
            ``input_ids`` and ``labels``, int64 tensors of shape (seq_len,); ``dataset_idx``, the index of its corpus in the plan; and
            ``position``, its index.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"position {index} is outside a mixture of {len(self)} samples")
        position = index % len(self)
        dataset_idx, sample = self._locate(position)
        ids = self._corpora[dataset_idx].tokens(sample)
        inputs = as_tensor(ids[:-1])
        labels = as_tensor(ids[1:]) if self.shift_labels else inputs.clone()
        return {"input_ids": inputs, "labels": labels, "dataset_idx": torch.tensor(dataset_idx), "position": torch.tensor(position)}

    def _locate(self, position: int) -> tuple[int, int]:
        """The corpus that a position draws from and the sample of it."""
        if not self._in_training:
            bounds = np.cumsum(self._counts)
            corpus = int(np.searchsorted(bounds, position, side="right"))
            return corpus, position - int(bounds[corpus] - self._counts[corpus])
        chosen, drawn = interleaved(np.array([position]), self._counts)
        corpus = int(chosen[0])
        epoch, index = divmod(int(drawn[0]), self._corpora[corpus].samples)
        key = derived_key(self.plan.seed, corpus, epoch)
        return corpus, int(permuted(np.array([index]), self._corpora[corpus].samples, key)[0])


class _CorpusReader:
    """The samples of one corpus in one split, over its partitions' arrays; they are mapped when first read, in each worker anew."""

    def __init__(self, home: Path, corpus: PlannedCorpus, split: str, seq_len: int) -> None:
        shards = [shard for shard in corpus.shards(split) if shard.samples]
        self._paths = [home / shard.path for shard in shards]
        self._bounds = np.cumsum([0, *(shard.samples for shard in shards)])
        self._seq_len = seq_len
        self._arrays: dict[int, npt.NDArray[Any]] = {}
        self.samples = int(self._bounds[-1])

    def tokens(self, sample: int) -> npt.NDArray[Any]:
        """The sample's tokens and the one after it."""
        shard = int(np.searchsorted(self._bounds, sample, side="right")) - 1
        start = (sample - int(self._bounds[shard])) * self._seq_len
        return self._array(shard)[start : start + self._seq_len + 1]

    def _array(self, shard: int) -> npt.NDArray[Any]:
        if shard not in self._arrays:
            path = self._paths[shard]
            if not path.is_file():
                raise StoreError(
                    f"{path}: is gone, and the mixture's plan names it; bring the mixture up to date: phyagi-assets materialize"
                )
            self._arrays[shard] = np.load(path, mmap_mode="r")
        return self._arrays[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": {}}


@dataclass(frozen=True, kw_only=True)
class LoadedMixture:
    """A mixture's splits, ready to be read."""

    plan: Plan
    home: Path
    """The folder that the plan lies in."""
    shift_labels: bool = field(default=False)

    @cached_property
    def train(self) -> MixedDataset:
        """The training samples, weighted, mixed and shuffled."""
        return MixedDataset(self.plan, self.home, "train", shift_labels=self.shift_labels)

    @cached_property
    def validation(self) -> MixedDataset | None:
        """The validation samples of all corpora, in order; None where there are none."""
        return self._evaluation("validation")

    @cached_property
    def test(self) -> MixedDataset | None:
        """The test samples of all corpora, in order; None where there are none."""
        return self._evaluation("test")

    @property
    def tokenizer(self) -> Path:
        """The folder that ``AutoTokenizer.from_pretrained`` loads the mixture's tokenizer from."""
        return (self.home / self.plan.tokenizer).resolve()

    def _evaluation(self, split: str) -> MixedDataset | None:
        dataset = MixedDataset(self.plan, self.home, split, shift_labels=self.shift_labels)
        return dataset if len(dataset) else None


def load_mixture(mixture: str | Path, *, store: str | Path | None = None, shift_labels: bool = False) -> LoadedMixture:
    """Open a mixture that has been materialized.

    Parameters
    ----------
    mixture
        Its name, or the path of a ``mixture.json`` or of the folder that holds it.
    store
        The store in which a name is looked up; by default ``$PHYAGI_ASSETS_STORE``, else the data folder's own.
    shift_labels
        Whether labels are the next token; by default they stand under their inputs, as ``transformers`` models expect.

    Raises
    ------
    StoreError
        There is no such mixture, or its plan cannot be read.

    Examples
    --------
    >>> mixture = load_mixture("demo")  # doctest: +SKIP
    >>> mixture.train[0]["input_ids"].shape  # doctest: +SKIP
    torch.Size([512])
    """
    path = Path(mixture)
    if not path.is_file() and not (path / PLAN).is_file():  # a folder may have the name of a mixture and be none
        root = Settings.resolve(store=store).store
        path = root / mixture / "mixed_dataset"
        if not path.exists():
            found = ", ".join(sorted(plan.parts[-3] for plan in root.glob(f"*/mixed_dataset/{PLAN}"))) or "none"
            raise StoreError(
                f"{mixture!r} is neither a path nor a mixture materialized in {root} (there: {found}); "
                f"materialize it with: phyagi-assets materialize {mixture}"
            )
    file = (path / PLAN if path.is_dir() else path).resolve()
    return LoadedMixture(plan=Plan.read(file), home=file.parent, shift_labels=shift_labels)
