"""Samples → a batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import default_collate


class LMDataCollator:
    """Stacks samples, and takes chosen tokens out of the labels.

    Parameters
    ----------
    ignore_token_ids
        Ids that are not to be learnt.
    ignore_token_id_range
        First and last id of a range that is not to be learnt.
    ignore_index
        What takes their place in the labels; the loss passes it over.

    Raises
    ------
    ValueError
        The range has not two ends in order.

    Examples
    --------
    >>> import torch
    >>> sample = {"input_ids": torch.tensor([5, 6]), "labels": torch.tensor([5, 6])}
    >>> LMDataCollator(ignore_token_ids=[5])([sample])["labels"]
    tensor([[-100,    6]])
    >>> sample["labels"]
    tensor([5, 6])
    """

    def __init__(
        self,
        ignore_token_ids: Sequence[int] | None = None,
        ignore_token_id_range: Sequence[int] | None = None,
        ignore_index: int = -100,
    ) -> None:
        if ignore_token_id_range is not None and (len(ignore_token_id_range) != 2 or ignore_token_id_range[0] > ignore_token_id_range[1]):
            raise ValueError(f"ignore_token_id_range: is {list(ignore_token_id_range)}; it is the first and the last id of a range")
        self.ignore_token_ids = list(ignore_token_ids or ())
        self.ignore_token_id_range = tuple(ignore_token_id_range) if ignore_token_id_range is not None else None
        self.ignore_index = ignore_index

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate samples, which are left as they are.

        Returns
        -------
        dict
            Every key of the samples; tensors are stacked to shape (samples, …).
        """
        batch: dict[str, Any] = default_collate(list(samples))
        batch["labels"] = self._without_ignored(batch["labels"])
        return batch

    def _without_ignored(self, labels: torch.Tensor) -> torch.Tensor:
        ignored = torch.isin(labels, torch.tensor(self.ignore_token_ids, dtype=labels.dtype))
        if self.ignore_token_id_range is not None:
            first, last = self.ignore_token_id_range
            ignored |= (labels >= first) & (labels <= last)
        return labels.masked_fill(ignored, self.ignore_index)
