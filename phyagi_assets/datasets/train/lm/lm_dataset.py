"""Windows of tokens from one array."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from phyagi_assets.datasets.mapped import packed, unpacked
from phyagi_assets.formats.joined_array import JoinedArray
from phyagi_assets.formats.plan import samples_in
from phyagi_assets.formatting import counted
from phyagi_assets.order.permutation import uniform
from phyagi_assets.reading.numbers import checked_bool, checked_index, checked_int

logger = logging.getLogger(__name__)


class LMDataset(Dataset[dict[str, torch.Tensor]]):
    """Consecutive windows of `seq_len` tokens from a 1-D array.

    Parameters
    ----------
    input_ids
        1-D array of token ids, in memory or memory-mapped; floats are accepted if they are integers.
    labels
        1-D array as long as `input_ids`; by default, the inputs are also the labels.
    seq_len
        Number of tokens per window.
    shift_labels
        Whether labels are the next token; by default they are the token itself, as ``transformers`` models expect.
    ignore_token_id
        Label of marked tokens that are excluded from the loss.
    random_mask_prob
        Share of the windows whose marked tokens are excluded from the loss; None if tokens have no marks. `seed` and the index determine
        which windows these are.
    random_mask_offset
        The mark: a token at or above it is a marked token, and its id is the difference. It is subtracted from inputs and labels.
    seed
        Seed of the random mask.

    Raises
    ------
    ValueError
        An array is not 1-D or not numeric, the two arrays differ in length, or a parameter is out of range. When a window is read: its
        tokens are not integers, or collide with the mark.

    Examples
    --------
    >>> import numpy as np
    >>> dataset = LMDataset(np.arange(7), seq_len=3)
    >>> len(dataset), dataset[1]["input_ids"].tolist()
    (2, [3, 4, 5])
    >>> LMDataset(np.arange(7), seq_len=3, shift_labels=True)[-1]["labels"].tolist()
    [4, 5, 6]
    """

    def __init__(
        self,
        input_ids: npt.NDArray[Any] | JoinedArray,
        labels: npt.NDArray[Any] | None = None,
        seq_len: int = 2048,
        shift_labels: bool = False,
        ignore_token_id: int = -100,
        random_mask_prob: float | None = None,
        random_mask_offset: int = 32768,
        seed: int = 42,
    ) -> None:
        for name, array in (("input_ids", input_ids), ("labels", input_ids if labels is None else labels)):
            if not isinstance(getattr(array, "dtype", None), np.dtype):
                raise TypeError(f"{name} is a {type(array).__name__}; give a NumPy array")
            if array.dtype.kind not in "iuf":
                raise ValueError(f"{name} contains {array.dtype}; token ids are integers")
        if input_ids.ndim != 1:
            raise ValueError(f"input_ids has {input_ids.ndim} dimensions; a token array has 1")
        if labels is not None and labels.shape != input_ids.shape:
            raise ValueError(f"labels has shape {labels.shape} and input_ids has {input_ids.shape}; give one label per token")
        checked_int("seq_len", seq_len, least=1)
        if random_mask_prob is not None and not 0 <= random_mask_prob <= 1:
            raise ValueError(f"random_mask_prob is {random_mask_prob}; use a share from 0 to 1")
        if random_mask_offset < 1:
            raise ValueError(f"random_mask_offset is {random_mask_offset}; the mark is positive")
        self.input_ids = input_ids
        self.labels = labels
        self.seq_len = seq_len
        self.shift_labels = checked_bool("shift_labels", shift_labels)
        self.ignore_token_id = ignore_token_id
        self.random_mask_prob = random_mask_prob
        self.random_mask_offset = random_mask_offset
        self.seed = seed

    def __len__(self) -> int:
        return samples_in(len(self.input_ids), self.seq_len)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, idx: int) -> dict[str, torch.Tensor]:
        """Return the window at `idx`: ``input_ids`` and ``labels``, int64 of shape (seq_len,).

        As in the reference library, index 0 of a dataset without windows returns a sample without tokens, but here with a warning.
        """
        if idx == 0 and not len(self):
            logger.warning(
                "input_ids: has %s, too few for a window of %s; sample 0 is empty", counted(len(self.input_ids), "token"), self.seq_len
            )
            return {"input_ids": torch.empty(0, dtype=torch.int64), "labels": torch.empty(0, dtype=torch.int64)}
        window = checked_index(idx, len(self), "window")
        start = window * self.seq_len
        inputs = whole_numbers(self.input_ids[start : start + self.seq_len])
        source = self.input_ids if self.labels is None else self.labels
        first_label = start + self.shift_labels
        labels = whole_numbers(source[first_label : first_label + self.seq_len])
        if self.random_mask_prob is not None:
            marked = labels >= self.random_mask_offset
            inputs, labels = self._unmarked(inputs), self._unmarked(labels)
            if uniform(np.array([window]), self.seed)[0] < self.random_mask_prob:
                labels[marked] = self.ignore_token_id
        return {"input_ids": torch.from_numpy(inputs), "labels": torch.from_numpy(labels)}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "input_ids": packed(self.input_ids), "labels": packed(self.labels)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, input_ids=unpacked(state["input_ids"]), labels=unpacked(state["labels"]))

    def _unmarked(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        plain = np.where(ids >= self.random_mask_offset, ids - self.random_mask_offset, ids)
        if (plain >= self.random_mask_offset).any():
            raise ValueError(
                f"random_mask_offset is {self.random_mask_offset}, but token {int(ids.max())} is above twice that value: ids and marks "
                "cannot be distinguished; use an offset above every id of the tokenizer"
            )
        return plain


def whole_numbers(ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Copy ids to an int64 array.

    Raises
    ------
    ValueError
        The ids are floats with a fractional part.
    """
    with np.errstate(invalid="ignore"):  # NaN and infinity, which raise an error below
        copied = np.asarray(ids).astype(np.int64)
    if ids.dtype.kind == "f" and not np.array_equal(copied, ids):
        raise ValueError(f"the array contains {ids.dtype} with fractions; token ids are integers")
    return copied
