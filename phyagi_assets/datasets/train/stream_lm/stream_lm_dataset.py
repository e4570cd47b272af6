"""A stream of token windows from one array."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.datasets.sharding import SharedStream
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.formats.joined_array import JoinedArray
from phyagi_assets.order.permutation import derived_key, permuted
from phyagi_assets.reading.numbers import checked_int


class StreamLMDataset(SharedStream):
    """A stream of the windows of an `LMDataset` that ranks and loader workers divide.

    A window is a dict with ``input_ids`` and ``labels``, int64 tensors of shape (seq_len,). All ranks read the same number of windows, so
    that no rank waits for another; if the windows do not divide evenly, the first ones are repeated. ``torchdata``'s
    ``StatefulDataLoader`` calls `state_dict` and `load_state_dict`; without loader workers, you can call them yourself. If the trainer
    itself divides the samples among processes, as ``accelerate`` does, let it read all of them: ``set_rank_and_world_size(0, 1)``.

    Parameters
    ----------
    dataset_name
        Name of the dataset, for logs.
    input_ids, labels, seq_len, shift_labels
        As in `LMDataset`.
    read_ahead, chunk_size
        Unused; accepted for scripts of the reference library. The array is memory-mapped, and the system reads ahead.
    ignore_token_id, random_mask_prob, random_mask_offset, seed
        As in `LMDataset`; `seed` is also the seed of the shuffle.
    shuffle
        Whether to shuffle windows differently in each epoch (`set_epoch`); by default they are in the order of the array.
    rank, world_size
        Rank of this process, and the number of processes; None for those of ``torch.distributed`` when the stream is read, or 0 and 1
        without it.

    Raises
    ------
    ValueError
        The arguments are not valid for `LMDataset`, or the rank is not below the world size.

    Examples
    --------
    >>> import numpy as np
    >>> stream = StreamLMDataset("tokens", np.arange(9), seq_len=2, rank=1, world_size=2)
    >>> [window["input_ids"].tolist() for window in stream]
    [[2, 3], [6, 7]]
    """

    windows: LMDataset

    def __init__(
        self,
        dataset_name: str,
        input_ids: npt.NDArray[Any] | JoinedArray,
        labels: npt.NDArray[Any] | None = None,
        seq_len: int = 2048,
        shift_labels: bool = False,
        read_ahead: int = 2048,
        chunk_size: int = 1024,
        *,
        ignore_token_id: int = -100,
        random_mask_prob: float | None = None,
        random_mask_offset: int = 32768,
        seed: int = 42,
        shuffle: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        super().__init__(rank, world_size)
        for name, value in (("read_ahead", read_ahead), ("chunk_size", chunk_size)):
            checked_int(name, value, least=1)
        self.dataset_name = dataset_name
        self.windows = LMDataset(input_ids, labels, seq_len, shift_labels, ignore_token_id, random_mask_prob, random_mask_offset, seed)
        self.shuffle = shuffle

    def _read(self, positions: npt.NDArray[np.int64], epoch: int) -> Iterator[dict[str, Any]]:
        if self.shuffle:
            positions = permuted(positions, len(self.windows), derived_key(self.windows.seed, epoch))
        return map(self.windows.__getitem__, positions.tolist())

    def _identity(self) -> dict[str, Any]:
        windows = self.windows
        parameters = {"tokens": len(windows.input_ids), "seq_len": windows.seq_len, "seed": int(windows.seed)}
        return {"kind": type(self).__name__, **parameters, "shuffle": self.shuffle}
