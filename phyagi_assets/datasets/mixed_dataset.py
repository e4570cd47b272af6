"""The samples of a mixture, in the order of training."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from phyagi_assets.datasets.cursor import Cursor
from phyagi_assets.formats.plan import Plan
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.mixture_samples import MixtureSamples, ReadSamples
from phyagi_assets.reading.numbers import checked_index, checked_int


class MixedDataset(MixtureSamples, Dataset[dict[str, Any]]):
    """The samples of one split of a mixture, in the order of training.

    In training, corpora are interleaved by weight, and each corpus is reshuffled in each of its epochs. In other splits, each corpus is
    read once and in order; its last sample is padded, with `ignore_index` as the labels of the padding. The sample at a position depends
    only on the plan and the position. In conversations, the labels of tokens that are not trained on are `ignore_index`.

    Read the indices in order: a sampler that shuffles them replaces the order of the mixture. ``transformers.Trainer`` shuffles map-style
    datasets unless its arguments contain ``train_sampling_strategy="sequential"``; a `MixtureStream` keeps its order there.

    Parameters
    ----------
    plan
        The plan.
    home
        Folder of the plan; paths in the plan are relative to it.
    split
        ``train``, ``validation`` or ``test``.
    shift_labels
        Whether labels are the next token; by default they are the token itself, as ``transformers`` models expect.
    boundaries
        Whether samples carry ``position_ids`` and ``document_ids``.
    mask_boundaries
        Whether each label that is the first token of another document becomes `ignore_index`.
    ignore_index
        Label that the loss ignores.

    Raises
    ------
    ValueError
        The split has no samples.

    Examples
    --------
    >>> from phyagi_assets.datasets import load_mixture
    >>> mixture = load_mixture("demo")
    >>> shifted = MixedDataset(mixture.plan, mixture.home, shift_labels=True)
    >>> sample = shifted[3]
    >>> bool((sample["labels"] == sample["input_ids"] + 1).all()), sample["corpus"]
    (True, 'numbers')
    """

    def __init__(
        self,
        plan: Plan,
        home: Path,
        split: str = "train",
        *,
        shift_labels: bool = False,
        boundaries: bool = False,
        mask_boundaries: bool = False,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(
            plan,
            home,
            split,
            shift_labels=shift_labels,
            boundaries=boundaries,
            mask_boundaries=mask_boundaries,
            ignore_index=ignore_index,
        )
        self._cursor = Cursor(epoch=0)

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the mixture that the indices cover; the default is 0.

        Persistent loader workers see the change. The length of the dataset becomes that of the epoch; in a plan with several segments, the
        first epoch has another length than the later ones. A split other than ``train`` is the same in every epoch.
        """
        number = checked_int("epoch", epoch)
        self._cursor.move(epoch=number if self.split == "train" else 0)

    def __len__(self) -> int:
        """Return the number of samples in the epoch."""
        return self.epochs.length(self._cursor["epoch"])

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the sample at an index: the keys of `batch`, with one dimension less."""
        return self.__getitems__([number])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several samples, read in one pass. ``DataLoader`` calls this method."""
        length = len(self)
        checked = [checked_index(number, length, "sample") for number in indices]
        return unstacked(self.batch(np.array(checked, dtype=np.int64) + self.epochs.start(self._cursor["epoch"])))

    def batch(self, positions: Ints) -> dict[str, Any]:
        """Return the samples at an array of positions, stacked.

        Parameters
        ----------
        positions
            1-D array of non-negative positions. Positions beyond ``len`` belong to later epochs.

        Returns
        -------
        dict
            ``input_ids`` and ``labels``, int64 tensors of shape (samples, seq_len); ``position``; ``dataset_idx``, the index of the
            corpus in the plan, and ``corpus``, its name; with `boundaries`, ``position_ids``, which restart at 0 in each document, and
            ``document_ids``, which count documents from 0 in each sample, both of shape (samples, seq_len).

        Raises
        ------
        StoreError
            A file named in the plan does not exist, or does not match the plan.
        """
        return next(self.batches(self.read(positions), max(1, len(positions))))

    def batches(self, samples: ReadSamples, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield samples that were read, in batches of `batch_size`, which divides their number."""
        for batch in super().batches(samples, batch_size):
            yield {name: column if name == "corpus" else torch.from_numpy(column) for name, column in batch.items()}


def unstacked(batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the samples of a batch, as a list."""
    return [{name: column[i] for name, column in batch.items()} for i in range(len(batch["position"]))]
