"""Windows of tokens over one array, as a stream."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset

from phyagi_assets.datasets.order import derived_key, permuted
from phyagi_assets.datasets.sharding import Shard, StreamState
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset


class StreamLMDataset(IterableDataset[dict[str, torch.Tensor]]):
    """The windows of an `LMDataset` in a stream that ranks and loader workers share.

    Every rank reads as many windows, so that none waits for another; where they do not divide evenly, the first ones come again. State is
    taken and restored by ``torchdata``'s ``StatefulDataLoader``, or by hand where there are no loader workers.

    Parameters
    ----------
    input_ids, labels, seq_len, shift_labels, ignore_token_id, random_mask_prob, random_mask_offset, seed
        As `LMDataset` takes them; the seed is of the shuffle too.
    shuffle
        Whether windows come in another order each epoch (`set_epoch`), or as they stand in the array.
    rank, world_size
        Which of how many processes this is; by default what ``torch.distributed`` says, or the only one.

    Attributes
    ----------
    windows : LMDataset
        What it streams.

    Raises
    ------
    ValueError
        As `LMDataset` does; or the rank is not below the world's size.

    Examples
    --------
    >>> stream = StreamLMDataset(np.arange(9), seq_len=2, rank=1, world_size=2)
    >>> [window["input_ids"].tolist() for window in stream]
    [[2, 3], [6, 7]]
    """

    def __init__(
        self,
        input_ids: npt.NDArray[Any],
        labels: npt.NDArray[Any] | None = None,
        seq_len: int = 2048,
        shift_labels: bool = False,
        ignore_token_id: int = -100,
        random_mask_prob: float | None = None,
        random_mask_offset: int = 32768,
        seed: int = 42,
        shuffle: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.windows = LMDataset(input_ids, labels, seq_len, shift_labels, ignore_token_id, random_mask_prob, random_mask_offset, seed)
        self.shuffle = shuffle
        self._epoch = 0
        self._shard = Shard.of_process(rank, world_size)
        self._state = StreamState([seed, seq_len, len(input_ids), shuffle])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, and with it the order, where there is a shuffle."""
        self._epoch = epoch

    def set_rank_and_world_size(self, rank: int, world_size: int) -> None:
        """Say which of how many processes this is."""
        self._shard = Shard.of_process(rank, world_size)

    def __len__(self) -> int:
        """Windows that this process reads."""
        return self._shard.length(len(self.windows))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """The windows of this process and loader worker: ``input_ids`` and ``labels``, int64 of shape (seq_len,)."""
        for window in self._state.stream(self._shard, len(self.windows), self._located):
            yield self.windows[window]

    def _located(self, positions: npt.NDArray[np.int64]) -> Iterator[int]:
        if self.shuffle:
            positions = permuted(positions, len(self.windows), derived_key(self.windows.seed, self._epoch))
        return iter(positions.tolist())

    def state_dict(self) -> dict[str, Any]:
        """How far this process's stream is, as numbers."""
        return {"epoch": self._epoch, **self._state.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration go on from a state.

        Raises
        ------
        ValueError
            The state is of another array, window or seed. When the iteration begins: it is of another rank, or of another number of
            processes or workers.
        """
        self._state.load_state_dict(state)
        self._epoch = int(state["epoch"])
