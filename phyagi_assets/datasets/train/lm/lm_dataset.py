"""Windows of tokens over one array."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from phyagi_assets.plan import samples_in


class LMDataset(Dataset[dict[str, torch.Tensor]]):
    """Consecutive windows of `seq_len` tokens over a 1-D array.

    Parameters
    ----------
    input_ids
        1-D array of token ids, in memory or memory-mapped; floats are accepted where they hold whole numbers.
    labels
        1-D array as long as `input_ids`; by default the inputs are their own labels.
    seq_len
        Tokens in a window.
    shift_labels
        Whether labels are the next token; by default they stand under their inputs, as ``transformers`` models expect.

    Raises
    ------
    ValueError
        An array is not 1-D, the two are not of one length, or `seq_len` is not positive.

    Examples
    --------
    >>> dataset = LMDataset(np.arange(7), seq_len=3)
    >>> len(dataset), dataset[1]["input_ids"].tolist()
    (2, [3, 4, 5])
    """

    def __init__(
        self, input_ids: npt.NDArray[Any], labels: npt.NDArray[Any] | None = None, seq_len: int = 2048, shift_labels: bool = False
    ) -> None:
        if input_ids.ndim != 1:
            raise ValueError(f"input_ids has {input_ids.ndim} dimensions; a token array has one")
        if labels is not None and labels.shape != input_ids.shape:
            raise ValueError(f"labels has shape {labels.shape} where input_ids has {input_ids.shape}; there is a label for each token")
        if seq_len < 1:
            raise ValueError(f"seq_len is {seq_len}; a window has at least one token")
        self.input_ids = input_ids
        self.labels = labels
        self.seq_len = seq_len
        self.shift_labels = shift_labels

    def __len__(self) -> int:
        return samples_in(len(self.input_ids), self.seq_len)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """The window at `index`: ``input_ids`` and ``labels``, int64 of shape (seq_len,)."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside a dataset of {len(self)} windows")
        start = index % len(self) * self.seq_len
        source = self.input_ids if self.labels is None else self.labels
        first_label = start + self.shift_labels
        return {
            "input_ids": as_tensor(self.input_ids[start : start + self.seq_len]),
            "labels": as_tensor(source[first_label : first_label + self.seq_len]),
        }


def as_tensor(ids: npt.NDArray[Any]) -> torch.Tensor:
    """A copy of ids as int64."""
    return torch.from_numpy(np.asarray(ids).astype(np.int64))
