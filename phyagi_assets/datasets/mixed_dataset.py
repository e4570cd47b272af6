"""The samples of a mixture, in the order of training."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from phyagi_assets.datasets.cursor import Epoch, Epochs, checked_epoch, checked_index
from phyagi_assets.datasets.read_samples import ReadSamples
from phyagi_assets.formats.plan import Plan
from phyagi_assets.order.mixture_order import Located, MixtureOrder
from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.token_shards import TokenShards

_BLOCK = 4096
"""Number of consecutive positions to locate in one pass; for fewer positions, overhead would dominate."""


class MixedDataset(Dataset[dict[str, Any]]):
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
        Whether labels that are the first token of another document become `ignore_index`.
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
        self.plan = plan
        self.split = split
        self.shift_labels = shift_labels
        self.boundaries = boundaries
        self.mask_boundaries = mask_boundaries
        self.ignore_index = ignore_index
        self.order = MixtureOrder(plan, split)
        self.shards = TokenShards.of_plan(plan, home, self.order)
        self._names = np.array([corpus.name for corpus in plan.corpora], dtype=object)
        self._epoch = Epoch()
        self._block: tuple[int, Located] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the mixture that the indices cover; the default is 0.

        Persistent loader workers see the change. The length of the dataset becomes that of the epoch; in a plan with several segments, the
        first epoch has another length than the later ones. A split other than ``train`` is the same in every epoch.
        """
        self._epoch.number = epoch if self.split == "train" else 0 * checked_epoch(epoch)

    @property
    def seq_len(self) -> int:
        """Length of a sample, in tokens."""
        return self.plan.seq_len

    @property
    def epochs(self) -> Epochs:
        """Start positions and lengths of the epochs of the mixture."""
        return Epochs(first=len(self.order), later=self.order.epoch_length)

    def __len__(self) -> int:
        """Return the number of samples in the epoch."""
        return self.epochs.length(self._epoch.number)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the sample at an index: the keys of `batch`, with one dimension less."""
        return self.__getitems__([number])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several samples, read in one pass; ``DataLoader`` calls this method."""
        length = len(self)
        wanted = [checked_index(number, length, "sample") for number in indices]
        batch = self.batch(np.array(wanted, dtype=np.int64) + self.epochs.start(self._epoch.number))
        return [{name: column[i] for name, column in batch.items()} for i in range(len(indices))]

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

    def read(self, positions: Ints) -> ReadSamples:
        """Read the tokens of the samples at an array of positions in one pass.

        Parameters
        ----------
        positions
            1-D array of non-negative positions, as in `batch`.

        Returns
        -------
        ReadSamples
            The samples, before conversion to tensors.
        """
        found, ahead = self._located(positions), int(self.shift_labels)
        runs, width = self.order.runs(found, ahead), self.seq_len + ahead
        tokens = self.shards.samples(runs, width=width)
        has_starts = self.boundaries or self.mask_boundaries
        starts = self.shards.document_starts(runs, len(positions), width=width) if has_starts else None
        filled = runs.filled(len(positions), width)
        trained = self.shards.trained(runs, len(positions), width=width) if self.shards.has_masks else None
        return ReadSamples(positions=positions, corpora=found.corpus, tokens=tokens, starts=starts, filled=filled, trained=trained)

    def announce(self, positions: Ints) -> None:
        """Announce the positions that will be read next, so that the system starts to read them from disk."""
        if self.shards.on_disk:
            self.shards.announce(self.order.runs(self._located(positions), int(self.shift_labels)))

    def batches(self, samples: ReadSamples, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield samples that were read in batches of `batch_size`, which divides their number."""
        names = self._names[samples.corpora].tolist()
        columns = (torch.split(torch.from_numpy(column.copy()), batch_size) for column in (samples.positions, samples.corpora))
        begin = 0
        for position, corpus in zip(*columns, strict=True):  # one at a time, so that each batch reuses the memory of the one before
            end = begin + batch_size
            starts = None if samples.starts is None else samples.starts[begin:end]
            filled = None if samples.filled is None else samples.filled[begin:end]
            trained = None if samples.trained is None else samples.trained[begin:end]
            batch = self._tensors(samples.tokens[begin:end], starts, filled, trained)
            batch["position"], batch["dataset_idx"], batch["corpus"] = position, corpus, names[begin:end]
            yield batch
            begin = end

    def _tensors(self, tokens: Any, starts: Any, filled: Any, trained: Any) -> dict[str, Any]:
        width, ahead = self.seq_len, int(self.shift_labels)
        labels = tokens[:, ahead:].astype(np.int64)  # a copy, because labels are edited in place
        tensors: dict[str, Any] = {"input_ids": torch.from_numpy(tokens[:, :width].astype(np.int64)), "labels": torch.from_numpy(labels)}
        if self.mask_boundaries:
            labels[starts[:, ahead:]] = self.ignore_index
        if trained is not None:
            labels[~trained[:, ahead:]] = self.ignore_index
        if filled is not None:
            labels[np.arange(ahead, ahead + width) >= filled[:, None]] = self.ignore_index
        if self.boundaries:
            tensors |= {"position_ids": _position_ids(starts[:, :width]), "document_ids": _document_ids(starts[:, :width])}
        return tensors

    def _located(self, positions: Ints) -> Located:
        if not len(positions):
            return self.order.locate(positions)
        low, high = int(positions.min()), int(positions.max())
        if high - low >= _BLOCK:
            return self.order.locate(positions)
        if self._block is None or not self._block[0] <= low <= high < self._block[0] + _BLOCK:
            self._block = (low, self.order.locate(np.arange(low, low + _BLOCK)))
        start, located = self._block
        return located[positions - start]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_block": None}


def _position_ids(starts: Any) -> torch.Tensor:
    """Return the number of tokens since the start of the document or the sample, for every token."""
    place = np.arange(starts.shape[1])
    return torch.from_numpy(place - np.maximum.accumulate(np.where(starts, place, 0), axis=1))


def _document_ids(starts: Any) -> torch.Tensor:
    """Return the number of documents that began in the sample up to each token, without the first one."""
    return torch.from_numpy(np.cumsum(starts, axis=1, dtype=np.int64))
